"""What one worker process does: play, compute gradients on a copy of its own, step the shared optimizer."""

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
from maskgym.learner import Learner
from maskgym.training.rollout import Rollout
from maskgym.training.update import TELL_EVERY, SkipWatch, update


@dataclass
class Signals:
    """What all processes see: shared tensors, a cell for each worker, and two words of the parent's."""

    workers: int
    updates: Tensor = field(init=False)  # (W,) int64 batches played since the very beginning
    heartbeat: Tensor = field(init=False)  # (W,) float64 when each was last seen, on the system's monotonic clock
    slowest: Tensor = field(init=False)  # (W,) float64 seconds of each one's slowest update, 0 before the first
    resting: Tensor = field(init=False)  # (W,) int64 the request to rest that each one has followed
    stop: Tensor = field(init=False)  # (1,) bool
    rest: Tensor = field(init=False)  # (1,) int64 number of the request to rest; 0 = go on

    def __post_init__(self) -> None:
        self.updates = torch.zeros(self.workers, dtype=torch.int64).share_memory_()
        self.heartbeat = torch.zeros(self.workers, dtype=torch.float64).share_memory_()
        self.slowest = torch.zeros(self.workers, dtype=torch.float64).share_memory_()
        self.resting = torch.zeros(self.workers, dtype=torch.int64).share_memory_()
        self.stop = torch.zeros(1, dtype=torch.bool).share_memory_()
        self.rest = torch.zeros(1, dtype=torch.int64).share_memory_()


class WorkerSpec(NamedTuple):
    """What a worker is told."""

    rank: int
    parent: int
    steps: int
    batch: int  # masks an update
    precision: str  # "32" or "bf16"
    signals: Signals
    pipe: Any
    trace: str  # file in which it writes where it hangs


def work(spec: WorkerSpec, shared: Learner, optimizer: torch.optim.Optimizer, make_env: Callable[[], Any]) -> None:
    """Update the shared weights until enough masks are played, the parent asks to stop, or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)  # workers share the cores among themselves
    with open(spec.trace, "w") as trace:
        if hasattr(faulthandler, "register"):
            faulthandler.register(signal.SIGUSR1, file=trace, all_threads=True)
        try:
            _updates(spec, shared, optimizer, make_env)
        except BaseException as error:
            reason = str(error) if isinstance(error, BadInput) else traceback.format_exc()
            with suppress(OSError):
                spec.pipe.send(("failure", reason))
            sys.exit(1)


def _updates(spec: WorkerSpec, shared: Learner, optimizer: torch.optim.Optimizer, make_env: Callable[[], Any]) -> None:
    signals, rank = spec.signals, spec.rank
    local = own_copy(shared, rank)
    rollout, watch = Rollout(make_env(), local, spec.precision), SkipWatch()
    told, untold = time.monotonic(), None
    number = int(signals.updates[rank])
    while not signals.stop[0] and os.getppid() == spec.parent:
        signals.heartbeat[rank] = time.monotonic()
        if request := int(signals.rest[0]):
            if rollout.task.device.type == "cuda":
                torch.cuda.synchronize(rollout.task.device)  # what was launched may still be stepping the weights
            signals.resting[rank] = request
            time.sleep(0.001)
            continue
        done = int(signals.updates.sum()) * spec.batch
        if done >= spec.steps:
            break
        untold = update(shared, local, optimizer, rollout, number, done / spec.steps)
        watch.add(untold)
        number += 1
        signals.slowest[rank] = max(float(signals.slowest[rank]), time.monotonic() - float(signals.heartbeat[rank]))
        signals.updates[rank] = number
        if time.monotonic() - told > TELL_EVERY or done + spec.batch >= spec.steps:
            spec.pipe.send(("metrics", watch.tell(untold)))
            told, untold = time.monotonic(), None
    if untold is not None:
        with suppress(OSError):  # the parent may be gone
            spec.pipe.send(("metrics", watch.tell(untold)))
    if rollout.task.device.type == "cuda":
        torch.cuda.synchronize(rollout.task.device)
    spec.pipe.close()


def own_copy(shared: Learner, rank: int) -> Learner:
    """Copy an agent for one worker: the same weights in memory of its own, and random keys of its own."""
    local = deepcopy(shared)
    local.seed = shared.seed + 1_000_003 * rank
    assert all(tensor.is_shared() for tensor in shared.parameters())
    assert not any(tensor.is_shared() for tensor in local.parameters()) or next(local.parameters()).is_cuda
    return local


def share(agent: Learner, optimizer: torch.optim.Optimizer) -> None:
    """Bring weights and the optimizer's state into shared memory, making the state now if there is none yet.

    A stock optimizer makes its state in the first step; made in a worker, it would be the worker's own. So a step is
    taken here that changes nothing: no gradient, no rate.
    """
    agent.share_memory()
    if not optimizer.state:
        rates = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] = 0.0
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        for state in optimizer.state.values():
            for value in state.values():
                value.zero_()
    optimizer.zero_grad(set_to_none=True)
    for state in optimizer.state.values():
        for value in state.values():
            value.share_memory_()
