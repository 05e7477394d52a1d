"""The images of a pre-training: whole ones of one size, or crops cut from the native cases; flips can be undone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from maskgym.data.cases import Frames, open_cases
from maskgym.data.loader import Loader
from maskgym.data.source import load
from maskgym.data.whole import Whole
from maskgym.errors import BadInput
from maskgym.pretrain.settings import PretrainSettings

Source = Whole | Frames


@dataclass(frozen=True)
class Split:
    """One split as a pre-training sees it."""

    source: Source
    channels: int

    def __len__(self) -> int:
        return len(self.source)

    def middle(self, rows: np.ndarray) -> Tensor:
        """Give some images, (n, C, *size): whole, or the middles of native ones where training is on crops."""
        return torch.from_numpy(np.stack([np.array(self.source.load(row)) for row in rows.tolist()]))

    def lesions(self) -> np.ndarray | None:
        """Give where the lesions of all images are, (n, *size) bool, where they have labels."""
        return self.source.images.lesion(slice(None)) if isinstance(self.source, Whole) else None


def open_split(settings: PretrainSettings, split: str) -> Split:
    """Open a split of the run's images."""
    file = settings.split_file or None
    if not settings.crop:
        images = load(settings.data, size=settings.patches.size, split=split, split_file=file)
        return Split(Whole(images), images.images.shape[1])
    cases = open_cases(settings.data, split, file, size=settings.size)
    return Split(cases.crops(settings.patches.size), len(cases.channels))


def make_loader(settings: PretrainSettings, train: Split) -> Loader:
    """Give the batches of a run: all randomness is drawn from (seed, step)."""
    dims = settings.patches.dims
    return Loader(
        train.source,
        settings.batch,
        seed=settings.seed,
        crops=bool(settings.crop),
        flips={"all": tuple(range(dims)), "last": (dims - 1,), "none": ()}[settings.flips],
        rows=abnormal(train.source) if settings.abnormal_only else None,
        count=settings.images,
        workers=0,  # the loop that fits prepares batches ahead
        pin=settings.device.startswith("cuda"),
    )


def abnormal(source: Source) -> list[int]:
    """Choose the images with a lesion on them; this asks the labels."""
    if not len(source) or source.label(0) is None:
        raise BadInput("these images have no labels that would say which are abnormal: leave --abnormal-only away")
    return [row for row in range(len(source)) if np.any(source.label(row))]


def flip(values: Tensor, flipped: Tensor) -> Tensor:
    """Flip each of (B, ..., *size) along its last axes where (B, axes) says so; twice gives back what was."""
    axes = flipped.shape[1]
    for axis in range(axes):
        here = flipped[:, axis].view(-1, *[1] * (values.dim() - 1))
        values = torch.where(here, values.flip(axis - axes), values)
    return values
