"""Read what a study left: finished runs, pre-trainings, cells, points. Whatever is missing is missing."""

from __future__ import annotations

import csv
import json
import math
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskgym.benchmark.statistics import Interval
from maskgym.errors import BadInput

WAITING = "not run yet"
_MANY = ("msd", "folder")  # layouts of many data sets: the folder tells which
Curve = list[dict[str, float]]  # the rows of a metrics.csv, without what is empty


@dataclass(frozen=True)
class Run:
    """A fine-tuning with its scores, or a pre-training without."""

    place: str  # data0
    method: str
    seed: int
    share: float
    folder: Path
    settings: dict[str, Any]
    curve: Curve
    scores: dict[str, Any] = field(default_factory=dict)


@dataclass
class Study:
    """Everything a report is made from."""

    folder: Path
    data: dict[str, str]  # place -> what the data set is
    names: dict[str, str]  # place -> what it is called
    methods: list[str]
    runs: list[Run]
    pretrained: list[Run]
    cells: list[dict[str, Any]]
    points: dict[tuple[str, str], tuple[Interval, float]]  # (place, method) -> points, at which ratio
    unfinished: dict[str, str]  # cell -> why

    @property
    def shares(self) -> list[float]:
        """Of all finished runs, from few labels to many."""
        return sorted({run.share for run in self.runs})

    def chosen(self, place: str, method: str, share: float) -> list[Run]:
        """Pick the finished runs of one method, seed by seed."""
        found = [run for run in self.runs if (run.place, run.method, run.share) == (place, method, share)]
        return sorted(found, key=lambda run: run.seed)


def read(folder: Path) -> Study:
    """Read a study's folder; one without any finished run is refused."""
    if not folder.is_dir():
        raise BadInput(f"there is no folder {folder}: give the --out of a `maskgym study`")
    plan = _plan(folder)
    cells = [told for file in sorted(folder.glob("cells/*.json")) if "cell" in (told := _json(file))]
    damaged: dict[str, str] = {}
    runs = list(_runs(folder, damaged))
    if not runs:
        wrong = sum(told.get("state") == "failed" for told in cells)
        failed = f" and {wrong} failed" if wrong else ""
        raise BadInput(
            f"{folder} has no finished fine-tuning{failed}: let `maskgym study` run, or give another study's --out"
        )
    seen = dict.fromkeys(run.method for run in sorted(runs, key=lambda run: (run.method != "scratch", run.method)))
    data = {run.place: str(run.scores.get("data", run.place)) for run in sorted(runs, key=lambda run: run.place)}
    planned = [method for method, _ in plan.get("methods", ())]
    methods = [*planned, *(method for method in seen if method not in planned)]
    done = {folder / told["cell"] for told in cells if told.get("state") == "finished"}
    pretrained = [
        _run(file.parent, file.parent.parent, 0.0)
        for file in sorted(folder.glob("data*/*/seed[0-9]*/pretrain/settings.json"))
        if file.parent in done
    ]
    finished = {f"{run.place}/{run.method}/seed{run.seed}/share{run.share:g}" for run in runs}
    unfinished = {
        name: why.replace(f"{folder.resolve()}/", "").replace(f"{folder}/", "")  # a page may travel, folders do not
        for name, why in (_unfinished(plan, cells, finished) | damaged).items()
    }
    points = {
        (place, method): found
        for place in data
        for method in methods
        if (found := _points(folder / place / method, [run for run in pretrained if run.method == method]))
    }
    return Study(folder, data, _names(data), methods, runs, pretrained, cells, points, unfinished)


def _names(data: dict[str, str]) -> dict[str, str]:
    """Call every data set as briefly as tells it from the others: layout, its folder, its options."""
    forms = {}
    for place, spec in data.items():
        where, _, options = spec.partition("?")
        layout, _, folder = where.partition(":")
        whole = f"{layout} {Path(folder).name}" if folder else layout
        brief = whole if layout in _MANY else layout
        forms[place] = (brief, whole, f"{whole} ({options})" if options else whole, f"{place} {whole}")
    return {
        place: next(
            (form for n, form in enumerate(own) if [other[n] for other in forms.values()].count(form) == 1), own[-1]
        )
        for place, own in forms.items()
    }


