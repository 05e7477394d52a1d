"""The folder of a run: settings, checkpoints written whole or not at all, a table of metrics that survives a kill."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from maskgym import checkpoint
from maskgym.errors import BadInput
from maskgym.files import write_text

_SETTINGS, _METRICS, _LOCK = "settings.json", "metrics.csv", "run.lock"
_LEFT_BY_RUNS = (_SETTINGS, _METRICS, checkpoint.NAME, "agent.*", "events.out.tfevents.*")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a run's folder against other processes; the lock falls with this one, however it ends.

    A record lock, not filelock's: workers that are forked meanwhile do not inherit it, so those that outlive a killed
    run by a moment do not keep its successor out.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no record locks
        yield
        return
    try:
        file = (folder / _LOCK).open("a")
    except OSError as error:
        raise BadInput(f"cannot write to {folder}: {error.strerror or error}; choose another --out") from error
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise BadInput(f"another process is training in {folder}: wait for it, or choose another --out") from None
        yield


class Folder:
    """Where a run lives. The same command given again goes on with it; one with other settings is refused.

    Args:
        path: the folder; made where it is missing.
        settings: what the run is made from.
        fresh: throw away the run that is there and start over.
        leaves: more names, or patterns of them, that a run of this kind leaves in its folder.
    """

    def __init__(self, path: Path, settings: dict[str, Any], fresh: bool = False, leaves: tuple[str, ...] = ()):
        self.path, self._leaves = path, (*_LEFT_BY_RUNS, *leaves)
        if path.exists() and not path.is_dir():
            raise BadInput(f"{path} is a file: give a folder to --out")
        there = path / _SETTINGS
        if there.exists():
            with alone(path):
                if fresh:
                    self._clear()
                else:
                    self._compare(there, settings)
        elif path.exists() and any(path.iterdir()):
            raise BadInput(f"{path} is not empty and holds no run: choose another --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
            write_text(there, json.dumps(settings, indent=2))
        except OSError as error:
            raise BadInput(f"cannot write to {path}: {error.strerror or error}; choose another --out") from error

    def save(
        self, agent: Any, optimizer: torch.optim.Optimizer | None = None, updates: list[int] | None = None
    ) -> None:
        """Write the agent as others load it and, for a run that can be resumed, a checkpoint beside it.

        Weights that are not finite are never written: the last checkpoint stands.
        """
        lost = [name for name, value in agent.state_dict().items() if _lost(value)]
        if lost:
            raise BadInput(
                f"weights of {self.path} became NaN or infinite ({', '.join(lost[:3])}) and are not saved: lower the "
                "learning rate; the last checkpoint stands"
            )
        if optimizer is not None:
            state = {"weights": agent.state_dict(), "optimizer": optimizer.state_dict(), "updates": updates}
            checkpoint.write(self.path, state)
        agent.save(self.path)

    def load(self, agent: Any, optimizer: torch.optim.Optimizer) -> list[int]:
        """Load the last checkpoint into agent and optimizer; returns the updates done, [] if there is no checkpoint."""
        updates: list[int] = []

        def take(state: dict[str, Any]) -> None:
            agent.load_state_dict(state["weights"])
            optimizer.load_state_dict(state["optimizer"])
            updates.extend(int(number) for number in state["updates"])

        # To the CPU first: agent and optimizer each know on which device their tensors belong.
        checkpoint.read(self.path, "cpu", take)
        return updates

    def reached(self) -> int:
        """Say how many env steps `metrics.csv` tells of."""
        try:
            with (self.path / _METRICS).open(newline="") as file:
                return max((int(row.get("env_steps") or 0) for row in csv.DictReader(file)), default=0)
        except (OSError, ValueError):
            return 0

    def _compare(self, there: Path, settings: dict[str, Any]) -> None:
        try:
            then = json.loads(there.read_text())
        except (OSError, ValueError) as error:
            raise BadInput(f"{there} is damaged ({error}): start over with --fresh, or choose another --out") from error
        now = json.loads(json.dumps(settings))
        differ = [f"{key} was {then.get(key)!r}, is {now[key]!r}" for key in now if then.get(key) != now[key]]
        if differ:
            raise BadInput(
                f"{self.path} holds another run ({'; '.join(differ)}): give its settings to go on with it, --fresh to "
                "start over, or another --out"
            )

    def _clear(self) -> None:
        for path in (path for pattern in self._leaves for path in self.path.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _lost(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and not bool(value.isfinite().all())


class Metrics:
    """`metrics.csv`: each row on disk as soon as it is known; a resumed run takes back what it will tell again.

    Args:
        folder: of the run.
        columns: of the table.
        done: how far the run had come; later rows are taken back.
        key: the column in which rows count that.
    """

    def __init__(self, folder: Path, columns: list[str], done: int = 0, key: str = "env_steps"):
        self.path, self.columns = folder / _METRICS, columns
        kept = []
        if self.path.exists():
            with self.path.open(newline="") as file:
                kept = [row for row in csv.DictReader(file) if int(row.get(key) or 0) <= done] if done else []
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)

    def add(self, row: dict[str, Any]) -> None:
        """Append a row."""
        try:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns, restval="", extrasaction="ignore").writerow(row)
        except OSError as error:
            raise BadInput(f"cannot write {self.path}: {error.strerror or error}; free some space") from error
