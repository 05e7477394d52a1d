"""What masks are worth: the study's measure above that of random masks, paired, the pre-training seed as the unit.

Fine-tunings of one pre-trained network (draws of labels, label shares) share its luck, so they are averaged first; what
is left varies from seed to seed, and only that says how far a difference would repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from maskgym.agent_spec import name_of
from maskgym.benchmark.statistics import UNKNOWN, Interval, mean
from maskgym.downstream.grades import MEASURES
from maskgym.downstream.probe import PROBED
from maskgym.studies.plan import plan
from maskgym.studies.results import Trained, fine_tunings, mean_of_regions, measure
from maskgym.studies.study import Control, Method, Study

FEWEST = 5  # ways to mask, below which a rank correlation says nothing
_RESAMPLES = 5000
Keys = dict[tuple[int, float, int | None], float]  # (seed, share, draw of labels) -> DSC, or another measure


@dataclass(frozen=True)
class Worth:
    """How far one method lies above another."""

    method: str
    over: str
    gap: Interval
    p: float
    """Of no difference, corrected for the number of comparisons; NaN where there are too few seeds."""

    @property
    def settled(self) -> bool:
        """Whether no difference is ruled out at 5 %, all comparisons together."""
        return self.p < 0.05


def measured(study: Study, runs: Iterable[Trained], by: str = "") -> dict[str, Keys]:
    """Fine-tunings by what worth is counted in, or probes by `patch_AUROC`: method -> (seed, share, draw) -> value."""
    found: dict[str, Keys] = {}
    for run in runs:
        if by == PROBED:
            every = [measure(area) for area in run.scores.get(PROBED, {}).values()]
        elif study.measure == "pooled":
            every = [measure(run.scores.get("pooled_DSC", {}).get("mean"))]
        else:
            every = [mean_of_regions(table, _metric(study)) for table in run.scores["patients"].values()]
        defined = [value for value in every if value == value]
        value = fmean(defined) if defined else float("nan")
        found.setdefault(run.job.method, {})[run.job.seed, run.job.share, run.label_seed] = value
    return found


def _metric(study: Study) -> str:
    return study.measure if study.measure in MEASURES else "DSC"


def gaps(ours: Keys, theirs: Keys, share: float | None = None) -> np.ndarray:
    """Mean difference of each pre-training seed over what both sides fine-tuned alike; of one share, or all: (S,)."""
    return np.array(list(_by_seed(ours, theirs, share).values()))


def _by_seed(ours: Keys, theirs: Keys, share: float | None = None) -> dict[int, float]:
    seeds: dict[int, list[float]] = {}
    for key, value in ours.items():
        if key in theirs and share in (None, key[1]) and not np.isnan(value - theirs[key]):
            seeds.setdefault(key[0], []).append(value - theirs[key])
    most = max(map(len, seeds.values()), default=0)  # a seed that is half done is another mean
    return {seed: fmean(values) for seed, values in sorted(seeds.items()) if len(values) == most}


def interval(values: np.ndarray) -> Interval:
    """Mean over seeds with Student's interval."""
    return mean(values[:, None]) if len(values) else UNKNOWN


def baselines(study: Study, method: Method) -> tuple[str, ...]:
    """Whom a method's worth is measured against: whom it names, else random masks; random masks against nobody.

    Random masks are those that are fine-tuned as the method is. Where these name the method, nothing new is learned.
    """
    if method.against:
        return method.against
    random = [
        one
        for one in study.methods
        if study.masks(one) and name_of(study.agent_of(one)) == "random" and one.finetune == method.finetune
    ]
    by_name = sorted(random, key=lambda one: one.name != "random")
    return tuple(one.name for one in by_name[:1] if one.name != method.name and method.name not in one.against)


def worths(study: Study, scores: Mapping[str, Keys], share: float | None = None) -> list[Worth]:
    """Hold every method against its baselines."""
    found = []
    for method in study.methods:
        for over in baselines(study, method):
            values = gaps(scores.get(method.name, {}), scores.get(over, {}), share)
            if len(values):
                found.append((method.name, over, interval(values)))
    corrected = holm([gap.p() for *_, gap in found])
    return [Worth(*one, p) for one, p in zip(found, corrected, strict=True)]


