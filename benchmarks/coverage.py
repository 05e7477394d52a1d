"""`python -m benchmarks.coverage`: how often a 95 % interval holds the truth, simulated.

A run's score on an image is the run's own luck (the same on all its images), plus how hard the image is (the same for
all runs), plus a rest. Which of the three dominates is what decides whether an interval over few runs can be trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from maskgym.benchmark import statistics
from maskgym.benchmark.statistics import Interval
from maskgym.markdown import table

CASES = {  # deviations of run, image and rest
    "runs differ most": (1.0, 0.5, 0.5),
    "runs and images alike": (0.3, 1.0, 0.5),
    "images differ most": (0.05, 1.0, 0.2),
}
FIGURES = ("mean", "points", "IQM", "difference", "difference in points", "P(improvement)")


class Case(NamedTuple):
    """One way in which scores vary."""

    run: float
    image: float
    rest: float
    shift: float = 0.3
    """How much better the first agent truly is."""


@dataclass(frozen=True)
class Coverage:
    """Simulate studies with a known truth, and count the intervals that hold it."""

    seeds: tuple[int, ...] = (3, 4, 5, 8, 10, 20)
    """Runs of each agent."""
    images: int = 64
    """Images that every run plays."""
    studies: int = 2000
    """Simulated studies of each row."""
    seed: int = 0
    """Of the simulation."""

    def __call__(self) -> None:
        """Print the table."""
        rows = [
            (name, runs, *(f"{share:.3f}" for share in self.shares(Case(*case), runs).values()))
            for name, case in CASES.items()
            for runs in self.seeds
        ]
        print(table(("", "runs", *FIGURES, "percentile bootstrap of a difference"), rows))

    def shares(self, case: Case, runs: int) -> dict[str, float]:
        """Share of the studies in which each interval holds the truth."""
        rng = np.random.default_rng(self.seed)
        held: dict[str, list[bool]] = {}
        for number in range(self.studies):
            for name, interval, truth in study(rng, case, runs, self.images, bootstrapped=number < 200):
                held.setdefault(name, []).append(interval.low <= truth <= interval.high)
        return {name: float(np.mean(told)) for name, told in held.items()}


def study(
    rng: np.random.Generator, case: Case, runs: int, images: int, bootstrapped: bool = False
) -> Iterator[tuple[str, Interval, float]]:
    """Draw the scores of two agents, and give every interval beside its truth."""
    hard = rng.normal(0, case.image, images)
    ours, theirs = (
        shift + rng.normal(0, case.run, (runs, 1)) + hard + rng.normal(0, case.rest, (runs, images))
        for shift in (case.shift, 0.0)
    )
    gap = 4 + hard + rng.normal(0, 0.2, images)  # what there is to win is more on a harder image
    yield "mean", statistics.mean(ours), case.shift
    yield "points", statistics.mean(ours, gap), case.shift / 4
    yield "IQM", statistics.interquartile_mean(ours), case.shift
    yield "difference", statistics.difference(ours, theirs), case.shift
    yield "difference in points", statistics.difference(ours, theirs, gap), case.shift / 4
    chance = norm.cdf(case.shift / np.sqrt(2 * (case.run**2 + case.rest**2)))
    yield "P(improvement)", statistics.probability_of_improvement(ours, theirs), float(chance)
    if bootstrapped:
        yield "bootstrap", percentile_bootstrap(rng, ours, theirs), case.shift


def percentile_bootstrap(rng: np.random.Generator, ours: np.ndarray, theirs: np.ndarray) -> Interval:
    """The usual interval of a difference of means, for comparison: seeds and images drawn with replacement."""
    runs, images = ours.shape
    drawn = [rng.multinomial(count, [1 / count] * count, 1000) / count for count in (runs, runs, images)]
    values = np.einsum("ts,si,ti->t", drawn[0], ours, drawn[2]) - np.einsum("ts,si,ti->t", drawn[1], theirs, drawn[2])
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(ours.mean() - theirs.mean()), float(low), float(high), runs=runs)


if __name__ == "__main__":
    import tyro

    tyro.cli(Coverage, prog="python -m benchmarks.coverage")()
