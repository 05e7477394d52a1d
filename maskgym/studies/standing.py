"""How far a study is: what stands, what runs, what failed, and how long the rest may take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from maskgym.studies.cells import running, state
from maskgym.studies.plan import Cell

STATES = ("finished", "failed", "running", "waiting")


@dataclass(frozen=True)
class Standing:
    """A cell, where it stands, what is known of it, and the seconds it may still take (None: unknown)."""

    cell: Cell
    state: str
    told: dict[str, Any]
    left: float | None


def stand(out: Path, cells: list[Cell]) -> list[Standing]:
    """Look at every cell; the seconds of one that is not finished are guessed from finished ones most like it."""
    looked = []
    for cell in cells:
        told = state(out, cell)
        holder = running(out, cell) if told["state"] != "finished" else None
        looked.append((cell, str(told["state"]), told) if holder is None else (cell, "running", holder))
    known = [(cell, float(told["seconds"])) for cell, where, told in looked if where == "finished"]
    return [Standing(*one, 0.0 if one[1] == "finished" else _guess(one[0], known)) for one in looked]


def left(standings: list[Standing]) -> tuple[float, list[str]]:
    """Seconds that the rest may take on one worker, and the kinds of which nothing is known yet."""
    unknown = {one.cell.kind for one in standings if one.left is None}
    return sum(one.left or 0.0 for one in standings), sorted(unknown)


def _guess(cell: Cell, known: list[tuple[Cell, float]]) -> float | None:
    """Mean seconds of finished cells of the same kind: of this method on this data set, else of this data set."""
    alike = [(other, seconds) for other, seconds in known if other.kind == cell.kind]
    for depth in (2, 1, 0):
        start = cell.name.split("/")[:depth]
        if near := [seconds for other, seconds in alike if other.name.split("/")[:depth] == start]:
            return fmean(near)
    return None


def span(seconds: float) -> str:
    """Seconds as a person says them.

    >>> span(59), span(150), span(9000), span(200_000)
    ('59 s', '2.5 min', '2.5 h', '2.3 days')
    """
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
