"""Timing things fairly on a busy machine: contestants take turns, medians are told with their spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of a speed table."""

    what: str
    figure: str
    spread: str = ""
    target: str = ""


@dataclass(frozen=True)
class Times:
    """Seconds of repeated runs of one contestant."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle run."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> str:
        """Fastest and slowest run, in words."""
        return f"{1e3 * min(self.seconds):.3g} to {1e3 * max(self.seconds):.3g} ms"


def race(
    contestants: dict[str, Callable[[], object]], repeats: int, wait: Callable[[], object] = lambda: None
) -> dict[str, Times]:
    """Run each once to warm up, then all in turn, so that a noisy minute hurts all alike.

    Args:
        contestants: what to run, by name.
        repeats: timed runs of each.
        wait: called before the clock is read; on a GPU, `torch.cuda.synchronize`.
    """
    for run in contestants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            wait()
            start = time.perf_counter()
            run()
            wait()
            seconds[name].append(time.perf_counter() - start)
    return {name: Times(tuple(runs)) for name, runs in seconds.items()}


def ratio(first: Times, second: Times) -> tuple[float, str]:
    """Median and range of first / second, pair by pair: what was noisy for one turn was so for both."""
    pairs = sorted(a / b for a, b in zip(first.seconds, second.seconds, strict=True))
    quarter = len(pairs) // 4
    middle = pairs[quarter : len(pairs) - quarter] or pairs
    return statistics.median(pairs), f"{middle[0]:.2f} to {middle[-1]:.2f} (middle half)"
