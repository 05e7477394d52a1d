"""Batches for pre-training: all randomness is drawn from (seed, epoch, place), and flips can be undone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from maskgym.data.source import Images
from maskgym.errors import BadInput


class Batch(NamedTuple):
    """The images of one step, of all processes."""

    images: Tensor  # (B, C, *size)
    which: Tensor  # (B,) int64: which images of the split
    flipped: Tensor  # (B, axes) bool: along which axes they were flipped

    def to(self, device: torch.device) -> Batch:
        """Move to a device; to a GPU by way of pinned memory, without waiting."""
        if device.type != "cuda":
            return self
        return Batch(*(part.pin_memory().to(device, non_blocking=True) for part in self))


class Feed:
    """All batches of a run.

    Every epoch shows every image once, in random order; what is left at its end and fills no batch waits for another.

    Args:
        split: the images.
        batch: images a step.
        size: of what is shown: the images' own, or smaller, then it is cut out at random.
        flips: axes along which each image is flipped at even odds: all, last or none.
        rows: only these images; none = all.
        seed: of order, flips and crops.
    """

    def __init__(
        self,
        split: Images,
        batch: int,
        size: tuple[int, ...],
        flips: str = "all",
        rows: np.ndarray | None = None,
        seed: int = 0,
    ):
        self.split, self.batch, self.size, self.flips, self.seed = split, batch, size, flips, seed
        self.rows = np.arange(len(split)) if rows is None else rows
        if batch > len(self.rows):
            raise BadInput(
                f"batch {batch} is more than the {len(self.rows)} images of the train split: choose a smaller one"
            )

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return len(self.rows) // self.batch

    def make(self, step: int) -> Batch:
        """Prepare the batch of a step."""
        epoch, place = divmod(step, self.steps)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.rows)
        index = order[place * self.batch : (place + 1) * self.batch]
        random = np.random.default_rng((self.seed, epoch, place))
        images = torch.from_numpy(self._cut(index, random))
        flipped = torch.from_numpy(random.random((len(index), len(self.size))) < 0.5)
        if self.flips != "all":
            flipped[:, : -1 if self.flips == "last" else None] = False
        return Batch(flip(images, flipped), torch.from_numpy(index), flipped)

    def _cut(self, index: np.ndarray, random: np.random.Generator) -> np.ndarray:
        images = self.split.images
        room = np.array(self.split.size) - np.array(self.size)
        if not room.any():
            return np.ascontiguousarray(images[index], np.float32)
        corners = random.integers(0, room + 1, size=(len(index), len(room)))
        return np.stack(
            [
                images[i, :, *(slice(at, at + side) for at, side in zip(corner, self.size, strict=True))]
                for i, corner in zip(index, corners, strict=True)
            ]
        ).astype(np.float32, copy=False)


def choose(split: Images, count: int = 0, abnormal: bool = False) -> np.ndarray:
    """Choose the images to train on: a random few (fewer lie within more), or those with a label on them.

    Args:
        split: the images.
        count: how many; 0 = all.
        abnormal: only those with a lesion, which asks the labels.
    """
    rows = np.arange(len(split))
    if abnormal:
        if split.labels is None:
            raise BadInput("these images have no labels that would say which are abnormal: leave --abnormal-only away")
        rows = rows[[bool(label.any()) for label in split.labels]]
    if count and count < len(rows):
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:count])
    return rows


def flip(values: Tensor, flipped: Tensor) -> Tensor:
    """Flip each of (B, ..., *size) along its last axes where (B, axes) says so; twice gives back what was."""
    axes = flipped.shape[1]
    for axis in range(axes):
        here = flipped[:, axis].view(-1, *[1] * (values.dim() - 1))
        values = torch.where(here, values.flip(axis - axes), values)
    return values
