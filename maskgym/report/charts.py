"""The charts of a report as SVG: one colour a method throughout, small enough to stand side by side, light or dark."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from maskgym.benchmark.statistics import Interval


class Theme(NamedTuple):
    """What text, quiet text, rules and the paper look like."""

    ink: str
    quiet: str
    rule: str
    paper: str


LIGHT = Theme("#1f2430", "#666d7d", "#dfe2ea", "#ffffff")
DARK = Theme("#e4e6ec", "#9aa1b2", "#343a48", "#14171e")
_SCRATCH, _RANDOM = "#a0764a", "#8b91a1"
_COLOURS = (
    *("#c2385a", "#2f7fc1", "#e08a1e", "#3a9b6b", "#8a5fc0"),
    *("#1ba0a8", "#c75fa6", "#7a8f1f", "#d4593a", "#5566d6"),
)
_STAGES = ("#8b91a1", "#e0a95c", "#8a5fc0", "#2f7fc1", "#3a9b6b", "#c2385a", "#1ba0a8")
_MARKS = "osD^vP*Xph"
_WIDTH = 4.6  # inches
_RC: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "svg.hashsalt": "maskgym",  # the same drawing every day
    "text.parse_math": False,  # a data set may be called money$
}

Line = tuple[np.ndarray, np.ndarray]  # x and y
Palette = Mapping[str, str]


def colours(methods: Sequence[str]) -> dict[str, str]:
    """Give every method its colour, the two that others are compared with always the same."""
    others = [method for method in methods if method not in ("scratch", "random")]
    return {"scratch": _SCRATCH, "random": _RANDOM} | {
        method: _COLOURS[place % len(_COLOURS)] for place, method in enumerate(others)
    }


def limits(rows: Sequence[Interval]) -> tuple[float, float]:
    """The stretch that all of them need, 0 in it: charts that stand side by side share it."""
    ends = [end for row in rows for end in row[:3] if np.isfinite(end)] + [0.0]
    room = 0.06 * ((max(ends) - min(ends)) or 1.0)
    return min(ends) - room, max(ends) + room


def forest(
    title: str, rows: Mapping[str, Interval], palette: Palette, x_label: str, x: tuple[float, float], theme: Theme
) -> bytes:
    """Draw a value and its interval for each method, one below the other; filled where the interval leaves 0 out."""
    with _drawing(title, 0.95 + 0.27 * len(rows), theme) as (out, panel):
        for place, (method, interval) in enumerate(rows.items()):
            colour, ends = palette[method], [interval.low, interval.high]
            panel.plot(ends, [place, place], color=colour, lw=2.2, solid_capstyle="round")
            face = colour if interval.leaves_out() else theme.paper
            panel.plot(interval.value, place, "o", color=colour, ms=6, mfc=face, mew=1.6)
        panel.axvline(0, color=theme.ink, lw=0.9, zorder=0)
        panel.set_xlim(*x)
        _names(panel, rows, x_label, theme)
        panel.locator_params(axis="x", nbins=5)
    return out.getvalue()


def curves(
    title: str, lines: Mapping[str, list[Line]], palette: Palette, x_label: str, y_label: str, theme: Theme
) -> bytes:
    """Draw the mean over runs of each method's curve and, faint, from the lowest run to the highest."""
    with _drawing(title, 3.1 + 0.2 * _legend_rows(lines), theme) as (out, panel):
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
        _finish(panel, x_label, y_label, theme)
    return out.getvalue()


