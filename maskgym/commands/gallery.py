"""`maskgym gallery`: agents' masks side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional

from maskgym.commands.options import FILE
from maskgym.commands.which_game import WhichGame, check_ratios, tell_untrained
from maskgym.errors import BadInput

if TYPE_CHECKING:
    from maskgym.benchmark.par import NamedPar
    from maskgym.envs.task import Task

_MOST = 12  # pictures beside each other that can still be read


@dataclass(frozen=True, kw_only=True)
class Gallery(WhichGame):
    """Draw what agents hide: images down, agents across, hidden patches coloured by their loss."""

    agents: Positional[tuple[str, ...]]
    """Who plays: a name from `maskgym agents`, NAME:FOLDER of a trained one, or NAME?setting=value."""
    out: Annotated[Path, FILE]
    """The PNG to write."""
    images: int = 4
    """How many images, a row each."""
    ratio: float = 0.75
    """Share of the patches that is hidden."""
    seed: int = 0
    """Seed of the choice of images and of the agents' randomness."""
    par: Path | None = None
    """A par file; left out: the one that ships, and no column of par where none does."""

    def __call__(self) -> None:
        """Play and draw."""
        import numpy as np
        import torch

        from maskgym.benchmark import gallery
        from maskgym.benchmark.players import labels, seat
        from maskgym.benchmark.points import count_images

        if not 1 <= len(self.agents) <= _MOST:
            raise BadInput(f"{len(self.agents)} agents: name 1 to {_MOST}, `maskgym agents` lists them")
        if self.images < 1:
            raise BadInput(f"images {self.images} must be at least 1")
        task = self.task()
        check_ratios((self.ratio,), task)
        players = {name: seat(spec, task, self.ratio, self.seed) for spec, name in labels(self.agents).items()}
        tell_untrained(self.agents)
        count = count_images(task, self.images)
        index = np.sort(np.random.default_rng(self.seed).permutation(len(task.images))[:count])
        views, par = task.observe(task.fetch(index)), self._par(task)
        masks = {name: torch.as_tensor(player.act(views)).flatten(1) for name, player in players.items()}
        if par is not None:
            masks["par"] = torch.from_numpy(par.table.mask[index])
        columns = [gallery.column(task, self.ratio, index, name, mask, par) for name, mask in masks.items()]
        hidden = f"{int(columns[0].mask[0].sum())} of {task.patches.count} patches hidden"
        beside = "" if par is None else f", {par}"
        gallery.draw(task, index, columns, f"{self.env.removeprefix('maskgym:')}: {hidden}{beside}", self.out)
        print(f"wrote {self.out}")

    def _par(self, task: Task) -> NamedPar | None:
        from maskgym.benchmark.par import find

        try:
            return find(task, self.ratio, len(task.images), self.par)
        except BadInput:
            if self.par is not None:
                raise
            return None