def _runs(folder: Path, damaged: dict[str, str]) -> Iterator[Run]:
    for file in sorted(folder.glob("data*/*/seed[0-9]*/share[0-9]*/scores.json")):
        try:
            run = _run(file.parent, file.parent.parent, float(file.parent.name.removeprefix("share")), _json(file))
        except ValueError:
            continue
        if _sound(run.scores):
            yield run
        else:
            damaged[file.parent.relative_to(folder).as_posix()] = "its scores.json is damaged"


def _sound(scores: dict[str, Any]) -> bool:
    """Whether there is a table of measures for at least one patient."""
    patients = scores.get("patients")
    return isinstance(patients, dict) and bool(patients) and all(isinstance(one, dict) for one in patients.values())


def _run(folder: Path, seed: Path, share: float, scores: dict[str, Any] | None = None) -> Run:
    number, method, place = int(seed.name.removeprefix("seed")), seed.parent.name, seed.parent.parent.name
    return Run(place, method, number, share, folder, _json(folder / "settings.json"), _curve(folder), scores or {})


def _curve(folder: Path) -> Curve:
    try:
        with (folder / "metrics.csv").open(newline="") as file:
            return [_numbers(row) for row in csv.DictReader(file)]
    except OSError:
        return []


def _numbers(row: dict[str, str]) -> dict[str, float]:
    """What a row holds; the last one of a run that was killed may be cut."""
    known = {}
    for name, value in row.items():
        try:
            known[name] = float(value)
        except (TypeError, ValueError):
            continue
    return known


def _json(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _plan(folder: Path) -> dict[str, Any]:
    """What study.toml planned, where it is there."""
    try:
        told = tomllib.loads((folder / "study.toml").read_text())
        methods = [(str(one.get("name") or one.get("recipe")), bool(one.get("recipe"))) for one in told["method"]]
        count = len(told["data"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {"count": count, "methods": methods, "seeds": told.get("seeds", [0]), "shares": told.get("shares", [0.1])}


def _unfinished(plan: dict[str, Any], cells: list[dict[str, Any]], finished: set[str]) -> dict[str, str]:
    """Every fine-tuning that was planned or tried and has no scores, and every other cell that failed."""
    said = {told["cell"]: told for told in cells if told.get("state") != "finished"}
    names = [
        f"data{place}/{method}/seed{seed}/share{share:g}"
        for place in range(plan.get("count", 0))
        for method, _ in plan["methods"]
        for seed in plan["seeds"]
        for share in plan["shares"]
    ]
    missing = {}
    for name in dict.fromkeys([*said, *names]):
        if name not in finished:
            error = said.get(name, {}).get("error") or [WAITING]
            missing[name] = str(error[-1] if isinstance(error, list) and error else error)
    return missing


def _points(folder: Path, pretrained: list[Run]) -> tuple[Interval, float] | None:
    """Points of a method's agent: at the ratio it pre-trained with, or the highest that was played."""
    agent = next((str(run.settings.get("agent", "")) for run in pretrained), "")
    wanted = next((str(run.settings.get("ratio", "")) for run in pretrained), "")
    files = sorted([*folder.glob("score/*.json"), *folder.glob("seed*/score/*.json")])
    found = [told for file in files if (told := _played(_json(file), agent, wanted))]
    if not found:
        return None
    value, low, high = (sum(interval[:3][part] for interval, _ in found) / len(found) for part in range(3))
    return Interval(value, low, high), found[0][1]


def _played(scored: dict[str, Any], agent: str, wanted: str) -> tuple[Interval, float] | None:
    """One agent's points in what `maskgym score` wrote; random and variance are in it whoever was scored."""
    try:
        lines = [line for line in scored.get("lines", []) if line["mode"] == "deterministic"]
        names = list(dict.fromkeys(line["agent"] for line in lines))
        own = agent if agent in names else next(name for name in names if name not in ("random", "variance"))
        ratios = sorted(line["ratio"] for line in lines if line["agent"] == own)
        ratio = next((ratio for ratio in ratios if f"{ratio:g}" == wanted), ratios[-1])
        line = next(line for line in lines if (line["agent"], line["ratio"]) == (own, ratio))
        known = [line["points"][name] for name in ("value", "low", "high")]
    except (KeyError, TypeError, IndexError, StopIteration):
        return None
    value, low, high = (math.nan if value is None else value for value in known)
    return Interval(value, low, high), ratio
