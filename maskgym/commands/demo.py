"""`maskgym demo`: the whole idea in a few minutes, on a fresh machine, with nothing to download."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskgym.commands.gallery import Gallery
from maskgym.commands.score import Score
from maskgym.commands.train import Train

_ENV = "MaskMIMSmall-v0"
_AGENTS = ("random", "variance", "loss-map")


@dataclass(frozen=True)
class Demo:
    """Train A3C for a minute or two, let it play the small task beside others, print a table, write a picture."""

    out: Path = Path("maskgym-demo")
    """Folder for the table, the picture and the trained agent; the same command again goes on from there."""
    steps: int = 120_000
    """Env steps that A3C learns from."""
    seeds: int = 3
    """Plays of each of the other agents, every one with another seed."""
    device: str = "cpu"
    """Where the game is played: cpu, cuda or cuda:1."""
    fresh: bool = False
    """Delete what is in --out and start over."""

    def __call__(self) -> int:
        """Train, score, draw, say what was seen."""
        print(
            f"{_ENV}: 64 patches, 48 are hidden, and the reward is the error of a frozen network on them.\n"
            "0 points: random masks. 100 points: par, the hardest mask that a long search has found.\n"
        )
        folder = self.out / "a3c"
        workers = min(2, os.cpu_count() or 1)
        how: dict[str, Any] = {"env": _ENV, "steps": self.steps, "fresh": self.fresh, "device": self.device}
        if stopped := Train("a3c", folder, workers=workers, eval_every=0, **how)():
            return stopped
        agents = (*_AGENTS, f"a3c:{folder}")
        Score(agents=agents, out=self.out / "score", ratio=(0.75,), seeds=self.seeds, **how)()
        Gallery(agents=agents, env=_ENV, out=self.out / "gallery.png", device=self.device)()
        print(f"\nnext: `maskgym view --agent a3c:{folder}` plays against it, `maskgym agents` lists who else can play")
        return 0
