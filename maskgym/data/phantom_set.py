"""The splits of `phantoms`: disjoint stretches of one endless series, drawn once and kept in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from maskgym.data import cache as caches
from maskgym.data import phantoms
from maskgym.data.images import Images
from maskgym.data.progress import track
from maskgym.data.spec import Options
from maskgym.errors import BadInput

FIRST = {"train": 0, "val": 1_000_000, "test": 2_000_000}


def load(options: Options, size: tuple[int, ...], split: str, split_file: str | None, cache: Path | None) -> Images:
    """The phantoms of one split, memory-mapped."""
    if split_file is not None:
        raise BadInput("phantoms have no patients to split: leave the split file out")
    first, count = FIRST[split], 256 if split == "test" and options.labels == "anatomy" else 128
    if split == "train":
        count = options.count or (2048 if len(size) == 2 else 1024)
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
    classes = phantoms.ANATOMY if anatomy else ("lesion",)
    return Images(arrays["images"], arrays["labels"], names, names, ("intensity",), classes)
