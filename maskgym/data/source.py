"""One split of any data set, by one string: `load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from maskgym.data import cache as caches
from maskgym.data import phantoms, real
from maskgym.data.images import Images
from maskgym.data.progress import track
from maskgym.data.spec import Spec, parse
from maskgym.errors import BadInput

SPLITS = ("train", "val", "test")
FIRST_PHANTOM = {"train": 0, "val": 1_000_000, "test": 2_000_000}  # disjoint stretches of one series


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
    return real.load(dataset, spec, size, split, split_file, cache)


def _phantoms(spec: Spec, size: tuple[int, ...], split: str, cache: Path | None) -> Images:
    options, first = spec.options, FIRST_PHANTOM[split]
    train = options.count or (2048 if len(size) == 2 else 1024)
    count = train if split == "train" else 128
    anatomy = options.labels == "anatomy"

    def make(writer: caches.Writer) -> None:
        indices = np.arange(first, first + count)
        for part in track(np.array_split(indices, -(-count // 32)), "making phantoms"):
            images, labels = phantoms.make(options.seed, part, size, anatomy)
            writer.append("images", images)
            writer.append("labels", labels)

    key: dict[str, Any] = {"version": phantoms.VERSION, "seed": options.seed, "size": size, "split": split}
    key |= {"count": count, "labels": options.labels}
    arrays, _ = caches.fetch("phantoms", key, make, cache)
    names = tuple(f"phantom_{index}" for index in range(first, first + count))
    return Images(
        arrays["images"], arrays["labels"], names, names, ("intensity",), phantoms.ANATOMY if anatomy else ("lesion",)
    )
