"""What an agent is told of the game it will play."""

from __future__ import annotations

from dataclasses import dataclass

from maskgym.masking.patches import Patches
from maskgym.masking.select import budget


@dataclass(frozen=True)
class GameSpec:
    """What an agent is told of the game it will play."""

    patches: Patches
    channels: int = 1
    ratio: float = 0.75
    device: str = "cpu"

    @property
    def budget(self) -> int:
        """K, how many patches are hidden."""
        return budget(self.ratio, self.patches.count)
