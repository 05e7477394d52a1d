"""Masks a second that a learner trains on with 1, 2 and 4 workers, and with one process that has all their batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from statistics import median
from typing import Any

from benchmarks.timing import Row
from maskgym.registry import make_agent

_WARM = 2  # turns of each worker before the clock is started
_WORKERS = (1, 2, 4)


def workers(make_env: Callable[[int], Any], agent: str, turns: int = 40, repeats: int = 3) -> Iterator[Row]:
    """Train from scratch for a moment with each number of workers, in turn, and tell masks a second.

    Args:
        make_env: makes a vector environment of so many games with `output="torch"`.
        agent: a learner's spec.
        turns: batches of each worker that are timed.
        repeats: runs of each; they take turns.
    """
    rates: dict[str, list[float]] = {}
    for _ in range(repeats):
        for count in _WORKERS:
            rates.setdefault(f"{count} workers", []).append(_asynchronous(make_env, agent, count, turns))
        for count in _WORKERS[1:]:
            rates.setdefault(f"one process, {count} batches in one", []).append(
                _synchronous(make_env, agent, count, turns)
            )
    alone = median(rates["1 workers"])
    for name, met in rates.items():
        target = "1.7x of 1 worker on 2 cores" if name == "2 workers" else ""
        figure = f"{median(met):.0f} masks/s ({median(met) / alone:.2f}x)"
        yield Row(f"{agent}, {name}", figure, f"{min(met):.0f} to {max(met):.0f}", target)


def _asynchronous(make_env: Callable[[int], Any], spec: str, count: int, turns: int) -> float:
    from maskgym.training.worker_pool import WorkerPool

    agent: Any = make_agent(spec, make_env(1))
    batch = agent.games()
    steps = batch * count * (turns + _WARM)
    pool = WorkerPool(agent, agent.optimiser(), _Sized(make_env, batch), steps, count)
    began = masks = None
    with closing(pool.run()) as told:
        for _ in told:
            if began is None and int(pool.signals.turns.min()) >= _WARM:
                began, masks = time.perf_counter(), pool.masks
            if began is not None:
                ended, paid = time.perf_counter(), pool.masks
                if paid >= steps:
                    break
    if began is None or masks is None:
        raise RuntimeError("no worker came to its second turn")
    return (paid - masks) / (ended - began)


def _synchronous(make_env: Callable[[int], Any], spec: str, count: int, turns: int) -> float:
    from maskgym.training.learner import train_alone

    agent: Any = make_agent(spec, make_env(1))
    env = make_env(agent.games() * count)
    optimiser = agent.optimiser()
    played = train_alone(agent, env, env.num_envs * _WARM, None, optimiser)
    began = time.perf_counter()
    train_alone(agent, env, env.num_envs * (turns + _WARM), None, optimiser, played)
    return env.num_envs * turns / (time.perf_counter() - began)


class _Sized:
    """A maker of environments of one size, picklable."""

    def __init__(self, make_env: Callable[[int], Any], num_envs: int):
        self.make_env, self.num_envs = make_env, num_envs

    def __call__(self) -> Any:
        return self.make_env(self.num_envs)
