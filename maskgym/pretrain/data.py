"""Batches for pre-training: prepared ahead by threads, all chance drawn from (seed, epoch, place), flips undoable."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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
        """Move to a device."""
        return Batch(*(part.to(device, non_blocking=True) for part in self))


class Feed:
    """All batches of a run.

    Every epoch shows every image once, in random order; what is left at its end and fills no batch waits for another.

    Args:
        split: the images.
        batch: images a step.
        size: of what is shown: the images' own, or smaller, then it is cut out at random.
        flips: flip each image along each axis at even odds.
        count: only the first so many images; 0 = all.
        workers: threads that prepare batches ahead; 0 = none.
        seed: of order, flips and crops.
    """

    def __init__(
        self,
        split: Images,
        batch: int,
        size: tuple[int, ...],
        flips: bool = True,
        count: int = 0,
        workers: int = 2,
        seed: int = 0,
    ):
        self.split, self.batch, self.size, self.flips = split, batch, size, flips
        self.workers, self.seed = workers, seed
        self.count = min(count or len(split), len(split))
        if batch > self.count:
            raise BadInput(
                f"batch {batch} is more than the {self.count} images of the train split: choose a smaller one"
            )

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return self.count // self.batch

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """Give the batches of steps `first` to `last`, counted over all epochs."""
        if not self.workers:
            yield from map(self.make, range(first, last))
            return
        with ThreadPoolExecutor(self.workers, "batches") as threads:
            waiting: deque[Future[Batch]] = deque()
            try:
                for step in range(first, last):
                    waiting.append(threads.submit(self.make, step))
                    if len(waiting) > 2 * self.workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for batch in waiting:
                    batch.cancel()

    def make(self, step: int) -> Batch:
        """Prepare the batch of a step."""
        epoch, place = divmod(step, self.steps)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
        index = order[place * self.batch : (place + 1) * self.batch]
        random = np.random.default_rng((self.seed, epoch, place))
        images = torch.from_numpy(self._cut(index, random))
        flipped = torch.from_numpy(random.random((len(index), len(self.size))) < 0.5 * self.flips)
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


def flip(values: Tensor, flipped: Tensor) -> Tensor:
    """Flip each of (B, ..., *size) along its last axes where (B, axes) says so; twice gives back what was."""
    axes = flipped.shape[1]
    for axis in range(axes):
        here = flipped[:, axis].view(-1, *[1] * (values.dim() - 1))
        values = torch.where(here, values.flip(axis - axes), values)
    return values
