"""Batches of images or random crops, prepared ahead by threads; what is random grows from (seed, step).

A run reads them so::

    loader = Loader(Frames(cases, view), batch=8, seed=0, crops=True, foreground=1 / 3)
    for batch in loader.batches(first=0, last=1000):  # a run that is resumed at step 400 begins with first=400
        network(batch.to(device).images)

Batch `step` is the same whatever the number of threads, so a run that was killed and resumed sees what it would have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from maskgym.data import splits
from maskgym.data.ahead import ahead
from maskgym.errors import BadInput

Pair = tuple[np.ndarray, np.ndarray | None]  # an image (C, *size) float32 and its labels (*size) uint8


class Source(Protocol):
    """What images are drawn from; `maskgym.data.cases.Frames` is one."""

    @property
    def size(self) -> tuple[int, ...]:
        """Of every image."""

    @property
    def patients(self) -> Sequence[str]:
        """Whom each image is of."""

    def __len__(self) -> int: ...

    def load(self, number: int) -> np.ndarray:
        """An image (C, *size)."""

    def label(self, number: int) -> np.ndarray | None:
        """Its labels (*size)."""

    def crop(self, number: int, rng: np.random.Generator, foreground: float) -> Pair:
        """A random crop."""

    def check_crops(self) -> None:
        """Refuse crops that are larger than a case."""


class Batch(NamedTuple):
    """The images of one step, of all processes."""

    images: Tensor  # (B, C, *size) float32
    which: Tensor  # (B,) int64: which images of the source
    flipped: Tensor  # (B, axes) bool: along which axes they were flipped
    labels: Tensor | None = None  # (B, *size) int64

    def to(self, device: torch.device | str) -> Batch:
        """Move to a device, without waiting where the batch is pinned."""
        return Batch(*(None if part is None else part.to(device, non_blocking=True) for part in self))  # type: ignore[arg-type]


class Loader:
    """All batches of a run, by step.

    Args:
        source: the images.
        batch: images a step.
        seed: of order, crops, flips and the transform.
        crops: cut each image out at random from its case, as `View.crop` does; else show it as the view has it.
        foreground: share of the crops that are laid over a labelled voxel.
        labelled: batches carry labels.
        flips: axes of an image along which it is flipped at even odds.
        rows: only these images of the source.
        count: only so many of them, spread evenly over patients; 0 = all.
        replacing: draw every image anew; else an epoch shows each once, in random order.
        transform: what else is done to an image and its labels, with a generator of its own: (image, labels, rng).
        workers: threads that prepare batches ahead; 0 = none.
        pin: batches lie in pinned memory, so that copies to a GPU need no waiting; None = where there is a GPU.
    """

    def __init__(
        self,
        source: Source,
        batch: int,
        *,
        seed: int = 0,
        crops: bool = False,
        foreground: float = 0.0,
        labelled: bool = False,
        flips: Sequence[int] = (),
        rows: Sequence[int] | None = None,
        count: int = 0,
        replacing: bool = False,
        transform: Callable[[np.ndarray, np.ndarray | None, np.random.Generator], Pair] | None = None,
        workers: int = 2,
        pin: bool | None = None,
    ) -> None:
        chosen = np.arange(len(source)) if rows is None else np.asarray(rows)
        if count:
            patients = source.patients
            chosen = chosen[splits.spread([patients[row] for row in chosen.tolist()], count)]
        if not len(chosen):
            raise BadInput("there is no image to draw from: choose another split or more patients")
        if batch > len(chosen) and not replacing:
            raise BadInput(f"batch {batch} is more than the {len(chosen)} images there are: choose a smaller one")
        if crops:
            source.check_crops()
        self.source, self.batch, self.seed, self.rows = source, batch, seed, chosen
        self.crops, self.foreground, self.labelled, self.flips = crops, foreground, labelled, tuple(flips)
        self.replacing, self.transform, self.workers = replacing, transform, workers
        self.pin = torch.cuda.is_available() if pin is None else pin
        self.waited = 0.0  # seconds that `batches` made its caller wait

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return max(1, len(self.rows) // self.batch)

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """Give the batches of steps `first` to `last`, counted over all epochs."""
        coming = ahead(self.make, range(first, last), self.workers)
        try:
            while True:
                start = perf_counter()
                batch = next(coming, None)
                self.waited += perf_counter() - start
                if batch is None:
                    return
                yield batch
        finally:
            coming.close()

    def make(self, step: int) -> Batch:
        """Prepare the batch of a step."""
        epoch, place = divmod(step, self.steps)
        if self.replacing:
            which = self.rows[np.random.default_rng((self.seed, step)).integers(len(self.rows), size=self.batch)]
        else:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.rows)
            which = order[place * self.batch : (place + 1) * self.batch]
        pairs, flipped = [], np.zeros((len(which), len(self.source.size)), bool)
        for slot, number in enumerate(which.tolist()):
            rng = np.random.default_rng((self.seed, epoch, place, slot))
            flipped[slot, list(self.flips)] = rng.random(len(self.flips)) < 0.5
            pairs.append(self._pair(number, flipped[slot], rng))
        images = torch.from_numpy(np.stack([image for image, _ in pairs]))
        labels = None
        if self.labelled:
            labels = torch.from_numpy(np.stack([label for _, label in pairs if label is not None])).long()
        parts = (images, torch.from_numpy(which), torch.from_numpy(flipped), labels)
        return Batch(*(part.pin_memory() if self.pin and part is not None else part for part in parts))  # type: ignore[arg-type]

    def _pair(self, number: int, flipped: np.ndarray, rng: np.random.Generator) -> Pair:
        if self.crops:
            image, label = self.source.crop(number, rng, self.foreground)
        else:
            image, label = self.source.load(number), self.source.label(number) if self.labelled else None
        along = tuple(axis for axis, flip in enumerate(flipped) if flip)
        image = np.flip(image, tuple(axis + 1 for axis in along))
        label = np.flip(label, along) if label is not None and self.labelled else None
        if self.transform is not None:
            image, label = self.transform(image, label, rng)
        return np.ascontiguousarray(image, np.float32), label
