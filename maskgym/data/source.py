"""What a data set is to the rest of the house: an `Images` made from one string by `load`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Images:
    """One split of a data set, prepared: normalised, all of one size, memory-mapped where it came from a cache."""

    images: np.ndarray  # (n, C, *size) float32, z-scored
    labels: np.ndarray | None  # (n, *size) uint8, 0 = background; None where the set has no labels
    ids: tuple[str, ...]  # one printable name an image, unique
    patients: tuple[str, ...]  # whom each image is of
    channels: tuple[str, ...]
    classes: tuple[str, ...]  # names of labels 1, 2, ...

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width, or depth, height and width."""
        return tuple(self.images.shape[2:])
