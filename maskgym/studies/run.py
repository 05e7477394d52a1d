"""Run the jobs of a study after those they need, wherever an engine runs them."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from maskgym.files import write_text
from maskgym.studies.job import PROGRAM, Record, last_words, path, run_job, state
from maskgym.studies.plan import Job, at_home

GRACE = 30.0  # seconds a command is given to save and leave
_HEAVY = (
    "maskgym.commands.pretrain",
    "maskgym.commands.finetune",
    "maskgym.pretrain.run",
    "maskgym.downstream.finetune",
)
Heard = Callable[[Job, Record], None]


class Engine(Protocol):
    """Takes jobs and runs as many of them at once as it has room for, in the order in which they came."""

    room: int
    holds: int  # jobs it is given at once: what is given early runs early, whatever becomes ready meanwhile

    def submit(self, job: Job) -> Future[None]:
        """Run a job as soon as there is room; its record says how it ended."""
        ...

    def stop(self) -> None:
        """End what runs, leaving nothing behind, and forget what waits."""
        ...


class Local:
    """Runs jobs as processes of this machine, forked from one that has imported what all of them need.

    Args:
        out: folder of the study.
        workers: how many run at once.
        program: module whose main() takes the words of a job.
    """

    def __init__(self, out: Path, workers: int, program: str = PROGRAM):
        self.out, self.room, self.holds, self.program = out, workers, workers, program
        self.pool, self.ending = ThreadPoolExecutor(workers), Event()
        os.environ["OMP_NUM_THREADS"] = "1"  # processes run side by side
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        self.context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
        if forks:
            self.context.set_forkserver_preload([__name__, program, *(_HEAVY if program == PROGRAM else ())])

    def submit(self, job: Job) -> Future[None]:
        """Run a job as soon as a worker is free."""
        return self.pool.submit(self._run, job)

    def stop(self) -> None:
        """End the commands that run, and wait until they have ended."""
        self.ending.set()
        self.pool.shutdown(cancel_futures=True)

    def _run(self, job: Job) -> None:
        if self.ending.is_set():
            return
        process = self.context.Process(target=_lead, args=(self.out, job, self.program))
        process.start()
        while process.is_alive() and not self.ending.is_set():
            process.join(0.2)
        if process.is_alive():
            end(process.pid, lambda: not process.is_alive(), process.join)


def _lead(out: Path, job: Job, program: str) -> None:
    """Run a job in a session of its own: Ctrl-C reaches it through the study, once."""
    if hasattr(os, "setsid"):
        os.setsid()
    raise SystemExit(run_job(out, job, program))


def end(pid: int, ended: Callable[[], bool], join: Callable[[float], Any]) -> None:
    """Ask a process to save and leave, then end it and what it started."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
        join(GRACE)
    if not ended():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        join(GRACE)


def run_all(out: Path, jobs: list[Job], engine: Engine, heard: Heard | None = None) -> dict[str, str]:
    """Run what is not finished, in its order but what it needs first; answer what went wrong, job by job."""
    finished = {job.name for job in jobs if state(out, job)["state"] == "finished"}
    waiting = [job for job in jobs if job.name not in finished]
    wrong: dict[str, str] = {}
    at_work: dict[Future[None], Job] = {}
    with _interruptible():
        try:
            while waiting or at_work:
                for job in list(waiting):
                    if lost := [name for name in job.needs if name in wrong]:
                        wrong[job.name] = f"skipped, it needs {lost[0]}"
                        waiting.remove(job)
                    elif len(at_work) < engine.holds and finished.issuperset(job.needs):
                        at_work[engine.submit(job)] = job
                        waiting.remove(job)
                for future in wait(at_work, return_when=FIRST_COMPLETED).done if at_work else ():
                    job = at_work.pop(future)
                    told = _ended(out, job, future)
                    if told["state"] == "finished":
                        finished.add(job.name)
                    else:
                        wrong[job.name] = told["error"][-1]
                    if heard is not None:
                        heard(job, told)
        finally:
            engine.stop()
    return wrong


def _ended(out: Path, job: Job, future: Future[None]) -> Record:
    """What a job wrote down; one that could not, because it was killed or its machine was lost, has failed."""
    told = state(out, job)
    if told["state"] in ("finished", "failed"):
        return told
    error = future.exception()
    error = getattr(error, "cause", None) or error  # as a task of a cluster told it
    lines = str(error).strip().splitlines() if error else [*last_words(out, job), "it was killed"]
    told = {"job": job.name, "kind": job.kind, "words": at_home(job.words, out), "seconds": told["seconds"]}
    told |= {"state": "failed", "error": lines or [type(error).__name__]}
    path(out, job).parent.mkdir(parents=True, exist_ok=True)
    write_text(path(out, job), json.dumps(told, indent=1))
    return told


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a polite request to end (a scheduler's, a closed terminal's) do what Ctrl-C does."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    kept = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            kept[number] = signal.signal(number, interrupt)  # None where Ray has its own, which ends all at once
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler or signal.SIG_DFL)
