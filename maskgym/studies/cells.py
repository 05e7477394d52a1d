"""One cell of a study: run its command, alone, and keep a small JSON of how it ended.

While a cell runs, its command holds a lock on `cells/NAME.lock`. The lock dies with the command and not with the study,
so a study that was killed and started again waits for a command that is still at work instead of running it twice.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import IO, Any

from maskgym.studies.plan import Cell

MASKGYM = (sys.executable, "-m", "maskgym.cli")
# Where a study runs in the background, or in Ray, SIGINT is ignored or blocked, and would be in the command, too.
_HEARS = (
    "import os, signal, sys; signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT]); "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"
)
_PACKAGES = ("maskgym", "torch", "monai", "numpy")
_RUNS = ("pretrain", "finetune")  # commands that go on with --resume
_BEAT = 0.1  # seconds between two looks at a command
_MARK = 1.0  # seconds between two marks of the time
GRACE = 30.0  # seconds a command is given to save and leave


class Stopped(Exception):
    """The study is to end before this cell did."""


def versions() -> dict[str, str]:
    """What results may depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def record(out: Path, cell: Cell, ending: str = ".json") -> Path:
    """Where the JSON of a cell lies, or its lock or log."""
    return out / "cells" / (cell.name.replace("/", "--") + ending)


def state(out: Path, cell: Cell) -> dict[str, Any]:
    """What is known of a cell: finished with these very words, failed, or waiting."""
    try:
        told = json.loads(record(out, cell).read_text())
        same = _at_home(told["words"], cell, out) == _at_home(cell.words, cell, out)
        same = same and (told["state"] != "finished" or cell.leaves.exists())
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    return told if same else {"state": "waiting"}


def running(out: Path, cell: Cell) -> dict[str, Any] | None:
    """Who runs a cell at this moment, in whatever study; None if nobody does."""
    try:
        with record(out, cell, ".lock").open() as lock:
            return None if _lock(lock, shared=True) else _holder(lock)
    except OSError:
        return None


def run_cell(
    out: Path,
    cell: Cell,
    command: tuple[str, ...] = MASKGYM,
    stop: Event | None = None,
    more: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Run one cell to its end, or go on where a killed one stopped; waits for one that is still at work."""
    stop = stop or Event()
    with _alone(out, cell, stop) as (lock, earlier):
        if (told := state(out, cell))["state"] == "finished":
            return told  # by whom we waited for
        if stop.is_set():
            raise Stopped
        words = [*command, *cell.words]
        if cell.kind in _RUNS and (cell.leaves.parent / "settings.json").exists():
            words.append("--resume")
        cell.leaves.parent.mkdir(parents=True, exist_ok=True)
        began, started = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
        code, said = _run(words, record(out, cell, ".log"), lock, stop)
        good = code == 0 and cell.leaves.exists()
        told = {"cell": cell.name, "kind": cell.kind, "words": cell.words}
        told |= {"seconds": earlier + time.perf_counter() - began, "started": started, "versions": versions()}
        told |= {"host": socket.gethostname()} | (more or {})
        reason = said or [f"exit code {code}, and no {cell.leaves.name}"]
        told |= {"state": "finished"} if good else {"state": "failed", "error": reason}
        write(record(out, cell), told)
        os.truncate(lock.fileno(), 0)
    return told


def _run(words: list[str], log: Path, lock: IO[str], stop: Event) -> tuple[int, list[str]]:
    """Run a command that holds the lock, until it ends or is told to; gives its code and the last lines it said."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("w+b") as file:
        child = subprocess.Popen(
            [sys.executable, "-ISc", _HEARS, *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=[lock.fileno()],
            start_new_session=True,  # Ctrl-C reaches it through us, once
        )
        try:
            while child.poll() is None:
                if stop.is_set():
                    raise Stopped
                _mark(lock)
                time.sleep(_BEAT)
        except BaseException:
            _end(child)
            raise
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4000))
        lines = file.read().decode(errors="replace").splitlines()
    plain = (line.strip(" │─╭╮╰╯") for line in lines)  # of boxes, too
    return child.returncode, [line for line in plain if line][-5:]


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask a command to save and leave, then end it and what it started."""
    child.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


@contextmanager
def _alone(out: Path, cell: Cell, stop: Event) -> Iterator[tuple[IO[str], float]]:
    """Hold the lock of a cell; gives it and the seconds that starts which were killed had spent."""
    path = record(out, cell, ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        waited = False
        while not _lock(lock):
            if stop.is_set():
                raise Stopped
            if not waited:
                holder = _holder(lock)
                print(
                    f"{cell.name}: still at work (process {holder.get('pid')} on {holder.get('host')}): waiting for it"
                )
            waited = True
            _mark(lock)
            time.sleep(_BEAT)
        last = _holder(lock)
        earlier = float(last.get("before", 0.0))
        if last:
            earlier += max(0.0, os.fstat(lock.fileno()).st_mtime - float(last["since"]))
        now = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time(), "before": earlier}
        os.truncate(lock.fileno(), 0)
        lock.write(json.dumps(now))
        lock.flush()
        yield lock, earlier


def _lock(file: IO[str], shared: bool = False) -> bool:
    """Take the lock of an open file, or see that another has it; where there are no locks, it is always free."""
    try:
        import fcntl

        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True


def _mark(lock: IO[str]) -> None:
    """Keep in the lock's time how long its command was seen running, for when nobody is left to write it down."""
    if time.time() - os.fstat(lock.fileno()).st_mtime > _MARK:
        os.utime(lock.fileno())


def _holder(file: IO[str]) -> dict[str, Any]:
    """What the one who took a lock last wrote into it; nothing where its command came to an end."""
    try:
        file.seek(0)
        return dict(json.loads(file.read()))
    except ValueError:
        return {}


def _at_home(words: Any, cell: Cell, out: Path) -> list[str]:
    """The words of a cell without the place of the study's folder, so that it may be moved, or named otherwise."""
    own, place = (str(some[some.index("--out") + 1]) for some in (cell.words, list(words)))
    home = place.removesuffix(os.path.relpath(own, out))

    def plain(word: str) -> str:
        name, colon, folder = word.partition(":")  # a3c:FOLDER
        return name + colon + folder.removeprefix(home) if colon else word.removeprefix(home)

    return [plain(str(word)) for word in words]


def write(file: Path, told: dict[str, Any]) -> None:
    """Write whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(told, indent=1))
    os.replace(draft, file)