def chosen(options: Mapping[float, Keys], theirs: Keys) -> tuple[float, Interval]:
    """Choose on one half of the seeds, tell on the other: the option of the highest worth, and its worth there.

    What is highest of several is partly luck, and on the seeds that chose it the luck is counted in. The first half of
    the seeds that all options have chooses. (Leaving out one seed at a time would use them better, but what it comes to
    on one seed then depends on the others, and Student's interval is too narrow.)
    """
    found = {option: _by_seed(ours, theirs) for option, ours in options.items()}
    seeds = sorted(set.intersection(*map(set, found.values())))
    first, rest = seeds[: len(seeds) // 2], seeds[len(seeds) // 2 :]
    if not first:
        return float("nan"), UNKNOWN
    best = max(found, key=lambda option: fmean(found[option][seed] for seed in first))
    return best, interval(np.array([found[best][seed] for seed in rest]))


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979); NaN counts as none.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    every = np.asarray(p, float)
    order = every.argsort()[: int((~np.isnan(every)).sum())]  # NaN comes last
    corrected = np.full(len(every), np.nan)
    corrected[order] = np.maximum.accumulate(np.minimum(1.0, np.arange(len(order), 0, -1) * every[order]))
    return [float(one) for one in corrected]


def rank_correlation(a: Sequence[float], b: Sequence[float], seed: int = 0) -> tuple[Interval, float]:
    """Spearman's rank correlation of two measures of the same methods, and how likely a random order ranks so alike.

    The interval resamples methods; the p-value is scipy's permutation test, exact where there are few.
    """
    from scipy import stats

    x, y = np.asarray(a, float), np.asarray(b, float)
    if len(x) < FEWEST or len(set(x)) < 2 or len(set(y)) < 2:
        return UNKNOWN, float("nan")

    def spearman(one: np.ndarray, other: np.ndarray, axis: int = -1) -> Any:
        ranks = [stats.rankdata(side, axis=axis) for side in np.broadcast_arrays(one, other)]
        x, y = (side - side.mean(axis, keepdims=True) for side in ranks)
        spread = np.sqrt((x**2).sum(axis) * (y**2).sum(axis))
        return np.divide((x * y).sum(axis), spread, out=np.full(spread.shape, np.nan), where=spread > 0)

    value, rng = float(spearman(x, y)), np.random.default_rng(seed)
    drawn = rng.integers(len(x), size=(_RESAMPLES, len(x)))
    low, high = np.nanquantile(spearman(x[drawn], y[drawn]), [0.025, 0.975])
    test = stats.permutation_test(
        (x,), lambda one, axis=-1: spearman(one, y, axis), permutation_type="pairings", vectorized=True, rng=rng
    )
    return Interval(value, float(low), float(high), runs=len(x)), float(test.pvalue)


def control(out: Path, study: Study, place: str, wanted: Control) -> tuple[bool, str, dict[str, Any]]:
    """The positive control on one data set, first share of labels: whether it holds, in words, and its metrics."""
    share = study.shares[0]
    jobs = [job for job in plan(study, out) if job.place == place]
    scores = measured(study, (run for run in fine_tunings(jobs) if run.scores), wanted.measure)
    values = gaps(scores.get(wanted.method, {}), scores.get(wanted.over, {}), share)
    gap = interval(values)
    both = [key for name in (wanted.method, wanted.over) for key in scores.get(name, ())]
    told = {
        "runs": sum(key[1] == share for key in both),
        "value": gap.value,
        "error": gap.error,
        "seeds": len(values),
        "errors": wanted.errors,
    }
    if np.isnan(gap.error):
        return False, f"{wanted.method!r} over {wanted.over!r}: {len(values)} seeds, three are the least", told
    held = gap.value >= wanted.errors * gap.error and gap.value > 0
    by = wanted.measure.replace("_", " ") or _metric(study)
    said = f"{wanted.method!r} is {gap.value:+.4f} {by} above {wanted.over!r}, standard error {gap.error:.4f}"
    rest = (
        f", {len(values)} seeds"
        if held
        else f": less than {wanted.errors:g} standard errors, so this bed cannot tell masks apart"
    )
    return held, said + rest, told
