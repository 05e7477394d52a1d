"""`maskgym reconstructor ...`: train the frozen network of an environment."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskgym import files
from maskgym.data.source import load
from maskgym.envs.registry import IDS
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking.patches import Patches
from maskgym.networks import store
from maskgym.networks.frozen import freeze
from maskgym.pretrain.held_out import draw, held_out, random_masks
from maskgym.pretrain.reconstructor import TrainSettings, train
from maskgym.sizes import read_size
from maskgym.training.folder import Folder

_RATIOS = (0.25, 0.5, 0.75)
EARLY = "early.safetensors"  # where `maskgym.networks.store.early` looks for it
_BUNDLED = {
    "MaskMIM-v0": TrainSettings(steps=6000, precision="bf16"),
    "MaskMIMSmall-v0": TrainSettings(steps=8000, precision="bf16"),
    # Volumes get a narrower network: a third axis multiplies its weights. In bf16 their loss turned NaN.
    "MaskMIM3D-v0": TrainSettings(steps=4000, widths=(24, 32, 48)),
}

# Their early snapshots, which rewards that compare two networks play with: three epochs, half as wide.
_EARLY = {
    name: TrainSettings(steps=192, widths=tuple(width // 2 for width in how.widths), precision=how.precision)
    for name, how in _BUNDLED.items()
}


@dataclass(frozen=True, kw_only=True)
class Train(TrainSettings):
    """Train a reconstructor on the train split, measure it on the val split, save it where environments can load it."""

    out: Path
    """Folder for model.safetensors, checkpoint, TensorBoard, metrics, pictures; the same command goes on from there."""
    data: str = "phantoms"
    """The images: phantoms, or LAYOUT:FOLDER as in lgg:/data/kaggle_3m."""
    image_size: str = "128x128"
    """Pixels along each axis."""
    patch_size: str = "8"
    """Pixels of a patch along each axis."""
    split_file: str = ""
    """A split saved by `maskgym data split`; empty = the data set's own."""
    fresh: bool = False
    """Delete the run that is in --out and start over; without it, the same command again goes on."""
    quiet: bool = False
    """Print no progress."""
    early_steps: int = 0
    """Train a second network for so many steps, half as wide, into early.safetensors: rewards that compare two networks
    play with both; 0 = none."""

    @property
    def how(self) -> TrainSettings:
        """How the network is trained, without where."""
        return TrainSettings(**{each.name: getattr(self, each.name) for each in fields(TrainSettings)})

    def __call__(self) -> int:
        """Train, measure, save."""
        about = run(self)
        if about is None:
            print("interrupted; all is saved: the same command goes on")
            return 130
        print(json.dumps(about["held_out"], indent=2))
        print(f'use it with reconstructor="{self.out}"')
        return 0


@dataclass(frozen=True)
class Bundle:
    """Train the reconstructors that ship with the package, one for each registered environment."""

    out: Path
    """Folder for the runs."""
    to: Path = store.BUNDLED
    """Folder for the half-precision files."""
    only: str = ""
    """Train only the network of this environment; empty = all."""

    def __call__(self) -> int:
        """Train each, save each."""
        if self.only not in ("", *_BUNDLED):
            raise BadInput(f"--only {self.only} is no environment with a network: choose {', '.join(_BUNDLED)}")
        for name in _BUNDLED:
            keywords = IDS[name]
            if self.only not in ("", name):
                continue
            size = str(keywords["image_size"])
            for suffix, how in (("", _BUNDLED[name]), ("-early", _EARLY[name])):
                folder = self.out / f"{name}{suffix}"
                about = run(Train(out=folder, image_size=size, **asdict(how)))
                if about is None:
                    return 130
                network, _ = store.load(str(folder), channels=1, dims=len(read_size(size, "image_size")))
                store.save(network, self.to / f"{keywords['reconstructor']}{suffix}.safetensors", about, half=True)
                print(f"{name}{suffix}", json.dumps(about["held_out"]))
        return 0


def _early(job: Train, images: np.ndarray, patches: Patches) -> bool:
    """Train the early snapshot in a folder of its own, and lay it beside the network; False if it was interrupted."""
    half = tuple(max(1, width // 2) for width in job.widths)
    how, folder = replace(job.how, steps=job.early_steps, widths=half), job.out / "early"
    folder.mkdir(exist_ok=True)
    network = train(images, patches, how, folder, job.quiet)
    if network is not None:
        about = {"image_size": job.image_size, "patch_size": job.patch_size, "train": asdict(how)}
        store.save(network, job.out / EARLY, about)
    return network is not None


def run(job: Train) -> dict[str, Any] | None:
    """Do what `Train` says; returns what is written beside the weights, or None if it was interrupted."""
    from PIL import Image

    size = read_size(job.image_size, "image_size")
    patches = Patches(size, read_size(job.patch_size, "patch_size", len(size)))
    for name in ("steps", "batch", "save_every"):
        if getattr(job, name) < 1:
            raise BadInput(f"{name} {getattr(job, name)} must be at least 1")
    if job.early_steps < 0:
        raise BadInput(f"early_steps {job.early_steps} must be at least 0")
    split_file = job.split_file or None
    images = {split: load(job.data, size=size, split=split, split_file=split_file) for split in ("train", "val")}
    not_of_the_run = ("device", "save_every")
    how = {name: value for name, value in asdict(job.how).items() if name not in not_of_the_run}
    sizes = {"data": job.data, "image_size": size, "patch_size": patches.patch, "split_file": job.split_file}
    leaves = ("model.safetensors", "held_out.*", EARLY, "early")
    Folder(job.out, sizes | {"train": how, "early_steps": job.early_steps}, job.fresh, leaves)
    if job.early_steps and not _early(job, images["train"].images, patches):
        return None
    network = train(images["train"].images, patches, job.how, job.out, job.quiet)
    if network is None:
        return None
    sample = torch.from_numpy(np.array(images["val"].images[:256]))
    game = Game(freeze(network), patches)
    measured = {str(ratio): held_out(game, sample, random_masks(len(sample), patches, ratio)) for ratio in _RATIOS}
    about = {
        "data": job.data if job.data.startswith("phantoms") else job.data.partition(":")[0],
        "image_size": job.image_size,
        "patch_size": job.patch_size,
        "held_out": {ratio: {name: round(error, 5) for name, error in row.items()} for ratio, row in measured.items()},
        "train": asdict(job.how),
    }
    store.save(network, job.out / "model.safetensors", about)
    files.write_text(job.out / "held_out.json", json.dumps(about, indent=2))
    shown = sample[:6]
    Image.fromarray(draw(game, shown, random_masks(len(shown), patches))).save(job.out / "held_out.png")
    return about
