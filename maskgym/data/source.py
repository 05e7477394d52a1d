"""What a data set is to the rest of the house: an `Images` made from one string by `load`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from maskgym.data import cache as caches
from maskgym.data.spec import Spec, parse
from maskgym.errors import BadInput

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
    regions: dict[str, tuple[str, ...]] = field(default_factory=dict)  # scored together -> the classes it is made of
    grades: np.ndarray | None = None  # (n,) int64 class of the whole image, -1 = not graded
    grade_names: tuple[str, ...] = ()
    spacing: np.ndarray | None = None  # (n, len(size)) float32 mm of a pixel; None for pictures and phantoms
    notes: tuple[str, ...] = ()  # what was left out or repaired on the way, a line each

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width, or depth, height and width."""
        return tuple(self.images.shape[2:])


def load(
    dataset: str,
    *,
    size: tuple[int, ...],
    split: str = "train",
    split_file: str | None = None,
    cache: Path | None = None,
) -> Images:
    """One split of a data set at one size; prepared on the first call, opened from the cache ever after.

    Args:
        dataset: `phantoms`, or a layout and a folder with options, as in `lgg:/data/kaggle_3m?modality=FLAIR`.
        size: (H, W) for pictures and slices, (D, H, W) for volumes.
        split: train, val or test.
        split_file: a split saved by `maskgym data split`, instead of the seeded one.
        cache: another cache folder than the usual one.
    """
    if split not in SPLITS:
        raise BadInput(f"there is no split {split!r}: choose train, val or test")
    size = tuple(int(side) for side in size)
    if len(size) not in (2, 3) or min(size) < 1:
        raise BadInput(f"size {size} should be (H, W) or (D, H, W), every side at least 1")
    spec = parse(dataset)
    if spec.layout == "phantoms":
        if split_file is not None:
            raise BadInput("phantoms have no patients to split: leave the split file out")
        return _phantoms(spec, size, split, cache)
    from maskgym.data import real

    return real.load(dataset, spec, size, split, split_file, cache)


def _phantoms(spec: Spec, size: tuple[int, ...], split: str, cache: Path | None) -> Images:
    from maskgym.data import phantoms  # not needed to read real images

    count = {"train": 2048 if len(size) == 2 else 1024, "val": 128, "test": 128}[split]
    first = {"train": 0, "val": 1_000_000, "test": 2_000_000}[split]

    def make(writer: caches.Writer) -> None:
        from maskgym.data.progress import track

        indices = np.arange(first, first + count)
        for part in track(np.array_split(indices, count // 32), "making phantoms"):
            images, labels = phantoms.make(spec.options.seed, part, size)
            writer.append("images", images)
            writer.append("labels", labels)

    key: dict[str, Any] = {"version": phantoms.VERSION, "seed": spec.options.seed, "size": size, "split": split}
    arrays, _ = caches.fetch("phantoms", key, make, cache)
    names = tuple(f"phantom_{index}" for index in range(first, first + count))
    return Images(arrays["images"], arrays["labels"], names, names, ("intensity",), ("lesion",))
