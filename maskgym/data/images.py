"""What a split of a data set is to the rest of the house."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Images:
    """One split of a data set, prepared: normalised, all of one size, memory-mapped where it came from a cache."""

    images: np.ndarray  # (n, C, *size) float32, z-scored
    labels: np.ndarray | None  # (n, *size) uint8, 0 = background; None where the set has no labels
    ids: tuple[str, ...]  # one printable name an image, unique
    patients: tuple[str, ...]  # whom each image is of
    channels: tuple[str, ...]
    classes: tuple[str, ...]  # names of labels 1, 2, ...
    regions: dict[str, tuple[str, ...]] = field(default_factory=dict)  # scored together -> the classes it is made of
    grades: np.ndarray | None = None  # (n,) int64 class of the whole image, -1 = not graded
    grade_names: tuple[str, ...] = ()
    spacing: np.ndarray | None = None  # (n, len(size)) float32 mm of a pixel; None for pictures and phantoms
    notes: tuple[str, ...] = ()  # what was left out or repaired on the way, a line each

    def __len__(self) -> int:
        return len(self.images)

    def lesion(self, rows: np.ndarray | slice) -> np.ndarray | None:
        """Where the lesions of some images are, (b, *size) bool: the class of that name, or all classes without one."""
        if self.labels is None:
            return None
        labels = self.labels[rows]
        return labels == 1 + self.classes.index("lesion") if "lesion" in self.classes else labels > 0

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width, or depth, height and width."""
        return tuple(self.images.shape[2:])
