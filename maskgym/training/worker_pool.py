"""Lock-free training by several processes over one set of weights (Mnih et al. 2016), and the watch kept over them.

Every worker plays its own vector environment, computes its own gradients on its own copy of the agent and steps the
shared optimiser without asking anybody. What the processes share besides the weights are a few tensors in which each
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
from maskgym.training.worker import Signals, WorkerSpec, share, work

_FIRST_BEAT = 120.0  # seconds a worker may take to make its environment
_FAREWELL = 10.0  # seconds between asking to stop and stopping


class News(NamedTuple):
    """What a worker told."""

    masks: int  # paid for by all workers since the very beginning
    worker: int
    figures: dict[str, float]


class Death(NamedTuple):
    """A worker that is no more, and why."""

    masks: int
    worker: int
    reason: str  # with its traceback


class WorkerPool:
    """Workers that train one agent.

    Args:
        agent: a `Learner`; its weights are moved to shared memory and are the ones that are trained.
        optimiser: over them; its state is made now and shared, too.
        make_env: makes a worker's vector environment; must be picklable where workers are spawned.
        steps: masks to be paid for in all, counted from the very beginning.
        workers: how many processes.
        turns: batches that each had played when the run was interrupted.
        on_death: what the others do when one dies: "go-on" without it, or "stop".
        patience: seconds after which a silent worker is taken for hung; ten times its slowest turn, if that is more.
    """

    def __init__(
        self,
        agent: Any,
        optimiser: torch.optim.Optimizer,
        make_env: Callable[[], Any],
        steps: int,
        workers: int = 2,
        turns: list[int] | None = None,
        on_death: Literal["go-on", "stop"] = "go-on",
        patience: float = 8.0,
    ):
        if steps < 1 or workers < 1:
            raise BadInput(f"steps {steps} and workers {workers} must be at least 1")
        self.agent, self.optimiser, self.steps, self.batch = agent, optimiser, steps, agent.games()
        self.on_death, self.patience = on_death, patience
        self.signals = Signals(workers)
        self.signals.turns.copy_(torch.tensor(turns if turns is not None else [0] * workers))
        share(agent, optimiser)
        cuda = next(agent.parameters()).is_cuda
        forks = "fork" in multiprocessing.get_all_start_methods() and not cuda and not torch.cuda.is_initialized()
        self._context: Any = multiprocessing.get_context("fork" if forks else "spawn")
        self._make_env = make_env
        self._traces = Path()  # a folder where hung workers write down where they are
        self._back = 0.0  # when this process last came back from being held up
        self.deaths: list[Death] = []
        self._pipes: dict[int, Any] = {}
        self._processes: dict[int, Any] = {}

    @property
    def masks(self) -> int:
        """Masks paid for since the very beginning."""
        return int(self.signals.turns.sum()) * self.batch

    def run(self) -> Generator[News | Death | None, None, None]:
        """Start the workers and yield what they tell, and None now and then; closing it stops them all."""
        with tempfile.TemporaryDirectory(prefix="maskgym-", ignore_cleanup_errors=True) as traces:
            self._traces = Path(traces)
            yield from self._watch()

    def _watch(self) -> Generator[News | Death | None, None, None]:
        try:
            self._start()
            looked = time.monotonic()
            while self._processes:
                if time.monotonic() - looked > 1.0:  # we were held up ourselves, perhaps all of us were
                    self._back = time.monotonic()
                wait([*self._pipes.values(), *(one.sentinel for one in self._processes.values())], timeout=0.25)
                looked = time.monotonic()
                told = [*self._listen(), *self._bury()]
                yield from told
                if not told:
                    yield None
                if self.on_death == "stop" and self.deaths:
                    break
        finally:
            self._stop()

    @contextmanager
    def rest(self) -> Iterator[None]:
        """Let all workers wait between two turns, so that the weights can be looked at in one piece."""
        self.signals.flags[1] = True
        try:
            until = time.monotonic() + self.patience
            while time.monotonic() < until and not all(
                self.signals.resting[i] or not process.is_alive() for i, process in self._processes.items()
            ):
                time.sleep(0.002)
            yield
        finally:
            self.signals.flags[1] = False

    def _start(self) -> None:
        for rank in range(self.signals.workers):
            ours, theirs = self._context.Pipe(duplex=False)
            spec = WorkerSpec(
                rank, os.getpid(), self.agent.seed, self.steps, self.batch, self.signals, theirs, str(self._trace(rank))
            )
            # Weights and optimiser go over in one call: only so do they still belong together on the other side.
            process = self._context.Process(
                target=work,
                args=(spec, self.agent, self.optimiser, self._make_env),
                name=f"worker {rank}",
                daemon=True,
            )
            self.signals.beats[rank] = time.monotonic() + _FIRST_BEAT
            process.start()
            theirs.close()  # else nobody would notice that the worker's end is gone
            self._pipes[rank], self._processes[rank] = ours, process

    def _listen(self) -> Iterator[News | Death]:
        for rank, pipe in list(self._pipes.items()):
            with suppress(EOFError, OSError):
                while pipe.poll():
                    kind, content = pipe.recv()
                    if kind == "news":
                        yield News(self.masks, rank, content)
                    else:
                        yield self._mourn(rank, content)

    def _bury(self) -> Iterator[News | Death]:
        """Take leave of workers that have ended, and end those that hang."""
        now = time.monotonic()
        for rank, process in list(self._processes.items()):
            if not process.is_alive():
                process.join()
                yield from self._listen()  # its last words
                known = any(death.worker == rank for death in self.deaths)
                if process.exitcode and not known:
                    yield self._mourn(rank, f"it was ended from outside ({_exit(process.exitcode)})")
                self._dismiss(rank)
                continue
            beat = float(self.signals.beats[rank])
            patience = max(self.patience, 10 * float(self.signals.slowest[rank]))
            if now - max(beat, self._back) > patience:
                trace = self._ask_where(rank, process)
                process.kill()
                process.join()
                yield self._mourn(rank, f"it hung for {now - beat:.0f} seconds and was ended\n{trace}")
                self._dismiss(rank)

    def _mourn(self, rank: int, reason: str) -> Death:
        self.deaths.append(Death(self.masks, rank, f"worker {rank} is dead: {reason}"))
        return self.deaths[-1]

    def _dismiss(self, rank: int) -> None:
        self._pipes.pop(rank).close()
        self._processes.pop(rank)

    def _trace(self, rank: int) -> Path:
        return self._traces / f"worker-{rank}.txt"

    def _ask_where(self, rank: int, process: Any) -> str:
        """Let a hung worker write down where it is, even if Python never gets a turn there."""
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
        """Ask all workers to end after their turn, and end those that do not."""
        self.signals.flags[0] = True
        until = time.monotonic() + _FAREWELL
        while time.monotonic() < until and any(process.is_alive() for process in self._processes.values()):
            for _ in self._listen():  # a worker may be waiting for its report to be taken
                pass
            time.sleep(0.01)
        for rank, process in list(self._processes.items()):
            if process.is_alive():
                process.kill()
            process.join()
            self._dismiss(rank)


def _exit(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
