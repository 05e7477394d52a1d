"""Scoring agents: every agent under every seed at every ratio, a small file for each, so that a killed run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from maskgym.benchmark import contestants
from maskgym.benchmark.points import Played, play
from maskgym.data.cache import write_atomically
from maskgym.errors import BadInput

if TYPE_CHECKING:
    from maskgym.envs.task import Task

MODES = ("deterministic", "sampled")
_FORMAT = 1  # raise when cells change their meaning


@dataclass(frozen=True)
class Plan:
    """What is scored, all that decides a cell's figures."""

    specs: tuple[str, ...]
    ratios: tuple[float, ...]
    seeds: int
    images: int
    """How many of the split."""
    steps: int
    """Masks that learners train for."""
    training: tuple[tuple[str, Any], ...]
    """Keywords of the vector environment that they train in."""


class Cell(NamedTuple):
    """One agent, one seed, one ratio, one way to play."""

    spec: str
    seed: int
    ratio: float
    mode: str


Heard = Callable[[Cell, int], None]  # the cell that is played, and how many images are done in it
Report = Callable[[str, int, int, dict[str, float]], None]  # who trains, seed, steps done, figures


def score(
    plan: Plan,
    task: Task,
    out: Path,
    make_games: Callable[[], Any],
    heard: Heard | None = None,
    report: Report | None = None,
) -> dict[Cell, Played]:
    """Play what was not played before and give all cells; learners are trained when their first cell is reached."""
    played: dict[Cell, Played] = {}
    try:
        (out / "cells").mkdir(parents=True, exist_ok=True)
        for cell in cells(plan):
            path = out / "cells" / _file(plan, task, cell)
            known = _read(path)
            if known is None:
                known = _play(plan, task, out, cell, make_games, heard, report)
                twin = cell._replace(mode=MODES[0])
                if known is None:  # an agent that does not explore plays sampled as ever
                    known = played[twin]
                _write(path, known)
            elif heard is not None:
                heard(cell, plan.images)
            played[cell] = known
    except OSError as error:
        raise BadInput(f"cannot write to {out}: {error.strerror or error}; choose another --out") from error
    return played


def cells(plan: Plan) -> Iterator[Cell]:
    """Go through all cells, those of one trained agent together."""
    for spec in plan.specs:
        for seed in range(contestants.runs(spec, plan.seeds)):
            for ratio in plan.ratios:
                for mode in MODES:
                    yield Cell(spec, seed, ratio, mode)


def _play(
    plan: Plan,
    task: Task,
    out: Path,
    cell: Cell,
    make_games: Callable[[], Any],
    heard: Heard | None,
    report: Report | None,
) -> Played | None:
    spec = cell.spec
    if contestants.must_train(spec):
        tell = None if report is None else lambda done, figures: report(spec, cell.seed, done, figures)
        folder = out / "agents" / _digest(plan.steps, plan.training, task.fingerprint)
        spec = contestants.trained(spec, cell.seed, make_games, plan.steps, folder, tell)
    agent = contestants.seat(spec, task, cell.ratio, cell.seed)
    sampled = cell.mode == "sampled"
    if sampled and not contestants.explores(agent):
        if heard is not None:
            heard(cell, plan.images)
        return None
    tell_images = None if heard is None else lambda done: heard(cell, done)
    return play(agent, task, cell.ratio, sampled=sampled, images=plan.images, seed=cell.seed, heard=tell_images)


def _file(plan: Plan, task: Task, cell: Cell) -> str:
    """Name a cell's file after everything its figures depend on."""
    settings = task.settings
    data = (settings.dataset, settings.split, settings.split_file)
    game = (*data, task.patches.size, task.patches.patch, task.fingerprint)
    trained = (plan.steps, plan.training) if contestants.must_train(cell.spec) else ()
    digest = _digest(_FORMAT, game, plan.images, trained, _saved(cell), list(cell))
    return f"{contestants.slug(cell.spec)}-seed-{cell.seed}-ratio-{cell.ratio:g}-{cell.mode}-{digest}.json"


def _saved(cell: Cell) -> str:
    """What is in the folder of a saved agent: trained again, it is another one."""
    if not contestants.is_saved(cell.spec):
        return ""
    folder = Path(cell.spec.partition(":")[2].replace("{seed}", str(cell.seed)))
    return sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("agent.*")))).hexdigest()


def _digest(*parts: Any) -> str:
    return sha256(json.dumps(parts, default=str).encode()).hexdigest()[:12]


def _write(path: Path, played: Played) -> None:
    write_atomically(
        path,
        json.dumps(
            {
                "reward": played.reward.tolist(),
                "lesion_cover": [None if np.isnan(value) else value for value in played.lesion_cover.tolist()],
                "seconds": played.seconds.tolist(),
                "patches": played.mask.shape[1],
                "mask": [np.packbits(row).tobytes().hex() for row in played.mask],
            }
        ),
    )


def _read(path: Path) -> Played | None:
    try:
        told = json.loads(path.read_text())
        packed = np.stack([np.frombuffer(bytes.fromhex(row), np.uint8) for row in told["mask"]])
        mask = np.unpackbits(packed, axis=1, count=told["patches"]).astype(bool)
        cover = np.array([np.nan if value is None else value for value in told["lesion_cover"]], float)
        return Played(np.array(told["reward"]), mask, cover, np.array(told["seconds"]), None)
    except (OSError, ValueError, KeyError, TypeError):
        return None
