"""Draw the points of trainings against the masks they paid for: python docs/curves.py RUN... --out picture.png

A run is a folder that `maskgym train` wrote. Runs of one agent share a colour: a thin line each, a thick one for their
mean. A table in Markdown says after how many masks each run first stood at a level.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

_LEVELS = (30, 40, 50, 60, 70)
_COLOURS = ("#bc3754", "#1f6f8b", "#e0a030", "#5b7f3b", "#7a5195", "#8a90a0")
_INK = "#1f2430"

Curve = tuple[np.ndarray, np.ndarray]  # (n,) masks, (n,) the measure


def read(folder: Path, measure: str) -> tuple[str, Curve]:
    """Read a run's label and its looks at the val split."""
    settings = json.loads((folder / "settings.json").read_text())
    with (folder / "metrics.csv").open(newline="") as file:
        looks = [(int(row["env_steps"]), float(row[measure])) for row in csv.DictReader(file) if row[measure]]
    if not looks:
        raise SystemExit(
            f"{folder} holds no {measure!r}: train with --judge-every, and `maskgym par --split val` before"
        )
    masks, values = np.array(sorted(looks)).T
    return label(settings), (masks, values)


def label(settings: dict[str, Any]) -> str:
    """Name an agent, with its policy where it has the choice."""
    policy = settings["settings"].get("policy")
    return settings["agent"] + (f"?policy={policy}" if policy else "")


def mean(curves: list[Curve]) -> Curve:
    """Take the mean of runs, as far as all of them go, at the masks of the first."""
    end = min(masks[-1] for masks, _ in curves)
    start = max(masks[0] for masks, _ in curves)
    masks = curves[0][0]
    masks = masks[(masks >= start) & (masks <= end)]
    return masks, np.mean([np.interp(masks, *curve) for curve in curves], 0)


def reached(curve: Curve, level: float) -> float:
    """Masks at the first look that stood at a level, or infinity."""
    masks, values = curve
    return float(masks[values >= level][0]) if (values >= level).any() else float("inf")


def table(runs: dict[str, list[Curve]], levels: tuple[int, ...] = _LEVELS) -> str:
    """Say in Markdown after how many masks every run stood at each level, and where it ended."""
    rows = ["| agent | " + " | ".join(f"to {level}" for level in levels) + " | at the end |"]
    rows.append("|---|" + "---:|" * (len(levels) + 1))
    for name, curves in runs.items():
        cells = [", ".join(_thousands(reached(curve, level)) for curve in curves) for level in levels]
        cells.append(", ".join(f"{values[-1]:.1f} ({masks[-1]:,.0f})" for masks, values in curves))
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _thousands(masks: float) -> str:
    return "never" if masks == float("inf") else f"{masks:,.0f}"


def draw(runs: dict[str, list[Curve]], measure: str, path: Path) -> None:
    """Write the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    for (name, curves), colour in zip(runs.items(), _COLOURS, strict=False):
        for curve in curves:
            panel.plot(*curve, color=colour, lw=1.0, alpha=0.55)
        many = f"{len(curves)} run" + ("s" if len(curves) > 1 else "")
        panel.plot(*mean(curves), color=colour, lw=2.4, label=f"{name}, {many}")
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(lambda masks, _: f"{masks:,.0f}")
    panel.set_xlabel("masks paid for (environment steps)")
    panel.set_ylabel("points" if measure == "points" else "reward above random masks, %")
    panel.set_ylim(bottom=min(0, panel.get_ylim()[0]))
    panel.set_title("Val split, each agent's best masks", loc="left", fontsize=11, color=_INK)
    panel.grid(color="#e6e8ee", which="both", lw=0.6)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    panel.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=130, facecolor="white")


def main() -> None:
    """Read, print the table, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--measure", choices=("points", "above random"), default="points", help="column of metrics.csv")
    asked = parser.parse_args()
    runs: dict[str, list[Curve]] = {}
    for folder in asked.runs:
        name, curve = read(folder, asked.measure)
        runs.setdefault(name, []).append(curve)
    draw(runs, asked.measure, asked.out)
    print(table(runs))


if __name__ == "__main__":
    main()
