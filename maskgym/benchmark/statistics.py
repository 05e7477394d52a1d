"""Intervals over seeds and images: one closed form for every figure that is printed.

Scores are arrays (S, n): S seeds, n images (or patients). A seed is one trained agent that plays every image, so the
two cross, and both are samples: another seed and other images would have given another figure. Each statistic is
written as its value and the *influence* of every seed on every image, a table (S, n) whose mean is the value's error
to first order. The variance of that mean is the two-way analysis of variance's: between seeds, plus between images,
minus what both counted twice. The interval is Student's, its degrees of freedom Satterthwaite's.

A percentile bootstrap over few seeds is far too narrow: it draws from two or three values and divides by S instead of
S - 1. `python -m benchmarks.coverage` prints how often each form holds the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

FEWEST = 3  # runs from which an interval is given; below, the range of the runs


class Interval(NamedTuple):
    """A figure, and how far to trust it."""

    value: float
    low: float
    high: float
    kind: Literal["interval", "range"] = "interval"
    """interval: holds the truth in 95 of 100 studies. range: the lowest and the highest of one or two runs, no more."""
    runs: int = 0
    error: float = float("nan")
    """Standard error."""
    degrees: float = float("nan")
    """Degrees of freedom of that error."""

    def leaves_out(self, null: float = 0.0) -> bool:
        """Is a value settled to be another one? A range settles nothing."""
        return self.kind == "interval" and (self.low > null or self.high < null)

    def p(self, null: float = 0.0) -> float:
        """Two-sided p-value of a value; NaN where there is only a range."""
        if self.kind == "range" or np.isnan(self.error):
            return float("nan")
        if self.error == 0:
            return float(self.value == null)
        return float(2 * stats.t.sf(abs(self.value - null) / self.error, self.degrees))

    def text(self, digits: int = 1, scale: float = 1.0) -> str:
        """Write it out: "70.7 [69.4, 71.8]", or "70.7 (range 69.9 to 71.5)", or "70.7 (1 run)"."""
        value, low, high = (f"{part * scale:.{digits}f}" for part in self[:3])
        if np.isnan(self.value):
            return "n/a"
        if self.kind == "interval":
            return f"{value} [{low}, {high}]"
        return f"{value} (1 run)" if self.runs == 1 else f"{value} (range {low} to {high})"

    def __str__(self) -> str:
        return self.text()


UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))


def mean(scores: np.ndarray, over: np.ndarray | None = None, level: float = 0.95) -> Interval:
    """Mean over seeds of each seed's mean over its images, from scores (S, n), NaN where one is not defined.

    over: what there is to win on each image (n,). The mean of scores is divided by its mean, as points are, and its own
    error is part of the interval.
    """
    return _compared([_table(scores)], over, level)


def difference(
    ours: np.ndarray,
    theirs: np.ndarray,
    over: np.ndarray | None = None,
    paired_seeds: bool = False,
    level: float = 0.95,
) -> Interval:
    """Mean of ours (S, n) minus mean of theirs (R, n), on the same images; over: as in `mean`.

    paired_seeds: row s of both belongs together (the same labelled cases, the same student), so S = R; otherwise
    both sides' seeds are drawn by themselves.
    """
    ours, theirs = _table(ours), _table(theirs)
    _same_images(ours, theirs)
    if not paired_seeds:
        return _compared([ours, theirs], over, level)
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} seeds against {len(theirs)}: paired seeds must be as many on both sides")
    return mean(ours - theirs, over, level)


def _compared(sides: Sequence[np.ndarray], over: np.ndarray | None, level: float) -> Interval:
    """One side, or one minus another, each (S, n), over what there is to win (n,)."""
    there = np.ones(sides[0].shape[1]) if over is None else np.asarray(over, float)
    gap = there.mean()
    rows = [_row_means(side) / gap for side in sides] if gap > 0 else []
    if not rows or not all(map(len, rows)):
        return UNKNOWN._replace(runs=min(map(len, rows or sides)))
    values = [row.mean() for row in rows]
    tables = [(_influence(side) - value * there) / gap for side, value in zip(sides, values, strict=True)]
    if len(sides) == 1:
        return _interval(float(values[0]), tables, rows[0], level)
    pairs = (rows[0][:, None] - rows[1][None]).ravel()
    return _interval(float(values[0] - values[1]), [tables[0], -tables[1]], pairs, level)


def interquartile_mean(scores: np.ndarray, level: float = 0.95) -> Interval:
    """Mean of the middle half of all scores (S, n): deaf to outliers, steadier than a median (Agarwal et al. 2021)."""
    scores = _table(scores)
    whole = scores[~np.isnan(scores)]
    if not len(whole):
        return UNKNOWN._replace(runs=len(scores))
    value = float(stats.trim_mean(whole, 0.25))
    low, high = np.quantile(whole, [0.25, 0.75])
    clipped = np.clip(scores, low, high)  # a trimmed mean moves as a clipped one does, over the share it keeps
    rows = np.array([stats.trim_mean(row[~np.isnan(row)], 0.25) for row in scores if not np.isnan(row).all()])
    return _interval(value, [_influence(clipped) / 0.5], rows, level)


def probability_of_improvement(
    ours: np.ndarray, theirs: np.ndarray, paired_seeds: bool = False, level: float = 0.95
) -> Interval:
    """How likely a run of ours (S, n) beats one of theirs (R, n) on an image, ties counting half, averaged over images.

    Mann-Whitney's U of each image over S * R; pairs of which one is NaN are left out. The seeds of both sides are drawn
    by themselves; paired_seeds compares row s with row s alone.
    """
    ours, theirs = _table(ours), _table(theirs)
    _same_images(ours, theirs)
    if paired_seeds:
        beats = np.where(np.isnan(ours - theirs), np.nan, (ours > theirs) + 0.5 * (ours == theirs))
        return _share(mean(beats, level=level), len(beats), level)
    one, other = ours[:, None], theirs[None]
    beats = np.where(np.isnan(one - other), np.nan, (one > other) + 0.5 * (one == other))  # (S, R, n)
    pairs = beats.reshape(-1, beats.shape[2])
    tables = [_influence(mean_of_defined(beats, axis)) for axis in (1, 0)]
    # Either table carries the whole effect of an image: half of it each is what they carry together.
    halves = [table - 0.5 * table.mean(0) for table in tables]
    found = _interval(mean(pairs).value, halves, _row_means(pairs), level)
    return _share(found, 3 * len(ours) * len(theirs) / (len(ours) + len(theirs) + 1), level)


def _share(found: Interval, trials: float, level: float) -> Interval:
    """Bring an interval of a share to the scale of its odds, where it cannot leave 0 and 1.

    trials: as many coin tosses vary as much as this share does where there is nothing to win. They give the interval
    (Wilson's) where one side wins everything: no spread is seen then, and still so few runs prove only so much.
    """
    if found.kind == "range" or np.isnan(found.value):
        return found
    doubt = 0.5 + level / 2
    if 0 < found.value < 1 and found.error > 0:
        odds = np.log(found.value / (1 - found.value))
        reach = stats.t.ppf(doubt, found.degrees) * found.error / (found.value * (1 - found.value))
        low, high = 1 / (1 + np.exp(reach - odds)), 1 / (1 + np.exp(-reach - odds))
    else:
        square = float(stats.t.ppf(doubt, max(2 * found.runs - 2, 1))) ** 2
        middle = (found.value * trials + square / 2) / (trials + square)
        reach = np.sqrt(square * (trials * found.value * (1 - found.value) + square / 4)) / (trials + square)
        low, high = max(0.0, middle - reach), min(1.0, middle + reach)
    return found._replace(low=float(low), high=float(high))


def _interval(value: float, tables: Sequence[np.ndarray], rows: np.ndarray, level: float) -> Interval:
    """Student's interval from influence tables (S_k, n), one for each independent group of seeds, of the same images.

    rows: what the single runs (or pairs of runs) give, for the range where there are too few.
    """
    fewest = min(len(table) for table in tables)
    if np.isnan(value) or not len(rows):
        return UNKNOWN._replace(runs=fewest)
    if fewest < FEWEST:
        return Interval(value, float(np.nanmin(rows)), float(np.nanmax(rows)), "range", fewest)
    images = tables[0].shape[1]
    parts = [(table.mean(1).var(ddof=1) / len(table), len(table) - 1) for table in tables]  # between seeds
    of_images = sum(table.mean(0) for table in tables)  # (n,)
    if images > 1:
        parts.append((of_images.var(ddof=1) / images, images - 1))
    twice = []  # what one image of one seed adds was counted between seeds and between images
    for table in tables if images > 1 else []:
        rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
        freedom = (len(table) - 1) * (images - 1)
        twice.append((float((rest**2).sum()) / freedom / table.size, freedom))
    again = sum(part for part, _ in twice)
    variance = max(sum(part for part, _ in parts) - again, again)
    spread = sum(part**2 / freedom for part, freedom in [*parts, *twice])
    degrees = variance**2 / spread if spread > 0 else float(fewest - 1)
    error = float(np.sqrt(variance))
    reach = float(stats.t.ppf(0.5 + level / 2, degrees)) * error
    return Interval(value, value - reach, value + reach, "interval", fewest, error, float(degrees))


def _influence(scores: np.ndarray) -> np.ndarray:
    """Turn scores (S, n) into influences on the mean of rows: NaN adds nothing, and leaves more weight to the rest."""
    defined = ~np.isnan(scores)
    count = defined.sum(1, keepdims=True)
    filled = np.where(defined, scores, 0.0)
    centre = filled.sum(1, keepdims=True) / np.maximum(count, 1)
    spread = np.where(defined, scores - centre, 0.0) * scores.shape[1] / np.maximum(count, 1)
    return (centre + spread)[count[:, 0] > 0]


def _row_means(scores: np.ndarray) -> np.ndarray:
    """Mean of what each row knows, leaving out rows that know nothing."""
    return _influence(scores).mean(1)


def mean_of_defined(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean along an axis of what is defined; NaN where nothing is."""
    defined = ~np.isnan(values)
    count = defined.sum(axis)
    return np.where(count > 0, np.where(defined, values, 0.0).sum(axis) / np.maximum(count, 1), np.nan)


def _table(scores: np.ndarray) -> np.ndarray:
    return np.atleast_2d(np.asarray(scores, float))


def _same_images(ours: np.ndarray, theirs: np.ndarray) -> None:
    if ours.shape[1] != theirs.shape[1]:
        raise ValueError(f"scores of {ours.shape[1]} and {theirs.shape[1]} images: they must be of the same ones")
