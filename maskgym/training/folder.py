"""The folder of a run: settings, checkpoints written whole or not at all, a table of figures that survives a kill."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import torch

from maskgym import checkpoint
from maskgym.errors import BadInput

_SETTINGS, _METRICS = "settings.json", "metrics.csv"


class Folder:
    """Where a run lives.

    Args:
        path: the folder; made where it is missing.
        settings: what the run is made from; a run is only resumed with the same.
        resume: go on with the run that is there.
    """

    def __init__(self, path: Path, settings: dict[str, Any], resume: bool = False):
        self.path = path
        if path.exists() and not path.is_dir():
            raise BadInput(f"{path} is a file: give a folder to --out")
        there = path / _SETTINGS
        if resume:
            self._compare(there, settings)
        elif there.exists():
            raise BadInput(f"{path} holds a run already: add --resume to go on with it, or choose another --out")
        elif path.exists() and any(path.iterdir()):
            raise BadInput(f"{path} is not empty and holds no run: choose another --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._write(there, json.dumps(settings, indent=2).encode())
        except OSError as error:
            raise BadInput(f"cannot write to {path}: {error.strerror or error}; choose another --out") from error

    def save(self, agent: Any, optimiser: torch.optim.Optimizer | None = None, turns: list[int] | None = None) -> None:
        """Write the agent as others load it and, for a run that can be resumed, a checkpoint beside it."""
        if optimiser is not None:
            state = {"weights": agent.state_dict(), "optimiser": optimiser.state_dict(), "turns": turns}
            checkpoint.write(self.path, state)
        agent.save(self.path)

    def load(self, agent: Any, optimiser: torch.optim.Optimizer) -> list[int]:
        """Load the last checkpoint into agent and optimiser; returns the turns played, [] if there is no checkpoint."""
        turns: list[int] = []

        def take(state: dict[str, Any]) -> None:
            agent.load_state_dict(state["weights"])
            optimiser.load_state_dict(state["optimiser"])
            turns.extend(int(turn) for turn in state["turns"])

        checkpoint.read(self.path, agent.game_spec.device, take)
        return turns

    def _compare(self, there: Path, settings: dict[str, Any]) -> None:
        try:
            then = json.loads(there.read_text())
        except FileNotFoundError:
            raise BadInput(f"there is no run in {self.path} to resume: leave --resume away") from None
        except (OSError, ValueError) as error:
            raise BadInput(f"{there} is damaged ({error}): start anew in another --out") from error
        now = json.loads(json.dumps(settings))
        differ = [f"{key} was {then.get(key)!r}, is {now[key]!r}" for key in now if then.get(key) != now[key]]
        if differ:
            raise BadInput(
                f"{self.path} holds another run ({'; '.join(differ)}): resume it as it was, or choose another --out"
            )

    def _write(self, path: Path, content: bytes) -> None:
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_bytes(content)
        os.replace(draft, path)


class Metrics:
    """`metrics.csv`: each row on disk as soon as it is known; a resumed run takes back what it will tell again.

    Args:
        folder: of the run.
        columns: of the table.
        masks: how far the run had come; later rows are taken back.
        key: the column in which rows count that.
    """

    def __init__(self, folder: Path, columns: list[str], masks: int = 0, key: str = "masks"):
        self.path, self.columns = folder / _METRICS, columns
        kept = []
        if self.path.exists():
            with self.path.open(newline="") as file:
                kept = [row for row in csv.DictReader(file) if int(row[key] or 0) <= masks] if masks else []
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
