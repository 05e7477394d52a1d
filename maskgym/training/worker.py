"""What one worker process does: play, compute gradients on a copy of its own, step the shared optimiser."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maskgym.errors import BadInput
from maskgym.training.learner import numbers, update

_TELL_EVERY = 0.5  # seconds between two reports of a worker


@dataclass
class Signals:
    """What all processes see: shared tensors, a cell for each worker, and two flags of the parent's."""

    workers: int
    turns: Tensor = field(init=False)  # (W,) int64 batches played since the very beginning
    beats: Tensor = field(init=False)  # (W,) float64 when each was last heard of, on the system's monotonic clock
    slowest: Tensor = field(init=False)  # (W,) float64 seconds of each one's slowest turn
    resting: Tensor = field(init=False)  # (W,) bool, True = waits for the parent to look at the weights
    flags: Tensor = field(init=False)  # (2,) bool: stop, rest

    def __post_init__(self) -> None:
        self.turns = torch.zeros(self.workers, dtype=torch.int64).share_memory_()
        self.beats = torch.zeros(self.workers, dtype=torch.float64).share_memory_()
        self.slowest = torch.zeros(self.workers, dtype=torch.float64).share_memory_()
        self.resting = torch.zeros(self.workers, dtype=torch.bool).share_memory_()
        self.flags = torch.zeros(2, dtype=torch.bool).share_memory_()


class WorkerSpec(NamedTuple):
    """Where a worker stands."""

    rank: int
    parent: int
    seed: int
    steps: int
    batch: int  # masks a turn
    signals: Signals
    pipe: Any
    trace: str


def work(spec: WorkerSpec, shared: Any, optimiser: torch.optim.Optimizer, make_env: Callable[[], Any]) -> None:
    """Play turns until enough masks are paid for, the parent asks to stop, or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)  # workers share the cores among themselves
    with open(spec.trace, "w") as trace:
        if hasattr(faulthandler, "register"):
            faulthandler.register(signal.SIGUSR1, file=trace, all_threads=True)
        try:
            _turns(spec, shared, optimiser, make_env)
        except BaseException as error:
            told = str(error) if isinstance(error, BadInput) else traceback.format_exc()
            with suppress(OSError):
                spec.pipe.send(("death", told))
            sys.exit(1)


def _turns(spec: WorkerSpec, shared: Any, optimiser: torch.optim.Optimizer, make_env: Callable[[], Any]) -> None:
    signals, rank = spec.signals, spec.rank
    env = make_env()
    local = own_copy(shared, rank)
    told = time.monotonic()
    turn = int(signals.turns[rank])
    while not signals.flags[0] and os.getppid() == spec.parent:
        signals.beats[rank] = time.monotonic()
        if signals.flags[1]:
            signals.resting[rank] = True
            time.sleep(0.001)
            continue
        signals.resting[rank] = False
        done = int(signals.turns.sum()) * spec.batch
        if done >= spec.steps:
            break
        figures = update(shared, local, optimiser, env, turn, done / spec.steps)
        turn += 1
        signals.slowest[rank] = max(float(signals.slowest[rank]), time.monotonic() - float(signals.beats[rank]))
        signals.turns[rank] = turn
        if time.monotonic() - told > _TELL_EVERY or done + spec.batch >= spec.steps:
            told = time.monotonic()
            spec.pipe.send(("news", numbers(figures)))
    spec.pipe.close()


def own_copy(shared: Any, rank: int) -> Any:
    """Copy an agent for one worker: the same weights in memory of its own, and chance of its own."""
    local = deepcopy(shared)
    local.seed = shared.seed + 1_000_003 * rank
    assert all(tensor.is_shared() for tensor in shared.parameters())
    assert not any(tensor.is_shared() for tensor in local.parameters()) or next(local.parameters()).is_cuda
    return local


def share(agent: Any, optimiser: torch.optim.Optimizer) -> None:
    """Bring weights and the optimiser's state into shared memory, making the state now if there is none yet.

    A stock optimiser makes its state in the first step; made in a worker, it would be the worker's own. So a step is
    taken here that changes nothing: no gradient, no rate.
    """
    agent.share_memory()
    if not optimiser.state:
        rates = [group["lr"] for group in optimiser.param_groups]
        for group in optimiser.param_groups:
            group["lr"] = 0.0
        for parameter in agent.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimiser.step()
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        for state in optimiser.state.values():
            for value in state.values():
                value.zero_()
    optimiser.zero_grad(set_to_none=True)
    for state in optimiser.state.values():
        for value in state.values():
            value.share_memory_()
