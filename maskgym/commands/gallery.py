"""`maskgym gallery`: agents' masks side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional

from maskgym.commands.options import FILE
from maskgym.commands.which_game import WhichGame, check_ratios
from maskgym.errors import BadInput

if TYPE_CHECKING:
    from maskgym.benchmark.gallery import Column
    from maskgym.benchmark.par import Table
    from maskgym.envs.task import Task

_MOST = 12  # pictures beside each other that can still be read


@dataclass(frozen=True, kw_only=True)
class Gallery(WhichGame):
    """Draw what agents hide: images down, agents across, hidden patches in the colour of what they cost."""

    agents: Positional[tuple[str, ...]]
    """Who plays: NAME, NAME:FOLDER of a saved one, NAME?setting=value."""
    out: Annotated[Path, FILE]
    """The PNG to write."""
    images: int = 4
    """How many images, a row each."""
    ratio: float = 0.75
    """Share of the patches that is hidden."""
    seed: int = 0
    """Which images, and the agents' chance."""
    par: Path | None = None
    """A par file; empty = the user's own or the shipped one, and no par column where there is none."""

    def __call__(self) -> None:
        """Play and draw."""
        import numpy as np

        from maskgym.benchmark import gallery
        from maskgym.benchmark.contestants import seat
        from maskgym.benchmark.points import count_images

        if not 1 <= len(self.agents) <= _MOST:
            raise BadInput(f"{len(self.agents)} agents: name 1 to {_MOST}, `maskgym agents` lists them")
        if self.images < 1:
            raise BadInput(f"images {self.images} must be at least 1")
        task = self.task()
        check_ratios((self.ratio,), task)
        players = {spec: seat(spec, task, self.ratio, self.seed) for spec in self.agents}
        count = count_images(task, self.images)
        index = np.sort(np.random.default_rng(self.seed).permutation(len(task.images))[:count])
        par = self._par(task)
        columns = [self._column(task, spec, player, index, par) for spec, player in players.items()]
        if par is not None:
            columns.append(self._column(task, "par", None, index, par))
        hidden = f"{int(columns[0].mask[0].sum())} of {task.patches.count} patches hidden"
        gallery.draw(task, index, columns, f"{self.env.removeprefix('maskgym:')}: {hidden}", self.out)
        print(f"wrote {self.out}")

    def _par(self, task: Task) -> Table | None:
        from maskgym.benchmark.par import find

        try:
            return find(task, self.ratio, len(task.images), self.par)[0]
        except BadInput:
            if self.par is not None:
                raise
            return None

    def _column(self, task: Task, spec: str, player: object, index: object, par: Table | None) -> Column:
        import numpy as np
        import torch

        from maskgym.agent import Agent
        from maskgym.benchmark.gallery import Column
        from maskgym.benchmark.points import game_at, points_of_each

        assert isinstance(index, np.ndarray)
        images, game = task.fetch(index), game_at(task, self.ratio)
        if isinstance(player, Agent):
            mask = player.act(task.observe(images)).to(task.device)
        else:
            assert par is not None
            mask = torch.from_numpy(par.mask[index]).to(task.device)
        with torch.inference_mode():
            outcome = game.evaluate(images, mask.bool().view(-1, *task.patches.grid))
        reward = outcome.reward.double().cpu().numpy()
        notes = [f"reward {value:.3f}" for value in reward]
        if par is not None and isinstance(player, Agent):
            each = points_of_each(reward, par.random[index], par.reward[index])
            notes = [f"{note}, {value:.0f} points" for note, value in zip(notes, each, strict=True)]
        loss = outcome.patch_loss.flatten(1).cpu().numpy()
        return Column(spec.partition(":")[0], outcome.mask.flatten(1).cpu().numpy(), loss, tuple(notes))
