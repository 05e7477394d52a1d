"""The pictures of a scoring: bars of points with their intervals, and curves of points against what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import isotonic_regression

from maskgym import drawing
from maskgym.benchmark.players import labels
from maskgym.benchmark.results import MODES
from maskgym.benchmark.statistics import Interval
from maskgym.benchmark.tables import Scores
from maskgym.drawing import web
from maskgym.errors import BadInput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, GRID = web(drawing.INK), web(drawing.RULE)
COLOURS = [*map(web, drawing.LINES), web(drawing.FAINT), web(drawing.SCRATCH)]
_FILLED, _EMPTY = COLOURS[1], web((246, 208, 179))  # deterministic, sampled


def bars(scores: Scores, path: Path) -> None:
    """Write a bar chart: an agent a row, a panel for each ratio."""
    from matplotlib.patches import Patch

    ratios = list(scores.pars)
    by = {(line.agent, line.ratio, line.mode): line.points for line in scores.lines}
    agents = [line.agent for line in reversed(scores.of(ratios[-1]))]
    figure = new_figure(2.0 + 3.6 * len(ratios), 1.5 + 0.42 * len(agents))
    panels = figure.subplots(1, len(ratios), sharey=True, squeeze=False)[0]
    lows = [one.low for one in by.values() if one.low == one.low]
    for panel, ratio in zip(panels, ratios, strict=True):
        for mode, colour, shift, thick in ((MODES[1], _EMPTY, -0.2, 0.34), (MODES[0], _FILLED, 0.14, 0.42)):
            for row, agent in enumerate(agents):
                one = by[agent, ratio, mode]
                if one.value != one.value:  # no par above random masks: no points
                    continue
                panel.barh(row + shift, one.value, thick, color=colour, zorder=2)
                panel.errorbar(one.value, row + shift, xerr=ends(one), color=INK, lw=1.2, capsize=2, zorder=3)
                if mode == MODES[0]:
                    place = (max(one.high, one.value, 0), row + shift)
                    how = {"textcoords": "offset points", "va": "center", "fontsize": 9, "color": INK}
                    panel.annotate(f"{one.value:.0f}", place, xytext=(5, 0), **how)
        panel.axvline(100, color=INK, lw=1, ls=(0, (4, 3)), zorder=1)
        panel.axvline(0, color=INK, lw=1, zorder=1)
        panel.set_title(f"{ratio:.0%} hidden", fontsize=11, color=INK)
        panel.set_xlim(min([0, *lows]) - 4, 118)
        panel.set_xticks([0, 25, 50, 75, 100], ["random", "25", "50", "75", "par"])
        panel.set_yticks(range(len(agents)), [plain_text(name) for name in labels(agents).values()])
        dress(panel, "x")
        panel.spines[:].set_visible(False)
    game = scores.manifest["game"]
    title = f"Points on {game['env']}: {scores.pars[ratios[0]]['images']} {game['split']} images"
    figure.suptitle(plain_text(title), x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    handles = [Patch(color=_FILLED, label="deterministic"), Patch(color=_EMPTY, label="sampled")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    panels[0].set_xlabel("whiskers: 95 % intervals over seeds and images; below 3 runs their range", fontsize=8)
    save(figure, path)


def bands(panel: Any, lines: Mapping[str, tuple[np.ndarray, list[Interval]]]) -> None:
    """Draw a line for each name, its interval a band; a single point gets whiskers; dashed where colours come close."""
    for place, ((name, (x, line)), colour) in enumerate(zip(lines.items(), cycle(COLOURS), strict=False)):
        value, low, high = np.array([one[:3] for one in line]).T
        label = plain_text(f"{name}, {line[0].runs} run{'s' * (line[0].runs != 1)}")
        if len(x) == 1:
            panel.errorbar(
                x, value, yerr=[value - low, high - value], fmt="o", ms=6, color=colour, label=label, capsize=3
            )
            continue
        style = {"marker": "o" if len(x) < 12 else "", "ls": "-" if place < 4 else "--"}
        panel.plot(x, value, ms=4, lw=2, color=colour, label=label, **style)
        panel.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)


def named_points(panel: Any, lines: Mapping[str, tuple[np.ndarray, list[Interval]]]) -> None:
    """Draw points with whiskers, joined where a name has several, each name written beside its last one."""
    names: list[tuple[float, float, str, str]] = []  # x and value of the last point, name, colour
    for (name, (x, line)), colour in zip(lines.items(), cycle(COLOURS), strict=False):
        value, low, high = np.array([one[:3] for one in line]).T
        panel.errorbar(x, value, yerr=[value - low, high - value], fmt="-o", ms=5, lw=1.6, color=colour, capsize=2)
        names.append((x[-1], value[-1], name, colour))
    columns: list[list[tuple[float, float, str, str]]] = []  # names that might be written over each other
    for one in sorted(names):
        if columns and one[0] <= 8 * columns[-1][-1][0]:
            columns[-1].append(one)
        else:
            columns.append([one])
    for column in columns:
        there = sorted(column, key=lambda one: one[1])
        for (end, _, name, colour), height in zip(there, _apart([last for _, last, *_ in there], 3.6), strict=True):
            how = {"textcoords": "offset points", "va": "center", "fontsize": 8.5, "color": colour}
            behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
            panel.annotate(plain_text(name), (end, height), xytext=(9, 0), bbox=behind, zorder=1.5, **how)


def _apart(heights: list[float], gap: float) -> np.ndarray:
    """Move sorted heights apart until neighbours stand `gap` from each other, as little as can be."""
    steps = gap * np.arange(len(heights))
    return isotonic_regression(np.array(heights) - steps).x + steps


def new_figure(wide: float, tall: float) -> Figure:
    """Make a figure that needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide, tall), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def log_axis(panel: Any) -> None:
    """Lay values out by their logarithm, with ticks at 1, 2, 5, 10, ... in plain figures."""
    from matplotlib.ticker import LogLocator, NullFormatter

    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter(lambda x, _: f"{x:,g}" if x < 1e5 else f"{x:,.0f}")
    panel.xaxis.set_minor_formatter(NullFormatter())


def dress(panel: Any, axis: str = "both") -> None:
    """Give a panel the house's looks."""
    panel.grid(axis=axis, color=GRID, zorder=0)
    panel.set_axisbelow(True)
    panel.tick_params(length=0, colors=INK)
    panel.spines[["top", "right"]].set_visible(False)


def ends(interval: Interval) -> list[list[float]]:
    """The lengths of an error bar's two arms."""
    return [[max(0.0, interval.value - interval.low)], [max(0.0, interval.high - interval.value)]]


def plain_text(text: str) -> str:
    """Text as it stands: a dollar sign begins no formula."""
    return text.replace("$", r"\$")


def save(figure: Figure, path: Path) -> None:
    """Write a PNG."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=160, facecolor="white", format="png")
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}; choose another --out") from error
