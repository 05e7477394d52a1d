"""Whole images of one size, as a loader draws from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskgym.data.images import Images


@dataclass(frozen=True)
class Whole:
    """The images of a split, all of one size, for a `Loader`: what `Frames` is to the cases of a store."""

    images: Images

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, ...]:
        """Of every image."""
        return self.images.size

    @property
    def patients(self) -> tuple[str, ...]:
        """Whom each image is of."""
        return self.images.patients

    @property
    def ids(self) -> tuple[str, ...]:
        """One printable name an image."""
        return self.images.ids

    def load(self, number: int) -> np.ndarray:
        """An image (C, *size)."""
        return self.images.images[number]

    def label(self, number: int) -> np.ndarray | None:
        """Its labels (*size)."""
        return None if self.images.labels is None else self.images.labels[number]

    def crop(
        self, number: int, rng: np.random.Generator, foreground: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Whole images are shown whole."""
        return self.load(number), self.label(number)

    def check_crops(self) -> None:
        """There are none."""
