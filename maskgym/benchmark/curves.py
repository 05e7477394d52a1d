"""Curves: points while agents train, against env steps and seconds; and points against queries, all agents at once."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maskgym.benchmark import leaderboard, par, plots, results, statistics, tables
from maskgym.benchmark.par import NamedPar
from maskgym.benchmark.players import labels
from maskgym.benchmark.results import MODES, Result
from maskgym.benchmark.statistics import Interval
from maskgym.envs.registry import IDS
from maskgym.envs.task import Settings, Task
from maskgym.errors import BadInput

MEASURES = {"points": "points on val", "above random": "reward above random masks on val, %"}
AXES = {"env_steps": "env steps", "seconds": "seconds of training"}
_PLACES = 60  # of a curve
_WHOLE = re.compile(r"[?&][\w.]+=\d+(?=&|$)|, \d+ queries$")  # a setting with a whole number, as a rule queries


class Run(NamedTuple):
    """One training, as its folder tells it."""

    agent: str
    settings: dict[str, Any]
    seed: int
    at: dict[str, np.ndarray]  # by axis: (n,) where it was evaluated
    measured: np.ndarray  # (n,)


Lines = dict[str, tuple[np.ndarray, list[Interval]]]  # by agent: where, and how good


def read_run(folder: Path, measure: str) -> Run:
    """Read what `maskgym train` left of one run."""
    try:
        told = json.loads((folder / "settings.json").read_text())
        with (folder / "metrics.csv").open(newline="") as file:
            evaluated = [row for row in csv.DictReader(file) if row.get(measure)]
        at = {axis: np.array([float(row[axis]) for row in evaluated]) for axis in AXES}
        values = np.array([float(row[measure]) for row in evaluated])
        run = Run(told["agent"], told["settings"], int(told["seed"]), at, values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{folder} is no run of `maskgym train` ({type(error).__name__}: {str(error)[:60]})") from error
    if not evaluated:
        raise BadInput(f"{folder} holds no {measure!r}: train with --eval-every, or choose another --measure")
    seconds = at["seconds"]
    started_again = np.concatenate([[0.0], np.where(np.diff(seconds) < 0, seconds[:-1], 0.0)])
    at["seconds"] = seconds + np.cumsum(started_again)  # a run that went on counts from 0 again
    return run


def training(runs: Sequence[Run], axis: str) -> Lines:
    """The mean over seeds of each agent's curve, with its interval."""
    lines: Lines = {}
    for name, together in _named(runs).items():
        first, last = max(run.at[axis][0] for run in together), min(run.at[axis][-1] for run in together)
        where = np.unique(np.geomspace(max(first, 1e-9), max(last, first, 1e-9), _PLACES))
        scores = np.stack([np.interp(where, run.at[axis], run.measured) for run in together])  # (S, G)
        lines[name] = (where, [statistics.mean(scores[:, [place]]) for place in range(len(where))])
    return lines


