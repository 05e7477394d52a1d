"""Run the cells of a study as local processes and keep a small JSON for each that ended."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from maskgym.bench.study import Cell

_RUNS = ("pretrain", "finetune")  # commands that go on with --resume
_PACKAGES = ("maskgym", "torch", "monai", "numpy")
_MASKGYM = (sys.executable, "-m", "maskgym.cli")


def record(out: Path, cell: Cell) -> Path:
    """Where the JSON of a cell lies."""
    return out / "cells" / (cell.name.replace("/", "--") + ".json")


def versions() -> dict[str, str]:
    """What results may depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def state(out: Path, cell: Cell) -> dict[str, Any]:
    """What is known of a cell: finished with these very words, failed, or waiting."""
    try:
        told = json.loads(record(out, cell).read_text())
        same = tuple(told["words"]) == cell.words and (told["state"] != "finished" or cell.leaves.exists())
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    return told if same else {"state": "waiting"}


def run_cell(out: Path, cell: Cell, command: tuple[str, ...] = _MASKGYM) -> dict[str, Any]:
    """Run one cell to its end, or go on where a killed one stopped."""
    words = [*command, *cell.words]
    if cell.kind in _RUNS and (cell.leaves.parent / "settings.json").exists():
        words.append("--resume")
    cell.leaves.parent.mkdir(parents=True, exist_ok=True)
    began, started = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    good = done.returncode == 0 and cell.leaves.exists()
    said = done.stderr.strip().splitlines()[-5:] or [f"exit code {done.returncode}, and no {cell.leaves.name}"]
    told = {"cell": cell.name, "kind": cell.kind, "words": cell.words, "seconds": time.perf_counter() - began}
    told |= {"started": started, "versions": versions()}
    told |= {"state": "finished"} if good else {"state": "failed", "error": said}
    _write(record(out, cell), told)
    return told


def run_all(out: Path, cells: list[Cell], workers: int, command: tuple[str, ...] = _MASKGYM) -> dict[str, str]:
    """Run what is not finished, what it needs first; answer what went wrong, cell by cell."""
    finished = {cell.name for cell in cells if state(out, cell)["state"] == "finished"}
    waiting = [cell for cell in cells if cell.name not in finished]
    wrong: dict[str, str] = {}
    running: dict[Future[dict[str, Any]], Cell] = {}
    with ThreadPoolExecutor(workers) as pool:
        while waiting or running:
            for cell in list(waiting):
                if lost := [name for name in cell.needs if name in wrong]:
                    wrong[cell.name] = f"skipped, it needs {lost[0]}"
                    waiting.remove(cell)
                elif finished.issuperset(cell.needs):
                    running[pool.submit(run_cell, out, cell, command)] = cell
                    waiting.remove(cell)
            for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                cell, told = running.pop(future), future.result()
                if told["state"] == "finished":
                    finished.add(cell.name)
                else:
                    wrong[cell.name] = told["error"][-1]
                print(f"{cell.name}: {told['state']}, {told['seconds']:.0f} s", flush=True)
    return wrong


def _write(file: Path, told: dict[str, Any]) -> None:
    """Write whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(told, indent=1))
    os.replace(draft, file)
