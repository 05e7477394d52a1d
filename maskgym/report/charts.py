"""The charts of a report as SVG: one colour a method throughout, small enough to stand side by side, light or dark."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np

from maskgym.benchmark.statistics import Interval
from maskgym.drawing import FAINT, INK, LINES, PAPER, RANDOM, RULE, SCRATCH, web


class Theme(NamedTuple):
    """The colours of a page and its charts, but for those of the methods."""

    ink: str
    quiet: str
    rule: str
    paper: str
    shade: str
    link: str
    edge: str


LIGHT = Theme(web(INK), web(FAINT), web(RULE), web(PAPER), "#f6f7fa", "#2f5fb3", "#1f243030")
DARK = Theme("#e4e6ec", "#9aa1b2", "#343a48", "#14171e", "#1c2029", "#8db4ff", "#00000090")
_MARKS = "osD^vP*Xph"
_WIDTH = 4.6  # inches
_RC: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "svg.hashsalt": "maskgym",  # the same drawing every day
    "text.parse_math": False,  # a data set may be called money$
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": LIGHT.ink,
    "axes.titlecolor": LIGHT.ink,
    "xtick.labelcolor": LIGHT.ink,
    "ytick.labelcolor": LIGHT.ink,
    "axes.labelcolor": LIGHT.quiet,
    "grid.color": LIGHT.rule,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
}

Line = tuple[np.ndarray, np.ndarray]  # x and y
Palette = Mapping[str, str]


def colours(methods: Sequence[str]) -> dict[str, str]:
    """Give every method its colour, the two that others are compared with always the same."""
    others = [method for method in methods if method not in ("scratch", "random")]
    return {"scratch": web(SCRATCH), "random": web(RANDOM)} | dict(zip(others, cycle(map(web, LINES)), strict=False))


def in_the_dark(svg: bytes) -> bytes:
    """Change a chart's colours to those of a dark page."""
    for light, dark in zip(LIGHT[:4], DARK[:4], strict=True):
        svg = svg.replace(light.encode(), dark.encode())
    return svg


def limits(rows: Sequence[Interval]) -> tuple[float, float]:
    """The stretch that all of them need, 0 in it: charts that stand side by side share it."""
    ends = [end for row in rows for end in row[:3] if np.isfinite(end)] + [0.0]
    room = 0.06 * ((max(ends) - min(ends)) or 1.0)
    return min(ends) - room, max(ends) + room


def forest(title: str, rows: Mapping[str, Interval], palette: Palette, x_label: str, x: tuple[float, float]) -> bytes:
    """Draw a value and its interval for each method, one below the other; filled where the interval leaves 0 out."""
    with _drawing(title, 0.95 + 0.27 * len(rows), x_label, rows=rows) as (out, panel):
        for place, (method, interval) in enumerate(rows.items()):
            colour = palette[method]
            panel.plot(interval[1:3], [place, place], color=colour, lw=2.2, solid_capstyle="round")
            face = colour if interval.leaves_out() else LIGHT.paper
            panel.plot(interval.value, place, "o", color=colour, ms=6, mfc=face, mew=1.6)
        panel.axvline(0, color=LIGHT.ink, lw=0.9, zorder=0)
        panel.set_xlim(*x)
        panel.locator_params(axis="x", nbins=5)
    return out.getvalue()


def curves(title: str, lines: Mapping[str, list[Line]], palette: Palette, x_label: str, y_label: str) -> bytes:
    """Draw the mean over runs of each method's curve and, faint, from the lowest run to the highest."""
    with _drawing(title, 3.1, x_label, y_label, legend=lines) as (out, panel):
        for method, runs in lines.items():
            x = np.unique(np.concatenate([steps for steps, _ in runs]))
            x = x[(x >= max(steps[0] for steps, _ in runs)) & (x <= min(steps[-1] for steps, _ in runs))]
            if not len(x):
                continue
            y = np.stack([np.interp(x, steps, values) for steps, values in runs])
            style = {"ls": "--" if method == "scratch" else "-", "marker": "o" if len(x) == 1 else ""}
            panel.plot(x, y.mean(0), color=palette[method], lw=1.8, label=method, **style)
            if len(y) > 1:
                panel.fill_between(x, y.min(0), y.max(0), color=palette[method], alpha=0.12, lw=0)
    return out.getvalue()


