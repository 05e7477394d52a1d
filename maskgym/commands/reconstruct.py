"""`maskgym reconstruct`: draw what a pre-trained network makes of hidden patches."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from maskgym import drawing
from maskgym.agent import GameSpec
from maskgym.envs.task import choose_device
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking.select import budget
from maskgym.networks import store
from maskgym.pretrain.data import open_split
from maskgym.pretrain.held_out import draw, held_out, random_masks
from maskgym.pretrain.recipes import make_settings
from maskgym.pretrain.settings import PretrainSettings
from maskgym.registry import make_agent


@dataclass(frozen=True)
class Reconstruct:
    """Draw image, what is left of it, the reconstruction in its place, and the error: a row an image."""

    run: Annotated[Path, tyro.conf.Positional]
    """The folder of a pre-training run."""
    out: Path = Path("reconstructions.png")
    """The PNG to write."""
    agent: str = "random"
    """Who hides: a name from `maskgym agents`, NAME:FOLDER of a trained one, or NAME?setting=value."""
    ratio: float = 0.75
    """Share of the patches that is hidden."""
    split: str = "test"
    """Which images: train, val or test."""
    data: str = ""
    """The images: phantoms, or LAYOUT:FOLDER; empty = the run's own."""
    images: int = 6
    """How many images, a row each, spread over the split."""
    device: str = "cpu"
    """Where the network runs: cpu, cuda or cuda:1."""

    def __call__(self) -> None:
        """Load, hide, rebuild, draw."""
        settings = self._settings()
        patches, split = settings.patches, open_split(settings, self.split)
        student, about = store.load(str(self.run), split.channels, patches.dims)
        if self.images < 1:
            raise BadInput(f"images {self.images} must be at least 1")
        device = choose_device(self.device)
        which = np.unique(np.linspace(0, len(split) - 1, min(self.images, len(split))).astype(int))
        images = split.middle(which).to(device)
        game = Game(student.eval().to(device), patches, self.ratio, target=about["target"])
        mask = random_masks(len(images), patches, self.ratio).to(device)
        if self.agent != "random":
            agent = make_agent(self.agent, game_spec=GameSpec(patches, images.shape[1], self.ratio, self.device))
            agent.attach(student, student)
            mask = agent.to_mask(agent.score(images), budget(self.ratio, patches.count)).view_as(mask)
        drawing.save(draw(game, images, mask), self.out)
        errors = held_out(game, images, mask)
        told = ", ".join(f"{name} {value:.3f}" for name, value in errors.items())
        print(f"{self.out}: image, visible, reconstruction, error; {told}")

    def _settings(self) -> PretrainSettings:
        """Read what the run was made from."""
        file = self.run / "settings.json"
        if not file.is_file():
            raise BadInput(f"{self.run} holds no pre-training run: it has no settings.json")
        try:
            told = json.loads(file.read_text())
        except ValueError as error:
            raise BadInput(f"{file} is damaged ({error})") from None
        if "recipe" not in told:
            raise BadInput(f"{self.run} holds a run of another kind: give the folder of `maskgym pretrain`")
        known = {field.name for field in fields(PretrainSettings)}
        own = {name: value for name, value in told.items() if name in known - {"out", "recipe", "settings"}}
        made = make_settings(self.run, told["recipe"], **(own | ({"data": self.data} if self.data else {})))
        if made.contrastive:
            raise BadInput(f"{self.run} compared views of images (loss {made.loss!r}): its student rebuilds nothing")
        return made
