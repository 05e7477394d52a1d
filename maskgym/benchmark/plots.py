"""The bar chart of a scoring: points of every agent with their intervals, a panel for each ratio."""

from __future__ import annotations

from pathlib import Path

from maskgym.benchmark.score import MODES
from maskgym.benchmark.table import Scores
from maskgym.errors import BadInput

_INK, _QUIET = "#1f2430", "#8a90a0"
_FILLED, _EMPTY = "#bc3754", "#e9b7c2"  # deterministic, sampled


def draw(scores: Scores, path: Path) -> None:
    """Write the chart as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    ratios = list(scores.pars)
    agents = list(dict.fromkeys(line.agent for line in scores.lines))
    middle = ratios[-1]
    by = {(line.agent, line.ratio, line.mode): line.points for line in scores.lines}
    agents.sort(key=lambda agent: by[agent, middle, MODES[0]].value)
    height = 1.5 + 0.42 * len(agents)
    figure = Figure(figsize=(2.0 + 3.6 * len(ratios), height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(ratios), sharey=True, squeeze=False)[0]
    for panel, ratio in zip(panels, ratios, strict=True):
        for mode, colour, shift, thick in ((MODES[1], _EMPTY, -0.2, 0.34), (MODES[0], _FILLED, 0.14, 0.42)):
            for row, agent in enumerate(agents):
                interval = by[agent, ratio, mode]
                if interval.value != interval.value:  # no par above chance: no points
                    continue
                panel.barh(row + shift, interval.value, thick, color=colour, zorder=2)
                ends = [[max(0.0, interval.value - interval.low)], [max(0.0, interval.high - interval.value)]]
                panel.errorbar(interval.value, row + shift, xerr=ends, color=_INK, lw=1.2, capsize=2, zorder=3)
                if mode == MODES[0]:
                    far = max(interval.high, interval.value, 0)
                    panel.annotate(
                        f"{interval.value:.0f}",
                        (far, row + shift),
                        xytext=(5, 0),
                        textcoords="offset points",
                        va="center",
                        fontsize=9,
                        color=_INK,
                    )
        panel.axvline(100, color=_INK, lw=1, ls=(0, (4, 3)), zorder=1)
        panel.axvline(0, color=_INK, lw=1, zorder=1)
        panel.set_title(f"{ratio:.0%} hidden", fontsize=11, color=_INK)
        panel.set_xlim(min(0, min(i.low for i in by.values() if i.low == i.low)) - 4, 118)
        panel.set_xticks([0, 25, 50, 75, 100], ["chance", "25", "50", "75", "par"])
        panel.set_yticks(range(len(agents)), [_short(agent) for agent in agents])
        panel.grid(axis="x", color="#e6e8ee", zorder=0)
        panel.tick_params(length=0, colors=_INK)
        for side in panel.spines.values():
            side.set_visible(False)
    about = scores.about
    title = f"Points on {about['env'].removeprefix('maskgym:')}: {about['images']} {about['split']} images"
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=_INK)
    handles = [Patch(color=_FILLED, label="deterministic"), Patch(color=_EMPTY, label="sampled")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    panels[0].set_xlabel(
        "whiskers: 95 % interval over seeds and images; below 3 runs their range", fontsize=8, color=_QUIET
    )
    try:
        figure.savefig(path, dpi=160, facecolor="white")
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}; choose another --out") from error


def _short(spec: str) -> str:
    """A spec without its folder, so that labels stay short."""
    where, mark, options = spec.partition("?")
    return where.partition(":")[0] + mark + options
