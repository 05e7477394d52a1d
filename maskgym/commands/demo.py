"""`maskgym demo`: the whole idea in a few minutes, on a fresh machine, with nothing to download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maskgym.commands.gallery import Gallery
from maskgym.commands.score import Score

_ENV = "MaskMIMSmall-v0"
_AGENTS = ("random", "variance", "loss-map")


@dataclass(frozen=True)
class Demo:
    """Let a few agents play the small task, print a table, write a picture."""

    out: Path = Path("maskgym-demo")
    """Folder for the table and the picture; a demo that was stopped goes on from there."""
    seeds: int = 3
    """Runs of each agent."""

    def __call__(self) -> None:
        """Score, draw, say what was seen."""
        print(
            f"{_ENV}: 64 patches, 48 are hidden, and the reward is what a frozen network gets wrong.\n"
            "0 points = masks at random, 100 = par, the worst masks that a long search has found.\n"
        )
        Score(agents=_AGENTS, env=_ENV, ratio=(0.75,), seeds=self.seeds, out=self.out)()
        Gallery(agents=_AGENTS, env=_ENV, out=self.out / "gallery.png")()
        print("\nnext: `maskgym agents` lists who else can play, `maskgym --help` what else can be done")
