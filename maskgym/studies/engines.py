"""Run the cells of a study in their order, wherever an engine runs them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from maskgym.studies.cells import MASKGYM, record, run_cell, state, write
from maskgym.studies.plan import Cell

Told = dict[str, Any]
Heard = Callable[[Cell, Told], None]


class Engine(Protocol):
    """Takes cells and runs as many of them at once as it has room for."""

    room: int

    def submit(self, cell: Cell) -> Future[Told]:
        """Run a cell as soon as there is room."""
        ...

    def stop(self) -> None:
        """End what runs, leaving nothing behind, and forget what waits."""
        ...


class Local:
    """Runs cells as processes of this machine.

    Args:
        out: folder of the study.
        workers: how many run at once.
        command: what the words of a cell are given to.
    """

    def __init__(self, out: Path, workers: int, command: tuple[str, ...] = MASKGYM):
        self.out, self.room, self.command = out, workers, command
        self.pool, self.ending = ThreadPoolExecutor(workers), Event()

    def submit(self, cell: Cell) -> Future[Told]:
        """Run a cell as soon as a worker is free."""
        return self.pool.submit(run_cell, self.out, cell, self.command, self.ending)

    def stop(self) -> None:
        """End the commands that run, and wait until they have ended."""
        self.ending.set()
        self.pool.shutdown(cancel_futures=True)


def run_all(out: Path, cells: list[Cell], engine: Engine, heard: Heard | None = None) -> dict[str, str]:
    """Run what is not finished, what it needs first; answer what went wrong, cell by cell."""
    finished = {cell.name for cell in cells if state(out, cell)["state"] == "finished"}
    waiting = [cell for cell in cells if cell.name not in finished]
    wrong: dict[str, str] = {}
    at_work: dict[Future[Told], Cell] = {}
    with _interruptible():
        try:
            while waiting or at_work:
                for cell in list(waiting):
                    if lost := [name for name in cell.needs if name in wrong]:
                        wrong[cell.name] = f"skipped, it needs {lost[0]}"
                        waiting.remove(cell)
                    elif finished.issuperset(cell.needs):
                        at_work[engine.submit(cell)] = cell
                        waiting.remove(cell)
                for future in wait(at_work, return_when=FIRST_COMPLETED).done if at_work else ():
                    cell = at_work.pop(future)
                    told = _told(out, cell, future)
                    if told["state"] == "finished":
                        finished.add(cell.name)
                    else:
                        wrong[cell.name] = told["error"][-1]
                    if heard is not None:
                        heard(cell, told)
        finally:
            engine.stop()
    return wrong


def _told(out: Path, cell: Cell, future: Future[Told]) -> Told:
    """What a cell told; one that was lost with its machine has failed, unless it wrote that it finished."""
    try:
        return future.result()
    except Exception as error:
        if (told := state(out, cell))["state"] == "finished":
            return told
        error = getattr(error, "cause", None) or error  # as a task told it
        reason = (str(error).strip().splitlines() or [""])[0]
        told = {"cell": cell.name, "kind": cell.kind, "words": cell.words, "seconds": 0.0}
        told |= {"state": "failed", "error": [f"{type(error).__name__}: {reason}"]}
        write(record(out, cell), told)
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
