"""One split of any data set, by one string: `load`."""

from __future__ import annotations

from pathlib import Path

from maskgym.data import phantom_set, real
from maskgym.data.images import Images
from maskgym.data.spec import parse
from maskgym.errors import BadInput

SPLITS = ("train", "val", "test")


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
        return phantom_set.load(spec.options, size, split, split_file, cache)
    return real.load(dataset, size, split, split_file, cache)
