"""Intervals where some scores are not defined, fast enough for every figure of a report.

The design is that of `statistics.bootstrap`: seeds and patients cross, a resample draws both. How often each was drawn
is a weight, so all resamples are a few products of matrices instead of a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from maskgym.benchmark.statistics import RESAMPLES, Interval

_Means = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of how often seeds (T, S) and patients (T, n) were drawn


def mean_known(scores: np.ndarray, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Mean over seeds of each seed's mean over its patients, from scores (S, n), NaN where one is not defined."""
    scores = np.atleast_2d(np.asarray(scores, float))
    known = ~np.isnan(scores)
    filled = np.where(known, scores, 0.0)

    def means(runs: np.ndarray, patients: np.ndarray) -> np.ndarray:
        counts = patients @ known.T  # (T, S)
        of_seed = np.divide(patients @ filled.T, counts, out=np.zeros(counts.shape), where=counts > 0)
        return _ratio((runs * of_seed).sum(1), (runs * (counts > 0)).sum(1))

    return _interval(means, scores, level, resamples, seed)


def improvement_known(
    ours: np.ndarray, theirs: np.ndarray, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Probability that a run of ours (S, n) beats one of theirs (S, n) on a patient, ties counting half.

    Pairs of which one is not defined are left out, and a patient without any pair. Seeds are drawn alike for both.
    """
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    if ours.shape != theirs.shape:
        raise ValueError(f"scores of shapes {ours.shape} and {theirs.shape}: they must be of the same runs")
    known = ~(np.isnan(ours)[:, None] | np.isnan(theirs)[None])  # (S, S, n)
    above = np.where(known, (ours[:, None] > theirs[None]) + 0.5 * (ours[:, None] == theirs[None]), 0.0)

    def means(runs: np.ndarray, patients: np.ndarray) -> np.ndarray:
        pairs = (runs[:, :, None] * runs[:, None]).reshape(len(runs), -1)  # (T, S * S)
        counts = pairs @ known.reshape(-1, known.shape[2]).astype(float)  # (T, n)
        of_patient = np.divide(pairs @ above.reshape(-1, above.shape[2]), counts, out=counts * 0, where=counts > 0)
        return _ratio((patients * of_patient).sum(1), (patients * (counts > 0)).sum(1))

    return _interval(means, ours, level, resamples, seed)


def _interval(means: _Means, scores: np.ndarray, level: float, resamples: int, seed: int) -> Interval:
    """Take the mean with every weight 1, and the percentiles of what the drawn weights give."""
    drawn = _draws(scores.shape, resamples, seed)
    every = [np.ones((1, count)) for count in scores.shape]
    value = float(means(every[0], every[1])[0])
    if np.isnan(value):
        return Interval(value, value, value)
    tail = (1 - level) / 2
    low, high = np.nanquantile(means(drawn[0], drawn[1]), [tail, 1 - tail])
    return Interval(value, float(low), float(high))


@lru_cache(maxsize=8)
def _draws(shape: tuple[int, ...], resamples: int, seed: int) -> list[np.ndarray]:
    """How often every seed, and every patient, is drawn in each resample: (T, S) and (T, n)."""
    rng = np.random.default_rng(seed)
    return [rng.multinomial(count, [1 / count] * count, resamples).astype(float) for count in shape]


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
