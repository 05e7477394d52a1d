"""From the scores of single patients to means, differences and ranks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

from maskgym.benchmark import statistics
from maskgym.benchmark.statistics import Interval
from maskgym.report.read import Run, Study

LOWER = ("HD95",)  # measures of which less is better
RESAMPLES = 2000  # of the rank correlation
FEWEST = 5  # methods, below which a rank correlation says nothing

Pick = Callable[[dict[str, Any]], float]  # a patient's measures by region -> one score


class Scores(NamedTuple):
    """One measure of one method."""

    values: np.ndarray  # (S, n), NaN where it is not defined
    seeds: tuple[int, ...]
    patients: tuple[str, ...]


class Difference(NamedTuple):
    """One method against another, on the same patients under the same seeds."""

    gap: Interval
    improvement: Interval
    seeds: int
    patients: int


def of_region(region: str, metric: str) -> Pick:
    """Pick one measure of one region."""
    return lambda table: _number(table.get(region, {}).get(metric))


def over_regions(metric: str = "DSC") -> Pick:
    """Pick one measure's mean over the regions in which it is defined."""

    def pick(table: dict[str, Any]) -> float:
        known = [value for region in table.values() if not np.isnan(value := _number(region.get(metric)))]
        return float(np.mean(known)) if known else float("nan")

    return pick


def gather(runs: list[Run], pick: Pick) -> Scores:
    """Line the scores of some runs up, a row a seed; a patient whom a run does not know is NaN there."""
    patients = tuple(dict.fromkeys(patient for run in runs for patient in run.scores["patients"]))
    rows = [[pick(run.scores["patients"].get(patient, {})) for patient in patients] for run in runs]
    return Scores(np.array(rows, float).reshape(len(runs), len(patients)), tuple(run.seed for run in runs), patients)


def mean(scores: Scores) -> Interval:
    """Mean over seeds and patients."""
    return statistics.mean(scores.values) if scores.values.size else statistics.UNKNOWN


def difference(ours: Scores, theirs: Scores, metric: str = "DSC") -> Difference | None:
    """Compare pair by pair; None where they have no seed or no patient in common."""
    seeds = [seed for seed in ours.seeds if seed in theirs.seeds]
    patients = [patient for patient in ours.patients if patient in theirs.patients]
    a, b = (
        side.values[np.ix_([side.seeds.index(seed) for seed in seeds], [side.patients.index(one) for one in patients])]
        for side in (ours, theirs)
    )
    if not a.size or np.isnan(a - b).all():
        return None
    sign = -1.0 if metric in LOWER else 1.0
    gap = statistics.difference(a, b, paired_seeds=True)
    improvement = statistics.probability_of_improvement(sign * a, sign * b)
    return Difference(gap, improvement, len(seeds), len(patients))


def baseline(study: Study, runs: list[Run], kind: str) -> list[Run]:
    """Find the runs that these are compared with: random masks or no pre-training, of the same network."""
    if not runs:
        return []
    first = runs[0]
    names = [
        other
        for other in sorted(study.methods, key=lambda name: name != kind)
        if (found := study.chosen(first.place, other, first.share))
        and is_baseline(study, found[0], kind)
        and found[0].scores.get("network") == first.scores.get("network")
    ]
    return study.chosen(first.place, names[0], first.share) if names else []


def is_baseline(study: Study, run: Run, kind: str) -> bool:
    """Whether a run started from "random" masks, or from "scratch"."""
    if kind == "scratch":
        return run.scores.get("weights", "none") == "none"
    agents = [str(one.settings.get("agent", "")) for one in study.pretrained if one.method == run.method]
    return any(agent.partition("?")[0] == "random" for agent in agents) or run.method == "random"


def rank_correlation(a: np.ndarray, b: np.ndarray, seed: int = 0) -> tuple[Interval, float]:
    """Spearman's rank correlation of two figures of the same methods: with its interval, and how likely chance is.

    The interval resamples methods; chance is the share of all orders (of 5000 where there are too many) that rank at
    least as much alike, in either direction.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    rng = np.random.default_rng(seed)
    value = float(_spearman(a[None], b[None])[0])
    if np.isnan(value):
        return Interval(value, value, value), value
    rows = rng.integers(len(a), size=(RESAMPLES, len(a)))
    low, high = np.nanquantile(_spearman(a[rows], b[rows]), [0.025, 0.975])
    few = len(a) <= 7
    orders = np.array([*permutations(range(len(a)))] if few else [rng.permutation(len(a)) for _ in range(5000)])
    alike = np.abs(_spearman(a[orders], b[None])) >= abs(value) - 1e-9
    return Interval(value, float(low), float(high)), float(alike.mean())


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row by row, of (T, n) and (T, n); NaN where all are alike."""
    from scipy.stats import rankdata

    x, y = (rankdata(one, axis=1) - (one.shape[1] + 1) / 2 for one in (a, b))
    spread = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.divide((x * y).sum(1), spread, out=np.full(spread.shape, np.nan), where=spread > 0)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
