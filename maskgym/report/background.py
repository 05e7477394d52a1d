"""What stands behind the figures: times, settings, versions, what is not finished, how to read it all."""

from __future__ import annotations

import platform
from collections import Counter, defaultdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from maskgym.report import charts
from maskgym.report.blocks import Block, Cell, Gallery, Picture, Section, Table, text
from maskgym.report.read import WAITING, Study

_AXES = ("data", "seed", "split_file", "out", "weights", "label_share")  # what a study varies by itself
_VERSIONS = ("maskgym", "torch", "monai", "numpy", "gymnasium", "stable-baselines3", "lightning-fabric")
_ORDER = ("split", "reconstructor", "policy", "par", "score", "pretrain", "finetune")


def times(study: Study) -> Section:
    """What each stage of each method cost, by the clock, for one cell."""
    spent: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for told in study.cells:
        parts = str(told["cell"]).split("/")
        method = parts[1] if len(parts) > 1 and parts[1] in study.methods else "all methods"
        if told.get("state") == "finished" and isinstance(told.get("seconds"), int | float):
            spent[method][str(told.get("kind", "other"))].append(float(told["seconds"]))
    stages = {stage for row in spent.values() for stage in row}
    ordered = sorted(stages, key=lambda stage: (_ORDER.index(stage) if stage in _ORDER else -1, stage))
    methods = [method for method in [*study.methods, "all methods"] if method in spent]
    if not methods:
        return Section("Time", 2)
    means = {method: {stage: float(np.mean(spent[method][stage])) for stage in spent[method]} for method in methods}
    rows = tuple(
        (
            Cell(method),
            *(
                Cell(_clock(means[method][stage]), f"x {len(spent[method][stage])}")
                if stage in spent[method]
                else Cell("-")
                for stage in ordered
            ),
            Cell(_clock(sum(sum(seconds) for seconds in spent[method].values()))),
        )
        for method in methods
    )
    caption = (
        "Mean time of a cell by stage, and how many cells; the last column is the sum of all. Start-up is part of it; "
        "cells that ran side by side slowed each other down. All methods: what several use is made once."
    )
    scale, unit = (60.0, "minutes") if max(sum(row.values()) for row in means.values()) > 120 else (1.0, "seconds")
    bars = {method: {stage: value / scale for stage, value in means[method].items()} for method in methods}
    chart = charts.stacked("One seed, one label share", bars, ordered, unit)
    gallery = Gallery("Mean time of each stage.", (Picture("times", "Mean time of each stage by method", chart),))
    return Section("Time", 2, [Table(caption, ("method", *ordered, "all cells"), rows), gallery])


def _clock(seconds: float) -> str:
    """90 is 1 min 30 s."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s"
    return (
        f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )


def settings(study: Study) -> Section:
    """What all runs share, and where methods differ."""
    blocks: list[Block] = []
    for title, runs in (("pre-training", study.pretrained), ("fine-tuning", study.runs)):
        told: dict[str, dict[str, set[str]]] = {}
        for run in runs:
            for key, value in _flat(run.settings).items():
                if key not in _AXES:
                    told.setdefault(key, {}).setdefault(run.method, set()).add(value)
        methods = [method for method in study.methods if any(run.method == method for run in runs)]
        if not told:
            continue
        same = {key: next(iter(values)) for key, row in told.items() if len(values := set().union(*row.values())) == 1}
        same = {key: value for key, value in same.items() if set(told[key]) == set(methods)}
        differ = [key for key in told if key not in same]
        if differ:
            rows = tuple(
                (Cell(method), *(Cell(" or ".join(sorted(told[key].get(method, {"-"}))) or "-") for key in differ))
                for method in methods
            )
            blocks.append(Table(f"Settings of {title} in which methods differ.", ("method", *differ), rows, words=True))
        rows = tuple((Cell(key), Cell(value or "-")) for key, value in same.items())
        if rows:
            blocks.append(Table(f"Settings of {title} that all share.", ("setting", "value"), rows, True, words=True))
    return Section("Settings", 2, [*blocks, _versions(study)])


def _versions(study: Study) -> Block:
    """Versions as the cells noted them, else those that wrote this report."""
    noted: dict[str, set[str]] = defaultdict(set)
    for told in study.cells:
        versions = told.get("versions")
        for name, value in versions.items() if isinstance(versions, dict) else ():
            noted[name].add(str(value))
    if noted:
        return text("Versions: " + ", ".join(f"{name} {' or '.join(sorted(one))}" for name, one in noted.items()) + ".")
    found = [f"{name} {number}" for name in _VERSIONS if (number := _installed(name))]
    own = f"Versions: Python {platform.python_version()}, {', '.join(found)}."
    return text(own + " The cells note none: these are of the machine that wrote the report.")


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _flat(settings: dict[str, Any], before: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{before}{key}.")
        elif isinstance(value, str) and value.startswith("/"):
            flat[before + key] = Path(value).name  # where it lay on the machine says nothing to a reader
        else:
            flat[before + key] = "" if value is None or value == {} else str(value)
    return flat


def unfinished(study: Study) -> Section:
    """Name what is missing."""
    waiting = Counter(name.rpartition("/seed")[0] for name, why in study.unfinished.items() if why == WAITING)
    rows = [(Cell(name), Cell(why)) for name, why in study.unfinished.items() if why != WAITING]
    rows += [(Cell(f"{name}, {count} cell{'s' * (count > 1)}"), Cell(WAITING)) for name, count in waiting.items()]
    table = Table("Cells without a result, and why.", ("cell", "why"), tuple(rows), words=True)
    return Section("Not finished", 2, [table])


def how_made(study: Study) -> Section:
    """How to read the figures, and what they cannot say."""
    seeds = sorted({run.seed for run in study.runs})
    told = [
        "A mean is the mean over seeds of each run's mean over the test patients. Its 95 % interval takes both seeds "
        "and patients as samples (two-way analysis of variance, Student's t). With one or two seeds there is no "
        "interval: the lowest and the highest run are shown.",
        "Slices of a patient were stacked and measured as one volume. Scores that are not defined (nothing there and "
        "nothing said to be there) are left out of the mean and counted in the last column.",
        "Differences are paired: the same seeds and patients on both sides, and the same network. The "
        "intervals are not corrected for how many there are.",
        "P(better) is the probability of improvement of Agarwal et al. (2021): how often a run of the one beats a run "
        "of the other on a patient, ties counting half, meaned over patients; 0.5 is no difference.",
    ]
    if len(seeds) == 1:
        told.append("There is one seed: the intervals say nothing about how runs differ.")
    return Section("How the figures were made", 2, [text(*told)])
