"""What an agent costs in pre-training: time per step over random masks' with the same student."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import Row, race, ratio
from maskgym.data.loader import Batch
from maskgym.networks.students import make_student
from maskgym.pretrain.data import make_loader, open_split
from maskgym.pretrain.loop import Loop
from maskgym.pretrain.recipes import make_settings
from maskgym.pretrain.run import build
from maskgym.training.devices import make_fabric

_TURNS = 8  # steps of a run, each of another epoch, so that what is done once in eight epochs counts for an eighth
_UNET = {"student": "unet", "student_settings": ""}  # the papers' four levels
_STUNET = {"student": "stunet-s", "student_settings": "", "target": "normalised"}
_VIT = "width=192&depth=12&heads=6&decoder_width=96"
_HPM: dict[str, Any] = {"student": "vit-mae", "image_size": "192x192", "student_settings": f"{_VIT}&predictor_depth=1"}
_FAITHFUL = {**_HPM, "score_every": 1, "student_settings": f"{_VIT}&decoder_depth=8&predictor_depth=8"}
_MAE = {"student": "vit-mae", "image_size": "192x192", "target": "normalised"}

_SMALL = {"student": "small-unet", "student_settings": ""}
_ASKING: list[tuple[str, str, dict[str, Any], dict[str, Any], str]] = [
    (spec, "random", {**_SMALL, "agent": spec, "hard_share": "1"}, _SMALL, "")
    for spec in ("loss-map?masks=9", "survey?queries=9")
] + [("snapshots", "snapshots", _SMALL, _SMALL, "1.15")]

# A line each: what it is called, recipe, what differs from it, random masks with the same student, the figure to reach.
_CONTESTS: list[tuple[str, str, dict[str, Any], dict[str, Any], str]] = [
    ("MPS-AMS", "mps-ams", _UNET, _UNET, "1.05"),
    ("AMLP", "amlp", _UNET, _UNET, "1.05"),
    ("AHM", "ahm", _UNET, _UNET, "1.10"),
    ("AHM, our a3c", "ahm", {**_UNET, "agent": "a3c"}, _UNET, "1.10"),
    ("AnatoMask", "anatomask", _STUNET, _STUNET, "1.40"),
    ("SelfMedHPM", "selfmedhpm", _HPM, {**_MAE, "student_settings": _VIT}, "1.50"),
    (
        "SelfMedHPM, faithful",
        "selfmedhpm",
        _FAITHFUL,
        {**_MAE, "student_settings": f"{_VIT}&decoder_depth=8"},
        "paper: 1.1",
    ),
]


def agents(device: str, repeats: int) -> Iterator[Row]:
    """Each recipe against random masks, in turns: same student, images, ratio, batch."""
    yield from _contests(_CONTESTS, device, repeats)


def asking(device: str, repeats: int) -> Iterator[Row]:
    """Agents that ask the student nine queries an image, or two averages of it, against random masks."""
    yield from _contests(_ASKING, device, repeats)


def _contests(
    contests: list[tuple[str, str, dict[str, Any], dict[str, Any], str]], device: str, repeats: int
) -> Iterator[Row]:
    for name, recipe, own, plain, target in contests:
        pair = {"agent": _steps(recipe, own, device), "random": _steps("random", plain, device)}
        times = race(pair, repeats, _wait(device))
        cost, spread = ratio(times["agent"], times["random"])
        yield Row(f"pre-training step, {name} over random masks", f"{cost:.2f}", spread, target)


def visible_only(device: str, repeats: int) -> Iterator[Row]:
    """Encoding the visible quarter of the patches against encoding all."""
    settings = make_settings("unused", "selfmedhpm", **_HPM)
    patches = settings.patches
    network: Any = make_student("vit-mae", 1, patches, {"width": 192, "depth": 12, "heads": 6}).to(device)
    images = torch.randn(8, 1, *patches.size, device=device)
    mask = torch.zeros(8, patches.count, dtype=torch.bool, device=device)
    mask[:, patches.count // 4 :] = True
    mask = mask.view(8, *patches.grid)

    def encode(mask: torch.Tensor | None) -> Callable[[], object]:
        def run() -> None:
            with torch.no_grad():
                network._see(images, mask)

        return run

    times = race({"all": encode(None), "visible": encode(mask)}, repeats, _wait(device))
    faster, spread = ratio(times["all"], times["visible"])
    yield Row("encoding a visible quarter over all patches, times faster", f"{faster:.1f}", spread, "3")


def _steps(recipe: str, more: dict[str, Any], device: str) -> Callable[[], object]:
    """Some steps of a run on one batch that it has met before."""
    given = {"image_size": "128x128", "batch": 8, "ratio": "0.75", "epochs": 100_000, "crop": "", **more}
    settings = make_settings(Path("unused"), recipe, device=device, workers=0, images=given["batch"], **given)
    fabric = make_fabric(settings.device)
    train = open_split(settings, "train")
    agent, student, _ = build(settings, train.channels, fabric.device)
    index = torch.arange(settings.batch)
    loop = Loop(settings, student.train(), agent, make_loader(settings, train), fabric)
    still = torch.zeros(settings.batch, settings.patches.dims, dtype=torch.bool)
    batch = Batch(train.middle(index.numpy()), index, still)

    def run() -> None:
        for _ in range(_TURNS):
            loop.update(batch)

    return run


def _wait(device: str) -> Callable[[], object]:
    return torch.cuda.synchronize if device.startswith("cuda") else lambda: None