def steps(
    title: str,
    lines: Mapping[str, dict[float, Interval]],
    palette: Palette,
    x_label: str,
    y_label: str,
    per_cent: bool = True,
    zero: bool = False,
) -> bytes:
    """Draw a value against a share, a step a share, methods side by side so that no whisker hides another."""
    with _drawing(title, 3.1, x_label, y_label, legend=lines) as (out, panel):
        shares = sorted({share for line in lines.values() for share in line})
        for (number, (method, line)), mark in zip(enumerate(lines.items()), cycle(_MARKS), strict=False):
            colour, shift = palette[method], 0.5 * ((number + 0.5) / len(lines) - 0.5)
            x = np.array([shares.index(share) for share in shares if share in line]) + shift
            y, low, high = np.array([line[share][:3] for share in shares if share in line]).T
            panel.plot(x, y, "--" if method == "scratch" else "-", color=colour, lw=1.2, alpha=0.5)
            panel.vlines(x, low, high, color=colour, lw=1.6)
            panel.plot(x, y, mark, color=colour, ms=5, label=method, ls="")
        if zero:
            panel.axhline(0, color=LIGHT.ink, lw=0.9, zorder=0)
        panel.set_xticks(range(len(shares)), [f"{100 * x:.4g} %" if per_cent else f"{x:g}" for x in shares])
    return out.getvalue()


def scatter(
    title: str, spots: Mapping[str, tuple[Interval, Interval]], palette: Palette, x_label: str, y_label: str
) -> bytes:
    """Draw one value of each method against another, both with their intervals."""
    with _drawing(title, 3.1, x_label, y_label, legend=spots) as (out, panel):
        for (method, (x, y)), mark in zip(spots.items(), cycle(_MARKS), strict=False):
            panel.plot([x.low, x.high], [y.value, y.value], color=palette[method], lw=1, alpha=0.7)
            panel.plot([x.value, x.value], [y.low, y.high], color=palette[method], lw=1, alpha=0.7)
            panel.plot(x.value, y.value, mark, color=palette[method], ms=7, label=method, ls="")
    return out.getvalue()


def stacked(title: str, rows: Mapping[str, Mapping[str, float]], stages: Sequence[str], x_label: str) -> bytes:
    """Draw what each method's stages cost, one after the other."""
    with _drawing(title, 1.1 + 0.27 * len(rows), x_label, rows=rows) as (out, panel):
        left = np.zeros(len(rows))
        for stage, colour in zip(stages, cycle((FAINT, *LINES)), strict=False):
            wide = np.array([row.get(stage, 0.0) for row in rows.values()])
            panel.barh(range(len(rows)), wide, 0.62, left=left, color=web(colour), label=stage)
            left += wide
    return out.getvalue()


@contextmanager
def _drawing(
    title: str, height: float, x_label: str, y_label: str = "", rows: Sequence[str] | Any = (), legend: Any = ()
) -> Iterator[tuple[io.BytesIO, Any]]:
    """Lend an empty panel; what was drawn is written as text that names no address and does not change by the day.

    rows: names of rows, the first on top. legend: names that will stand below, where room is left for them.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    out = io.BytesIO()
    with rc_context(_RC):
        height += 0.2 * -(-len(legend) // _columns(legend))
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        panel = figure.add_subplot()
        panel.set(title=title, xlabel=x_label, ylabel=y_label)
        panel.grid(visible=not rows, axis="y")
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        yield out, panel
        if rows:
            panel.set_yticks(range(len(rows)), list(rows))
            panel.set_ylim(len(rows) - 0.4, -0.6)
        handles, names = panel.get_legend_handles_labels()
        if names:
            figure.legend(handles, names, loc="outside lower left", ncols=_columns(names))
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))


def _columns(names: Iterable[str]) -> int:
    return max(1, min(5, 330 // (6 * max(map(len, names), default=1) + 30)))  # points