def steps(
    title: str,
    lines: Mapping[str, dict[float, Interval]],
    palette: Palette,
    x_label: str,
    y_label: str,
    theme: Theme,
    per_cent: bool = True,
    zero: bool = False,
) -> bytes:
    """Draw a value against a share, a step a share, methods side by side so that no whisker hides another."""
    with _drawing(title, 3.1 + 0.2 * _legend_rows(lines), theme) as (out, panel):
        shares = sorted({share for line in lines.values() for share in line})
        for number, (method, line) in enumerate(lines.items()):
            shift = 0.5 * ((number + 0.5) / len(lines) - 0.5)
            there = [share for share in shares if share in line]
            x = np.array([shares.index(share) for share in there]) + shift
            y = np.array([line[share][:3] for share in there])
            style = "--" if method == "scratch" else "-"
            panel.plot(x, y[:, 0], style, color=palette[method], lw=1.2, alpha=0.5)
            panel.vlines(x, y[:, 1], y[:, 2], color=palette[method], lw=1.6)
            panel.plot(x, y[:, 0], _MARKS[number % len(_MARKS)], color=palette[method], ms=5, label=method, ls="")
        if zero:
            panel.axhline(0, color=theme.ink, lw=0.9, zorder=0)
        panel.set_xticks(range(len(shares)), [f"{100 * x:.4g} %" if per_cent else f"{x:g}" for x in shares])
        _finish(panel, x_label, y_label, theme)
    return out.getvalue()


def scatter(
    title: str,
    spots: Mapping[str, tuple[Interval, Interval]],
    palette: Palette,
    x_label: str,
    y_label: str,
    theme: Theme,
) -> bytes:
    """Draw one value of each method against another, both with their intervals."""
    with _drawing(title, 3.1 + 0.2 * _legend_rows(spots), theme) as (out, panel):
        for number, (method, (x, y)) in enumerate(spots.items()):
            colour = palette[method]
            panel.plot([x.low, x.high], [y.value, y.value], color=colour, lw=1, alpha=0.7)
            panel.plot([x.value, x.value], [y.low, y.high], color=colour, lw=1, alpha=0.7)
            panel.plot(x.value, y.value, _MARKS[number % len(_MARKS)], color=colour, ms=7, label=method, ls="")
        _finish(panel, x_label, y_label, theme)
    return out.getvalue()


def stacked(
    title: str, rows: Mapping[str, Mapping[str, float]], stages: Sequence[str], x_label: str, theme: Theme
) -> bytes:
    """Draw what each method's stages cost, one after the other."""
    with _drawing(title, 1.1 + 0.27 * len(rows), theme) as (out, panel):
        left = np.zeros(len(rows))
        for number, stage in enumerate(stages):
            wide = np.array([row.get(stage, 0.0) for row in rows.values()])
            colour = _STAGES[number % len(_STAGES)]
            panel.barh(range(len(rows)), wide, 0.62, left=left, color=colour, label=stage)
            left += wide
        _names(panel, rows, x_label, theme)
    return out.getvalue()


@contextmanager
def _drawing(title: str, height: float, theme: Theme) -> Iterator[tuple[io.BytesIO, Any]]:
    """Lend an empty panel; what was drawn is written as text that names no address and does not change by the day."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    out = io.BytesIO()
    with rc_context(_RC):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        panel = figure.add_subplot()
        panel.patch.set_alpha(0)
        panel.set_title(title, loc="left", fontsize=10, fontweight="bold", color=theme.ink)
        panel.tick_params(length=0, labelcolor=theme.ink)
        panel.spines[:].set_visible(False)
        panel.set_axisbelow(True)
        yield out, panel
        handles, names = panel.get_legend_handles_labels()
        if names:
            how = {"frameon": False, "labelcolor": theme.ink, "handlelength": 1.6, "columnspacing": 1.2}
            figure.legend(handles, names, loc="outside lower left", ncols=_columns(names), **how)
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", metadata=metadata)


def _names(panel: Any, rows: Mapping[str, Any], x_label: str, theme: Theme) -> None:
    """Name the rows, the first on top."""
    panel.set_yticks(range(len(rows)), list(rows))
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.set_xlabel(x_label, color=theme.quiet)
    panel.grid(axis="x", color=theme.rule, lw=0.8)


def _finish(panel: Any, x_label: str, y_label: str, theme: Theme) -> None:
    panel.set_xlabel(x_label, color=theme.quiet)
    panel.set_ylabel(y_label, color=theme.quiet)
    panel.grid(color=theme.rule, lw=0.8)


def _legend_rows(lines: Mapping[str, Any]) -> int:
    return -(-len(lines) // _columns(list(lines)))


def _columns(names: Sequence[str]) -> int:
    return max(1, min(5, 330 // (6 * max(map(len, names), default=1) + 30)))  # points
