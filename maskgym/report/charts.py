"""The charts of a report as SVG: one colour a method throughout, small enough to stand side by side."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maskgym.benchmark.statistics import Interval

INK, QUIET, RULE = "#1f2430", "#747b8c", "#dfe2ea"  # the page puts its own in their place
_SCRATCH, _RANDOM = "#a0764a", "#8b91a1"
_COLOURS = (
    "#c2385a",
    "#2f7fc1",
    "#e08a1e",
    "#3a9b6b",
    "#8a5fc0",
    "#1ba0a8",
    "#c75fa6",
    "#7a8f1f",
    "#d4593a",
    "#5566d6",
)
_MARKS = "osD^vP*Xph"
_WIDTH = 4.6  # inches

Line = tuple[np.ndarray, np.ndarray]  # x and y


def colours(methods: Sequence[str]) -> dict[str, str]:
    """Give every method its colour, the two that others are compared with always the same."""
    others = [method for method in methods if method not in ("scratch", "random")]
    return {"scratch": _SCRATCH, "random": _RANDOM} | {
        method: _COLOURS[place % len(_COLOURS)] for place, method in enumerate(others)
    }


def forest(title: str, rows: Mapping[str, Interval], palette: Mapping[str, str], x_label: str, zero: bool) -> str:
    """Draw a figure and its interval for each method, one below the other; with `zero` a line where nothing differs."""
    figure, panel = _start(title, 0.95 + 0.27 * len(rows))
    for place, (method, interval) in enumerate(rows.items()):
        settled = zero and (interval.low > 0 or interval.high < 0)
        panel.plot([interval.low, interval.high], [place, place], color=palette[method], lw=2.2, solid_capstyle="round")
        face = palette[method] if settled or not zero else "white"
        panel.plot(interval.value, place, "o", color=palette[method], ms=6, mfc=face, mew=1.6)
    if zero:
        panel.axvline(0, color=INK, lw=0.9, zorder=0)
    panel.set_yticks(range(len(rows)), list(rows))
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.set_xlabel(x_label)
    panel.locator_params(axis="x", nbins=5)
    panel.grid(axis="x", color=RULE, lw=0.8)
    return _svg(figure)


def curves(title: str, lines: Mapping[str, list[Line]], palette: Mapping[str, str], x_label: str, y_label: str) -> str:
    """Draw the mean over seeds of each method's curve and, faint, from the lowest seed to the highest."""
    figure, panel = _start(title, 3.1 + 0.2 * _legend_rows(lines))
    for method, runs in lines.items():
        x = np.unique(np.concatenate([steps for steps, _ in runs]))
        x = x[(x >= max(steps[0] for steps, _ in runs)) & (x <= min(steps[-1] for steps, _ in runs))]
        if not len(x):
            continue
        y = np.stack([np.interp(x, steps, values) for steps, values in runs])
        style = "--" if method == "scratch" else "-"
        panel.plot(x, y.mean(0), style, color=palette[method], lw=1.8, label=method, marker="o" if len(x) == 1 else "")
        if len(y) > 1:
            panel.fill_between(x, y.min(0), y.max(0), color=palette[method], alpha=0.12, lw=0)
    _finish(panel, x_label, y_label)
    _legend(figure, panel)
    return _svg(figure)


def against_share(title: str, lines: Mapping[str, dict[float, Interval]], palette: Mapping[str, str]) -> str:
    """Draw DSC against the share of labels: a step a share, methods side by side so that no whisker hides another."""
    figure, panel = _start(title, 3.1 + 0.2 * _legend_rows(lines))
    shares = sorted({share for line in lines.values() for share in line})
    for number, (method, line) in enumerate(lines.items()):
        shift = 0.5 * ((number + 0.5) / len(lines) - 0.5)
        known = [share for share in shares if share in line]
        x = np.array([shares.index(share) for share in known]) + shift
        y = np.array([line[share] for share in known])
        panel.plot(x, y[:, 0], "--" if method == "scratch" else "-", color=palette[method], lw=1.2, alpha=0.5)
        panel.vlines(x, y[:, 1], y[:, 2], color=palette[method], lw=1.6)
        panel.plot(x, y[:, 0], _MARKS[number % len(_MARKS)], color=palette[method], ms=5, label=method, ls="")
    panel.set_xticks(range(len(shares)), [f"{share:.4g} %" for share in np.array(shares) * 100])
    _finish(panel, "labelled share of the training patients", "DSC")
    _legend(figure, panel)
    return _svg(figure)


