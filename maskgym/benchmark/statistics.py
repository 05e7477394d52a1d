"""Intervals and comparisons over seeds and images, as few numbers allow (after rliable, Agarwal et al. 2021).

Scores are arrays (S, n): S seeds, n images. A seed is one trained agent playing every image, so the two cross: a
resample draws seeds and images, each with replacement, and takes every drawn seed on every drawn image. rliable's own
design, runs that belong to one task each, is there as `crossed=False`: the images stay, each draws its own seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Statistic = Callable[..., float]  # of one or more arrays (S, n)

RESAMPLES = 2000


class Interval(NamedTuple):
    """A figure and the interval around it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


def interquartile_mean(scores: np.ndarray) -> float:
    """Mean of the middle half of all scores: less noisy than a median, deaf to outliers."""
    known = np.asarray(scores, float).ravel()
    known = known[~np.isnan(known)]
    if not len(known):
        return float("nan")
    cut = len(known) // 4  # from each end, as scipy.stats.trim_mean(known, 0.25) does, but resampled thousands of times
    return float(np.partition(known, (cut, len(known) - cut - 1))[cut : len(known) - cut].mean())


def probability_of_improvement(ours: np.ndarray, theirs: np.ndarray) -> float:
    """How likely a run of ours (S, n) beats one of theirs (R, n) on an image, ties counting half, meaned over images.

    It is the Mann-Whitney U of each image over S * R.
    """
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    above = (ours[:, None] > theirs[None]).mean((0, 1))  # (n,)
    equal = (ours[:, None] == theirs[None]).mean((0, 1))
    return float((above + 0.5 * equal).mean())


def bootstrap(
    statistic: Statistic,
    *scores: np.ndarray,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    crossed: bool = True,
    seed: int = 0,
) -> Interval:
    """Say in which interval a statistic of scores (S, n) lies: percentiles of its resampled values.

    Arrays with equal numbers of seeds are resampled alike, so that what belongs to one run stays together.
    """
    arrays = [np.atleast_2d(np.asarray(array, float)) for array in scores]
    images = arrays[0].shape[1]
    if any(array.shape[1] != images for array in arrays):
        raise ValueError(f"scores of {[array.shape[1] for array in arrays]} images: they must be of the same ones")
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        columns = rng.integers(images, size=images) if crossed else np.arange(images)
        drawn: dict[int, np.ndarray] = {}
        for array in arrays:
            runs = len(array)
            if runs not in drawn:
                shape = (runs, 1) if crossed else (runs, images)
                drawn[runs] = rng.integers(runs, size=shape)
        values.append(statistic(*(array[drawn[len(array)], columns] for array in arrays)))
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return Interval(float(statistic(*arrays)), float(low), float(high))


def paired_difference(statistic: Statistic, ours: np.ndarray, theirs: np.ndarray, **how: object) -> Interval:
    """Say how far the statistic of ours (S, n) lies above that of theirs (R, n), on the same images every time.

    An interval that leaves 0 out is a difference.
    """
    return bootstrap(lambda a, b: statistic(a) - statistic(b), ours, theirs, **how)  # type: ignore[arg-type]
