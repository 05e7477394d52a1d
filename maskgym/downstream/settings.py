"""How a network is fine-tuned: one dataclass, of which the command line, the saved run and the docs are made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from maskgym.downstream.recipes import Recipe, recipe
from maskgym.errors import BadInput

_ABOUT_THIS_START = ("out", "resume", "quiet", "device")  # may differ when a run goes on


@dataclass(frozen=True)
class FineTune:
    """Fine-tune a segmentation network with few labels and measure it on the test patients."""

    out: Path
    """Folder of the run; scores.json is written last."""
    weights: str = "none"
    """Where to start: the folder of a pre-training run, a .safetensors file, or none for a random start."""
    network: str = "unet"
    """unet, basicunet, unetr or stunet, with settings as in unet?widths=16,32,64; the rest follows the weights."""
    data: str = "phantoms"
    """The data set: phantoms, or LAYOUT:DIR."""
    image_size: str = "128x128"
    """Pixels along each axis."""
    split_file: str = ""
    """A split saved by `maskgym data split`."""
    label_share: float = 1.0
    """Share of the training patients whose labels may be used; small shares lie within larger ones."""
    label_seed: int | None = None
    """Which patients these are; as the split says where it is left out."""
    recipe: str = "default"
    """Optimiser and schedule: default, ahm, amlp, mps-ams, selfmedhpm or anatomask."""
    steps: int = 1000
    """Optimiser steps, the same for every label share."""
    batch: int = 0
    """Images a step; 0 = the recipe's."""
    lr: float = 0.0
    """Peak learning rate; 0 = the recipe's."""
    val_every: int = 0
    """Steps between two looks at the val patients; 0 = a tenth of all steps."""
    patience: int = 0
    """Looks without a better val Dice after which training ends; 0 = never."""
    window: str = ""
    """Train on crops of this size and let it slide over the images; empty = whole images."""
    keep: Literal["best", "last"] = "best"
    """Which network is measured: the best on val, or the last, where val is too small to choose by."""
    flips: Literal["last", "all", "none"] = "last"
    """Axes along which training images are flipped: the last (left and right), all, or none."""
    tolerance: float = 1.0
    """How far apart surfaces may be for NSD, in mm, or pixels where no spacing is known."""
    allow_partial: bool = False
    """Go on where the weights fill less than 90 % of the encoder."""
    precision: str = "32"
    """Of the forward and backward pass: 32 or bf16."""
    seed: int = 0
    """Of the weights and of all chance."""
    device: str = "cpu"
    """cpu, cuda or cuda:1."""
    resume: bool = False
    """Go on from the last checkpoint in --out."""
    quiet: bool = False
    """No line of progress."""

    def check(self) -> None:
        """Refuse what cannot be meant, in one line; at construction the command line would wrap it in many."""
        for name, least in (("steps", 1), ("batch", 0), ("lr", 0), ("val_every", 0), ("patience", 0), ("tolerance", 0)):
            if not getattr(self, name) >= least:
                raise BadInput(f"{name} {getattr(self, name)} must be at least {least}")
        if not 0 < self.label_share <= 1:
            raise BadInput(f"a label share of {self.label_share} leaves no patient: it lies above 0 and is at most 1")
        for name, known in (("keep", ("best", "last")), ("flips", ("last", "all", "none"))):
            if getattr(self, name) not in known:
                raise BadInput(f"{name} {getattr(self, name)!r} is unknown: choose {' or '.join(known)}")
        if self.precision not in ("32", "bf16"):
            raise BadInput(f"unknown precision {self.precision!r}: choose 32 or bf16")
        recipe(self.recipe)

    @property
    def chosen(self) -> Recipe:
        """The recipe."""
        return recipe(self.recipe)

    @property
    def size(self) -> tuple[int, ...]:
        """Of the images."""
        return read_size(self.image_size, "image_size")

    @property
    def crop(self) -> tuple[int, ...]:
        """What the network takes: the window, or the whole image."""
        if not self.window:
            return self.size
        crop = read_size(self.window, "window")
        crop = crop * len(self.size) if len(crop) == 1 else crop
        if len(crop) != len(self.size) or any(a > b for a, b in zip(crop, self.size, strict=True)):
            raise BadInput(f"window {self.window} does not fit into image_size {self.image_size}: choose a smaller one")
        return crop

    @property
    def look_every(self) -> int:
        """Steps between two looks at val."""
        return self.val_every or max(1, self.steps // 10)

    def resolved(self) -> dict[str, Any]:
        """Everything that makes the run what it is, for settings.json."""
        told = {name: value for name, value in asdict(self).items() if name not in _ABOUT_THIS_START}
        own = {"batch": self.batch or self.chosen.batch, "lr": self.lr or self.chosen.lr, "val_every": self.look_every}
        return {**told, **own, "recipe_settings": asdict(self.chosen)}


def read_size(text: str, name: str) -> tuple[int, ...]:
    """Read "128x128" or "32x32x32"; one number is a square."""
    try:
        sides = tuple(int(side) for side in text.lower().split("x"))
    except ValueError:
        raise BadInput(f"{name} {text!r} is not a size: write 128x128 or 32x32x32") from None
    if min(sides) < 1 or len(sides) > 3:
        raise BadInput(f"{name} {text!r} is not a size: write 128x128 or 32x32x32")
    return sides * 2 if len(sides) == 1 else sides
