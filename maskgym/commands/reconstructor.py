"""`maskgym reconstructor ...`: train the frozen network of an environment."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskgym.data.source import load
from maskgym.envs.registry import IDS
from maskgym.envs.rendering import beside, enlarge, grey, heat
from maskgym.envs.task import parse_size
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking.patches import Patches
from maskgym.networks import store
from maskgym.networks.train import TrainSettings, held_out, train

_RATIOS = (0.25, 0.5, 0.75)
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


@dataclass(frozen=True)
class Train:
    """Train a reconstructor on the train split, measure it on the val split, save it where environments can load it."""

    out: Path
    """Folder for model.safetensors, checkpoint, TensorBoard, figures and pictures; a killed run goes on from there."""
    data: str = "phantoms"
    """The data set: phantoms, or LAYOUT:DIR."""
    image_size: str = "128x128"
    """Pixels along each axis."""
    patch_size: str = "8"
    """Pixels of a patch along each axis."""
    split_file: str = ""
    """A split saved by `maskgym data split`."""
    train: TrainSettings = field(default_factory=TrainSettings)

    def __call__(self) -> None:
        """Train, measure, save."""
        about = run(self)
        print(json.dumps(about["held_out"], indent=2))
        print(f'use it with reconstructor="{self.out}"')


@dataclass(frozen=True)
class Bundle:
    """Train the reconstructors that ship with the package, one for each registered environment."""

    out: Path
    """Folder for the runs."""
    to: Path = store.BUNDLED
    """Folder for the half-precision files."""
    only: str = ""
    """Train only the one of this environment id."""

    def __call__(self) -> None:
        """Train each, save each."""
        for name in _BUNDLED:
            keywords = IDS[name]
            if self.only not in ("", name):
                continue
            size = str(keywords["image_size"])
            for suffix, how in (("", _BUNDLED[name]), ("-early", _EARLY[name])):
                folder = self.out / f"{name}{suffix}"
                about = run(Train(folder, image_size=size, train=how))
                network, _ = store.load(str(folder), channels=1, dims=len(parse_size(size, 2, "image_size")))
                store.save(network, self.to / f"{keywords['reconstructor']}{suffix}.safetensors", about, half=True)
                print(f"{name}{suffix}", json.dumps(about["held_out"]))


def run(job: Train) -> dict[str, Any]:
    """Do what `Train` says; returns what is written beside the weights."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    size = parse_size(job.image_size, 2, "image_size")
    patches = Patches(size, parse_size(job.patch_size, len(size), "patch_size"))
    for name in ("steps", "batch"):
        if getattr(job.train, name) < 1:
            raise BadInput(f"{name} {getattr(job.train, name)} must be at least 1")
    if job.out.exists() and not job.out.is_dir():
        raise BadInput(f"{job.out} is a file: give a folder to --out")
    job.out.mkdir(parents=True, exist_ok=True)
    split_file = job.split_file or None
    images = {split: load(job.data, size=size, split=split, split_file=split_file) for split in ("train", "val")}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("training", total=job.train.steps)

        def report(done: int, loss: float) -> None:
            progress.update(bar, completed=done, description=f"training, loss {loss:.4f}")

        network = train(images["train"].images, patches, job.train, job.out, report)
    sample = torch.from_numpy(np.array(images["val"].images[:256]))
    figures = {str(ratio): held_out(network, sample, patches, ratio) for ratio in _RATIOS}
    about = {
        "data": job.data if job.data.startswith("phantoms") else job.data.partition(":")[0],
        "image_size": job.image_size,
        "patch_size": job.patch_size,
        "held_out": {ratio: {name: round(error, 5) for name, error in row.items()} for ratio, row in figures.items()},
        "train": asdict(job.train),
    }
    store.save(network, job.out / "model.safetensors", about)
    (job.out / "held_out.json").write_text(json.dumps(about, indent=2))
    _pictures(network, sample[:6], patches, job.out / "held_out.png")
    return about


def _pictures(network: torch.nn.Module, images: torch.Tensor, patches: Patches, path: Path) -> None:
    """Draw images, what was visible, what was rebuilt and the error, a row each, at ratio 0.75."""
    from PIL import Image

    game = Game(network.cpu().eval(), patches, 0.75)
    keys = torch.from_numpy(np.random.default_rng(0).integers(2**63, size=(len(images), patches.count)))
    with torch.no_grad():
        mask = game.select(keys, keys)
        rebuilt = game.rebuild(images, mask)
        visible = game.hide(images, mask)
    rows = []
    for i in range(len(images)):
        one = slice(i, i + 1)
        error = (rebuilt[one] - images[one]).square().mean(1)[0].numpy()
        error = error[error.shape[0] // 2] if error.ndim == 3 else error
        parts = [grey(images[one]), grey(visible[one]), grey(rebuilt[one]), heat(error, 1.0)]
        rows.append(beside([enlarge(part, 160) for part in parts]))
    Image.fromarray(np.concatenate(rows, 0)).save(path)
