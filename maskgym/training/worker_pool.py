"""Lock-free training by several processes over one set of weights (Mnih et al. 2016), and the watch kept over them.

Every worker plays its own vector environment, computes its own gradients on its own copy of the agent and steps the
shared optimizer without asking anybody. What the processes share besides the weights are a few tensors in which each
worker writes only its own cell, so that none can be left holding a lock by one that was killed.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import multiprocessing

from maskgym.errors import BadInput
from maskgym.learner import Learner
from maskgym.training.worker import Signals, WorkerSpec, share, work

_STOPPING = 10.0  # seconds between asking to stop and stopping


class WorkerMetrics(NamedTuple):
    """What a worker reported."""

    env_steps: int  # of all workers since the very beginning
    worker: int
    metrics: dict[str, float]


class WorkerFailure(NamedTuple):
    """A worker that ended too early, and why."""

    env_steps: int
    worker: int
    reason: str  # with its traceback


class WorkerPool:
    """Workers that train one agent.

    Args:
        agent: its weights are moved to shared memory and are the ones that are trained.
        optimizer: over them; its state is made now and shared, too.
        make_env: makes a worker's vector environment; must be picklable where workers are spawned.
        steps: masks to be played in all, counted from the very beginning.
        workers: how many processes.
        updates: batches that each had played when the run was interrupted.
        precision: "32" or "bf16", in which networks compute.
        on_failure: what the others do when one fails: "go-on" without it, or "stop".
        patience: seconds after which a silent worker is taken for hung; ten times its slowest update, if that is more.
        first_patience: the same before its first update is done: environments are made, kernels chosen and compiled.
    """

    def __init__(
        self,
        agent: Learner,
        optimizer: torch.optim.Optimizer,
        make_env: Callable[[], Any],
        steps: int,
        workers: int = 2,
        updates: list[int] | None = None,
        precision: str = "32",
        on_failure: Literal["go-on", "stop"] = "go-on",
        patience: float = 8.0,
        first_patience: float = 600.0,
    ):
        if steps < 1 or workers < 1:
            raise BadInput(f"steps {steps} and workers {workers} must be at least 1")
        self.agent, self.optimizer, self.steps = agent, optimizer, steps
        self.batch = agent.settings.images * agent.settings.masks
        self.precision = precision
        self.on_failure, self.patience, self.first_patience = on_failure, patience, first_patience
        self.signals = Signals(workers)
        self.signals.updates.copy_(torch.tensor(updates if updates is not None else [0] * workers))
        share(agent, optimizer)
        cuda = next(agent.parameters()).is_cuda
        forks = "fork" in multiprocessing.get_all_start_methods() and not cuda and not torch.cuda.is_initialized()
        self._context: Any = multiprocessing.get_context("fork" if forks else "spawn")
        self._make_env = make_env
        self._traces = Path()  # a folder where hung workers write down where they are
        self._held_up = 0.0  # when this process last came back from not being run itself
        self._requests = 0  # to rest, so far
        self.failures: list[WorkerFailure] = []
        self._pipes: dict[int, Any] = {}
        self._processes: dict[int, Any] = {}

    @property
    def env_steps(self) -> int:
        """Masks played since the very beginning."""
        return int(self.signals.updates.sum()) * self.batch

    def run(self) -> Generator[WorkerMetrics | WorkerFailure | None, None, None]:
        """Start the workers and yield what they report, and None now and then; closing it stops them all."""
        with tempfile.TemporaryDirectory(prefix="maskgym-", ignore_cleanup_errors=True) as traces:
            self._traces = Path(traces)
            yield from self._messages()

    def _messages(self) -> Generator[WorkerMetrics | WorkerFailure | None, None, None]:
        try:
            self._start()
            last = time.monotonic()
            while self._processes:
                if time.monotonic() - last > 1.0:  # we were held up ourselves, perhaps all of us were
                    self._held_up = time.monotonic()
                wait([*self._pipes.values(), *(one.sentinel for one in self._processes.values())], timeout=0.25)
                last = time.monotonic()
                messages = [*self._receive(), *self._check()]
                yield from messages
                if not messages:
                    yield None
                if self.on_failure == "stop" and self.failures:
                    break
        finally:
            self._stop()

    @contextmanager
    def rest(self) -> Iterator[list[int]]:
        """Let all workers wait between two updates, so that the weights can be read in one piece.

        Yields the workers that have not come to rest, none if all is well: then the weights may be changing.
        """
        self._requests += 1
        self.signals.rest[0] = self._requests
        try:
            until = time.monotonic() + max(self.patience, 2 * float(self.signals.slowest.max()))
            while (late := self._not_resting()) and time.monotonic() < until:
                time.sleep(0.002)
            yield late
        finally:
            self.signals.rest[0] = 0

    def _not_resting(self) -> list[int]:
        followed = self.signals.resting.tolist()
        return [i for i, one in self._processes.items() if followed[i] != self._requests and one.is_alive()]

    def _start(self) -> None:
        for rank in range(self.signals.workers):
            ours, theirs = self._context.Pipe(duplex=False)
            trace = str(self._trace(rank))
            spec = WorkerSpec(rank, os.getpid(), self.steps, self.batch, self.precision, self.signals, theirs, trace)
            # Weights and optimizer go over in one call: only so do they still belong together on the other side.
            process = self._context.Process(
                target=work,
                args=(spec, self.agent, self.optimizer, self._make_env),
                name=f"worker {rank}",
                daemon=True,
            )
            self.signals.heartbeat[rank] = time.monotonic()
            process.start()
            theirs.close()  # else nobody would notice that the worker's end is gone
            self._pipes[rank], self._processes[rank] = ours, process

    def _receive(self) -> Iterator[WorkerMetrics | WorkerFailure]:
        for rank, pipe in list(self._pipes.items()):
            with suppress(EOFError, OSError):
                while pipe.poll():
                    kind, content = pipe.recv()
                    if kind == "metrics":
                        yield WorkerMetrics(self.env_steps, rank, content)
                    else:
                        yield self._failed(rank, content)

    def _check(self) -> Iterator[WorkerMetrics | WorkerFailure]:
        """Join workers that have ended, and kill those that hang."""
        now = time.monotonic()
        for rank, process in list(self._processes.items()):
            if not process.is_alive():
                process.join()
                yield from self._receive()  # what it sent last
                told = any(failure.worker == rank for failure in self.failures)
                if process.exitcode and not told:
                    yield self._failed(rank, f"it was ended from outside ({_exit(process.exitcode)})")
                self._remove(rank)
                continue
            beat, slowest = float(self.signals.heartbeat[rank]), float(self.signals.slowest[rank])
            patience = max(self.patience, 10 * slowest) if slowest else self.first_patience
            if now - max(beat, self._held_up) > patience:
                trace = self._ask_where(rank, process)
                process.kill()
                process.join()
                yield self._failed(rank, f"it hung for {now - beat:.0f} seconds and was ended\n{trace}")
                self._remove(rank)

    def _failed(self, rank: int, reason: str) -> WorkerFailure:
        self.failures.append(WorkerFailure(self.env_steps, rank, f"worker {rank} failed: {reason}"))
        return self.failures[-1]

    def _remove(self, rank: int) -> None:
        self._pipes.pop(rank).close()
        self._processes.pop(rank)

    def _trace(self, rank: int) -> Path:
        return self._traces / f"worker-{rank}.txt"

    def _ask_where(self, rank: int, process: Any) -> str:
        """Let a hung worker write down where it is, even if Python is never run there again."""
        if not hasattr(signal, "SIGUSR1"):
            return "(no traceback on this system)"
        with suppress(OSError):
            os.kill(process.pid, signal.SIGUSR1)
        until = time.monotonic() + 1.0
        while time.monotonic() < until and process.is_alive():
            time.sleep(0.05)
            if self._trace(rank).exists() and self._trace(rank).stat().st_size:
                time.sleep(0.1)
                break
        return self._trace(rank).read_text() if self._trace(rank).exists() else "(it could not say where)"

    def _stop(self) -> None:
        """Ask all workers to end after their update, and kill those that do not."""
        self.signals.stop[0] = True
        until = time.monotonic() + max(_STOPPING, 2 * float(self.signals.slowest.max()))
        while time.monotonic() < until and any(process.is_alive() for process in self._processes.values()):
            for _ in self._receive():  # a worker may be waiting for its report to be taken
                pass
            time.sleep(0.01)
        for rank, process in list(self._processes.items()):
            if process.is_alive():
                process.kill()
            process.join()
            self._remove(rank)


def _exit(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
