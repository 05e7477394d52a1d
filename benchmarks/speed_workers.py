"""Env steps a second of a learner with 1, 2 and 4 workers, and with one process that has all their batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from statistics import median
from typing import Any

from benchmarks.timing import Row
from maskgym.registry import make_agent

_WARM = 2  # updates of each worker before the clock is started
_WORKERS = (1, 2, 4)


def workers(make_env: Callable[[int], Any], agent: str, updates: int = 40, repeats: int = 3) -> Iterator[Row]:
    """Train from scratch for a moment with each number of workers, in turn, and tell env steps a second.

    Args:
        make_env: makes a vector environment of so many games with `output="torch"`.
        agent: a learner's spec.
        updates: updates of each worker that are timed.
        repeats: runs of each; they take turns.
    """
    rates: dict[str, list[float]] = {}
    for _ in range(repeats):
        for count in _WORKERS:
            rates.setdefault(f"{count} workers", []).append(_asynchronous(make_env, agent, count, updates))
        for count in _WORKERS[1:]:
            rates.setdefault(f"one process, {count} batches in one", []).append(
                _synchronous(make_env, agent, count, updates)
            )
    alone = median(rates["1 workers"])
    for name, met in rates.items():
        target = "1.7x of 1 worker on 2 cores" if name == "2 workers" else ""
        figure = f"{median(met):.0f} env steps/s ({median(met) / alone:.2f}x)"
        yield Row(f"{agent}, {name}", figure, f"{min(met):.0f} to {max(met):.0f}", target)


def _asynchronous(make_env: Callable[[int], Any], spec: str, count: int, updates: int) -> float:
    from maskgym.training.update import make_optimizer
    from maskgym.training.worker_pool import WorkerPool

    agent: Any = make_agent(spec, make_env(1))
    batch = agent.settings.images * agent.settings.masks
    steps = batch * count * (updates + _WARM)
    pool = WorkerPool(agent, make_optimizer(agent), _Sized(make_env, batch), steps, count)
    began = first = None
    with closing(pool.run()) as messages:
        for _ in messages:
            if began is None and int(pool.signals.updates.min()) >= _WARM:
                began, first = time.perf_counter(), pool.env_steps
            if began is not None:
                ended, done = time.perf_counter(), pool.env_steps
                if done >= steps:
                    break
    if began is None or first is None:
        raise RuntimeError("no worker came to its second update")
    return (done - first) / (ended - began)


def _synchronous(make_env: Callable[[int], Any], spec: str, count: int, updates: int) -> float:
    from maskgym.training.update import make_optimizer
    from maskgym.training.update import updates as take

    agent: Any = make_agent(spec, make_env(1))
    env = make_env(agent.settings.images * agent.settings.masks * count)
    began = 0.0
    for number, metrics in take(agent, env, env.num_envs * (updates + _WARM), make_optimizer(agent)):
        if number == _WARM:
            float(metrics["reward"])  # a GPU has come so far
            began = time.perf_counter()
    float(metrics["reward"])
    return env.num_envs * updates / (time.perf_counter() - began)


class _Sized:
    """A maker of environments of one size, picklable."""

    def __init__(self, make_env: Callable[[int], Any], num_envs: int):
        self.make_env, self.num_envs = make_env, num_envs

    def __call__(self) -> Any:
        return self.make_env(self.num_envs)
