"""What every face of the environment tells of the game it plays."""

from __future__ import annotations

from maskgym.envs.task import Task


class Face:
    """Base of the faces: single, vector, PettingZoo."""

    task: Task

    @property
    def budget(self) -> int:
        """K, how many patches are hidden."""
        return self.task.game.budget

    @property
    def ratio(self) -> float:
        """Share of the patches that is hidden."""
        return self.task.game.ratio

    @property
    def grid(self) -> tuple[int, ...]:
        """Patches along each axis."""
        return self.task.patches.grid