def _named(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Group the seeds of one agent; agents of one name are told apart by the settings in which they differ."""
    named: dict[str, list[Run]] = {}
    for run in runs:
        same = [other.settings for other in runs if other.agent == run.agent]
        differ = [key for key in run.settings if any(other.get(key) != run.settings[key] for other in same)]
        options = "&".join(f"{key}={run.settings[key]}" for key in differ)
        named.setdefault(run.agent + (f"?{options}" if options else ""), []).append(run)
    for name, together in named.items():
        if len({run.seed for run in together}) < len(together):
            raise BadInput(f"two runs of {name} have one seed: they are not two runs")
    return named


def against_queries(paths: Sequence[Path]) -> dict[float, dict[str, list[tables.Line]]]:
    """The lines of scorings by ratio and family: agents that differ in a whole number only are one, as is par.

    paths: folders of `maskgym score`, or entries of the leaderboard, whose masks are played again.
    """
    lines: list[tables.Line] = []
    pars: dict[float, NamedPar] = {}
    games = set()
    about: dict[str, Any]
    for path in paths:
        if path.suffix == ".json":
            entry = leaderboard.read(path)
            scored, about = leaderboard.check(entry), {"manifest": entry.manifest, "own_par": None}
        else:
            told, about = results.read(path)
            scored = tuple(one for one in told if one.mode == MODES[0])
        game, own = about["manifest"]["game"], about.get("own_par")
        games.add((game["env"].removeprefix("maskgym:"), json.dumps(game["keywords"], sort_keys=True)))
        task = Task(
            Settings.of({**IDS[game["env"].removeprefix("maskgym:")], **game["keywords"], "split": game["split"]})
        )
        for result in scored:
            known = par.find(task, result.ratio, result.reward.shape[1], Path(own) if own else None)
            lines.append(tables.line(result, known))
            pars[result.ratio] = known
    if len(games) > 1:
        raise BadInput(f"these scorings are of {len(games)} games: draw one game at a time")
    names = labels([*dict.fromkeys(line.agent for line in lines)], brief=True)
    found: dict[float, dict[str, list[tables.Line]]] = {}
    for line in lines:
        family = found.setdefault(line.ratio, {}).setdefault(_WHOLE.sub("", names[line.agent]), [])
        at = next((place for place, other in enumerate(family) if other.queries == line.queries), len(family))
        if at == len(family) or line.runs > family[at].runs:  # of two scorings of one, that of more runs
            family[at : at + 1] = [line]
    for ratio, known in pars.items():
        found[ratio][known.name] = _search_of(known, ratio)
    return found


def _search_of(known: NamedPar, ratio: float) -> list[tables.Line]:
    """What the search for par had found after half its queries, where that was kept, and after all."""
    table = known.table
    nothing = np.full((1, len(table)), np.nan)
    return [
        tables.line(
            Result(known.name, ratio, MODES[0], (0,), reward[None], table.mask[None], nothing, nothing, spent[None]),
            known,
        )
        for reward, spent in ((table.half, table.spent / 2), (table.reward, table.spent))
        if not np.isnan(reward).any()
    ]


def draw_training(runs: Sequence[Run], measure: str, path: Path) -> str:
    """Draw measure against env steps and against seconds; gives the CSV."""
    figure = plots.new_figure(11, 4.6)
    panels = figure.subplots(1, len(AXES), sharey=True)
    rows = []
    for panel, (axis, label) in zip(panels, AXES.items(), strict=True):
        lines = training(runs, axis)
        plots.bands(panel, lines)
        plots.log_axis(panel)
        panel.set_xlabel(label)
        plots.dress(panel)
        for name, (where, line) in lines.items():
            rows += [(name, axis, f"{x:.6g}", *_told(one)) for x, one in zip(where, line, strict=True)]
    panels[0].set_ylabel(MEASURES[measure])
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, fontsize=9, loc="outside lower center", ncols=3)
    figure.suptitle("Mean over seeds; bands: 95 % intervals, below 3 runs their range", x=0.01, ha="left", fontsize=9)
    plots.save(figure, path)
    return _csv(("agent", "against", "at", measure, "low", "high", "kind", "runs"), rows)


def draw_queries(lines: Mapping[float, Mapping[str, list[tables.Line]]], path: Path) -> str:
    """Draw points against queries, a panel for each ratio; gives the CSV."""
    figure = plots.new_figure(1.5 + 6.5 * len(lines), 5.4)
    panels = figure.subplots(1, len(lines), sharey=True, squeeze=False)[0]
    rows = []
    for panel, ratio in zip(panels, sorted(lines), strict=True):
        drawn: Lines = {}
        for name, family in lines[ratio].items():
            ordered = sorted(family, key=lambda line: line.queries)
            drawn[name] = (np.array([line.queries for line in ordered]), [line.points for line in ordered])
            for line in ordered:
                stated = (f"{line.queries:.1f}", _milliseconds(line), line.track)
                rows.append((line.agent, f"{ratio:g}", *stated, *_told(line.points)))
        panel.set_xscale("symlog", linthresh=1, base=4)
        most = max(where.max() for where, _ in drawn.values())
        panel.set_xlim(-0.2, 5 * most)  # room for par's name
        panel.axhline(100, color=plots.INK, lw=1, ls=(0, (4, 3)), zorder=1)
        plots.named_points(panel, drawn)
        panel.set_title(f"{ratio:.0%} hidden", fontsize=11, color=plots.INK)
        panel.set_xlabel("queries an image")
        panel.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
        plots.dress(panel)
    panels[0].set_ylabel("points")
    figure.suptitle(
        "Whiskers: 95 % intervals over seeds and images, below 3 runs their range. Log axis from 1 on.",
        x=0.01,
        ha="left",
        fontsize=9,
    )
    plots.save(figure, path)
    return _csv(("agent", "ratio", "queries", "ms", "track", "points", "low", "high", "kind", "runs"), rows)


def _milliseconds(line: tables.Line) -> str:
    return "" if np.isnan(line.seconds) else f"{1000 * line.seconds:.3f}"


def _told(one: Interval) -> tuple[str, ...]:
    return (*(f"{value:.4f}" for value in one[:3]), one.kind, str(one.runs))


def _csv(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue()
