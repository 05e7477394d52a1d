"""One job of a study in a process of its own, `python -m maskgym.studies.job FOLDER NAME`.

It holds the job's lock for as long as it lives and writes down how it ended. So a study that was killed and started
again, on whatever engine, waits for a command that is still at work instead of running it twice.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from threading import Event, Thread
from typing import Any

from filelock import FileLock, Timeout

from maskgym.files import write_text
from maskgym.studies.plan import Job, at_home

PROGRAM = "maskgym.cli"  # whose main() takes the words of a job
INTERRUPTED = 130
_PACKAGES = ("maskgym", "torch", "monai", "numpy")
_BEAT = 5.0  # seconds between two notes of how long a command has been at work
Record = dict[str, Any]


def path(out: Path, job: Job, ending: str = ".json") -> Path:
    """Where the record of a job lies, or its lock or log."""
    return out / "jobs" / (job.name.replace("/", "--") + ending)


def state(out: Path, job: Job) -> Record:
    """How far a job is: finished with these very words, failed, running, or waiting (with the seconds spent so far)."""
    told = _read(out, job)
    if told["state"] == "running" and not _locked(out, job):  # it was killed
        return {"state": "waiting", "seconds": told["seconds"]}
    return told


def _read(out: Path, job: Job) -> Record:
    """What was written down of a job; of one with other words, or whose file is gone, nothing."""
    try:
        told = dict(json.loads(path(out, job).read_text()))
        seconds, now = float(told["seconds"]), str(told["state"])
        if told["words"] == at_home(job.words, out) and (now != "finished" or job.leaves.exists()):
            return told | {"seconds": seconds}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"state": "waiting", "seconds": 0.0}


def _locked(out: Path, job: Job) -> bool:
    """Whether a process is at work on a job."""
    if not path(out, job, ".lock").exists():
        return False
    lock = FileLock(path(out, job, ".lock"))
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def run_job(out: Path, job: Job, program: str = PROGRAM) -> int:
    """Run a job in this process, which it takes over, or go on where a killed one stopped; gives its exit code."""
    _hear_ctrl_c()
    path(out, job).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path(out, job, ".lock"), poll_interval=0.1)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"{job.name}: another process is at work on it: waiting", flush=True)
            lock.acquire()
        with lock:
            told = _read(out, job)
            if told["state"] == "finished":
                return 0  # by the one we waited for
            return _command(out, job, program, told["seconds"] if told["state"] == "running" else 0.0)
    except KeyboardInterrupt:
        return INTERRUPTED


def _command(out: Path, job: Job, program: str, spent: float) -> int:
    job.leaves.parent.mkdir(parents=True, exist_ok=True)
    began, versions = time.monotonic(), {name: version(name) for name in _PACKAGES}
    about: Record = {"job": job.name, "kind": job.kind, "words": at_home(job.words, out), "host": socket.gethostname()}
    about |= {"started": datetime.now(UTC).isoformat(timespec="seconds"), "pid": os.getpid()}
    about |= {"versions": {"python": platform.python_version()} | versions}

    def note(now: str, **more: Any) -> None:
        seconds = spent + time.monotonic() - began
        write_text(path(out, job), json.dumps(about | {"state": now, "seconds": seconds} | more, indent=1))

    note("running")
    with _said_to(path(out, job, ".log")), _beating(lambda: note("running")):
        code = _exit_code(program, list(job.words))  # the same command again goes on where a killed one stopped
    if code == INTERRUPTED:
        note("running")  # it saved what it had; without the lock it counts as waiting
    elif code == 0 and job.leaves.exists():
        note("finished")
    else:
        note("failed", error=last_words(out, job) or [f"exit code {code}, and no {job.leaves.name}"])
        return code or 1
    return code


def _exit_code(program: str, words: list[str]) -> int:
    """Call the command; whatever it raises is said in its log."""
    try:
        importlib.import_module(program).main(words)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code)
            return 1
        return ended.code or 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def last_words(out: Path, job: Job) -> list[str]:
    """The last lines a command said."""
    with suppress(OSError):
        lines = path(out, job, ".log").read_text(errors="replace")[-4000:].splitlines()
        plain = (line.strip(" │─╭╮╰╯") for line in lines)  # of boxes, too
        return [line for line in plain if line][-5:]
    return []


@contextmanager
def _said_to(log: Path) -> Iterator[None]:
    """Let everything that is said go to a file, by whatever library."""
    kept = [os.dup(stream) for stream in (1, 2)]
    with log.open("wb") as file, suppress(OSError, ValueError):
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        yield
    finally:
        for said, stream, own in zip((sys.stdout, sys.stderr), (1, 2), kept, strict=True):
            with suppress(OSError, ValueError):
                said.flush()
            os.dup2(own, stream)
            os.close(own)


@contextmanager
def _beating(note: Any) -> Iterator[None]:
    """Note now and then how long the command has been at work, for when nobody is left to write it down."""
    ended = Event()

    def beat() -> None:
        while not ended.wait(_BEAT):
            note()

    heart = Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()


def _hear_ctrl_c() -> None:
    """Where a study runs in the background, or in Ray, SIGINT is ignored or blocked; a command saves when it comes."""
    with suppress(AttributeError, ValueError):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        signal.signal(signal.SIGINT, signal.default_int_handler)


def main(folder: str, name: str, program: str = PROGRAM) -> int:
    """Find a job in the plan of a study's folder, and run it."""
    from maskgym.studies.plan import plan
    from maskgym.studies.read import KEPT, read_study

    out = Path(folder)
    job = next((job for job in plan(read_study(out / KEPT), out) if job.name == name), None)
    if job is None:
        print(f"{out} plans no job {name!r}", file=sys.stderr)
        return 2
    code = run_job(out, job, program)
    if code not in (0, INTERRUPTED):
        print(f"{name}: {' '.join(state(out, job).get('error', ['?'])[-1:])}", file=sys.stderr)
    return code


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