def scatter(
    title: str, spots: Mapping[str, tuple[Interval, Interval]], palette: Mapping[str, str], y_label: str
) -> str:
    """Draw one figure of each method against another, both with their intervals."""
    figure, panel = _start(title, 3.1 + 0.2 * _legend_rows(spots))
    for number, (method, (x, y)) in enumerate(spots.items()):
        colour = palette[method]
        panel.plot([x.low, x.high], [y.value, y.value], color=colour, lw=1, alpha=0.7)
        panel.plot([x.value, x.value], [y.low, y.high], color=colour, lw=1, alpha=0.7)
        panel.plot(x.value, y.value, _MARKS[number % len(_MARKS)], color=colour, ms=7, label=method, ls="")
    _finish(panel, "points in the game (0 = chance, 100 = par)", y_label)
    _legend(figure, panel)
    return _svg(figure)


def stacked(title: str, rows: Mapping[str, Mapping[str, float]], stages: Sequence[str], x_label: str) -> str:
    """Draw what each method's stages cost, one after the other."""
    figure, panel = _start(title, 1.1 + 0.27 * len(rows))
    shades = ("#c9ced9", "#e0a95c", "#8a5fc0", "#2f7fc1", "#3a9b6b", "#c2385a")
    left = np.zeros(len(rows))
    for number, stage in enumerate(stages):
        wide = np.array([row.get(stage, 0.0) for row in rows.values()])
        panel.barh(range(len(rows)), wide, 0.62, left=left, color=shades[number % len(shades)], label=stage)
        left += wide
    panel.set_yticks(range(len(rows)), list(rows))
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.set_xlabel(x_label)
    panel.grid(axis="x", color=RULE, lw=0.8)
    panel.set_axisbelow(True)
    _legend(figure, panel)
    return _svg(figure)


def _start(title: str, height: float) -> tuple[Any, Any]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 9, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        panel = figure.add_subplot()
    figure.patch.set_alpha(0)
    panel.patch.set_alpha(0)
    panel.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
    panel.tick_params(length=0, labelcolor=INK, labelsize=9)
    panel.xaxis.label.set(color=QUIET, fontsize=9)
    panel.yaxis.label.set(color=QUIET, fontsize=9)
    for side in panel.spines.values():
        side.set_visible(False)
    return figure, panel


def _finish(panel: Any, x_label: str, y_label: str) -> None:
    panel.set_xlabel(x_label)
    panel.set_ylabel(y_label)
    panel.grid(color=RULE, lw=0.8)
    panel.set_axisbelow(True)


def _legend_rows(lines: Mapping[str, Any]) -> int:
    return -(-len(lines) // _columns(list(lines)))


def _columns(names: Sequence[str]) -> int:
    return max(1, min(5, 330 // (6 * max(map(len, names), default=1) + 30)))  # points


def _legend(figure: Any, panel: Any) -> None:
    handles, names = panel.get_legend_handles_labels()
    if names:
        how = {"frameon": False, "fontsize": 9, "labelcolor": INK, "handlelength": 1.6, "columnspacing": 1.2}
        figure.legend(handles, names, loc="outside lower left", ncols=_columns(names), **how)


def _svg(figure: Any) -> str:
    """Write a figure as text that does not change from one day to the next and names no address."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    out = io.StringIO()
    FigureCanvasSVG(figure)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "maskgym"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    drawn = out.getvalue()
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)
    return re.sub(r"'DejaVu Sans'(, *'[^']*')*(, *sans-serif)?", "'DejaVu Sans', sans-serif", drawn)
