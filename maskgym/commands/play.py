"""`maskgym envs` and `maskgym render`: list the environments and draw what agents hide in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from maskgym.commands.options import FILE
from maskgym.commands.which_game import WhichGame, tell_untrained
from maskgym.envs.registry import IDS, QUERY_IDS
from maskgym.errors import BadInput


@dataclass(frozen=True)
class Envs:
    """List the registered environments."""

    def __call__(self) -> None:
        """Print a line each."""
        from rich.console import Console
        from rich.table import Table

        from maskgym.envs.query import QuerySettings
        from maskgym.masking.patches import Patches
        from maskgym.sizes import read_size

        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("id", "image", "patch", "grid", "hidden", "steps", "reconstructor"):
            table.add_column(heading, no_wrap=True)
        for name, keywords in {**IDS, **QUERY_IDS}.items():
            settings = QuerySettings.of(dict(keywords))
            size = read_size(settings.image_size, "image_size")
            patches = Patches(size, read_size(settings.patch_size, "patch_size", len(size)))
            grid = " x ".join(map(str, patches.grid))
            hidden = f"{settings.ratio:.0%}"
            steps = str(settings.queries if name in QUERY_IDS else 1)
            cells = (str(settings.image_size), str(settings.patch_size), grid, hidden, steps)
            table.add_row(name, *cells, settings.reconstructor)
        Console().print(table)


@dataclass(frozen=True, kw_only=True)
class Render(WhichGame):
    """Let an agent play some images and draw image, mask, reconstruction and error of each."""

    out: Annotated[Path, FILE]
    """The PNG to write."""
    agent: str = "random"
    """Who plays: a name from `maskgym agents`, NAME:FOLDER of a trained one, or NAME?setting=value."""
    images: int = 4
    """How many images, a row each."""
    ratio: float = 0.75
    """Share of the patches that is hidden."""
    seed: int = 0
    """Seed of the choice of images and of the agent's randomness."""

    def __call__(self) -> None:
        """Play and draw."""
        import gymnasium as gym
        import numpy as np

        from maskgym import drawing, make_agent

        if self.images < 1:
            raise BadInput(f"images {self.images} must be at least 1")
        keywords = self.keywords() | {"split": self.split, "ratio": self.ratio}
        env = gym.make(self.name, render_mode="rgb_array", **keywords)
        player = make_agent(self.agent, env, seed=self.seed)
        tell_untrained((self.agent,))
        rows = []
        for number in range(self.images):
            observation, _ = env.reset(seed=self.seed if number == 0 else None)
            env.step(player.act(observation))
            rows.append(np.asarray(env.render()))
        drawing.save(np.concatenate(rows), self.out)
        print(f"wrote {self.out}: image, mask, reconstruction, error")
