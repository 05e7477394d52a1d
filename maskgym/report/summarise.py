"""What a report says of how well networks segment, from first glance to single regions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from maskgym.benchmark.statistics import UNKNOWN, Interval, difference, mean, probability_of_improvement
from maskgym.downstream.metrics import METRICS
from maskgym.report import charts
from maskgym.report.load import Findings, Trained, array
from maskgym.report.page import Block, Field, Gallery, Picture, Rows, Section, chart, notes, number

LOWER = ("HD95",)  # measures of which less is better
BASELINES = {"random": "random masks", "scratch": "a random start"}
_FEW = 10  # test patients, below which their draw is hardly an interval

Pick = Callable[[dict[str, Any]], float]  # a patient's measures by region -> one score
Palette = dict[str, str]


class Gap(NamedTuple):
    """One method against another, on the same patients under the same seeds."""

    difference: Interval
    improvement: Interval
    pairs: str


def per_cent(share: float) -> str:
    """0.1 is 10 %, on one line."""
    return f"{100 * share:.4g}\N{NO-BREAK SPACE}%"


def of_region(region: str, metric: str) -> Pick:
    """Pick one measure of one region."""
    return lambda table: _float(table.get(region, {}).get(metric))


def over_regions(table: dict[str, Any]) -> float:
    """DSC's mean over the regions in which it is defined."""
    defined = [value for region in table.values() if not np.isnan(value := _float(region.get("DSC")))]
    return float(np.mean(defined)) if defined else float("nan")


def reached(runs: list[Trained], pick: Pick = over_regions) -> Interval:
    """Mean over seeds and patients."""
    values, *_ = array(runs, pick)
    return mean(values) if values.size and not np.isnan(values).all() else UNKNOWN


def gap_of(ours: list[Trained], theirs: list[Trained], pick: Pick = over_regions) -> Gap | None:
    """Compare pair by pair; None where they have no seed or no patient in common."""
    sides = [array(runs, pick) for runs in (ours, theirs)]
    seeds = [seed for seed in sides[0][1] if seed in sides[1][1]]
    patients = [patient for patient in sides[0][2] if patient in sides[1][2]]
    a, b = (
        values[np.ix_([of.index(seed) for seed in seeds], [whose.index(one) for one in patients])]
        for values, of, whose in sides
    )
    if not a.size or np.isnan(a - b).all():
        return None
    return Gap(difference(a, b, paired_seeds=True), probability_of_improvement(a, b), f"{len(seeds)} x {len(patients)}")


def baseline(found: Findings, runs: list[Trained], kind: str) -> list[Trained]:
    """Find the runs that these are compared with: random masks or no pre-training, of the same network."""
    for method in sorted(found.study.methods, key=lambda method: method.name != kind) if runs else []:
        agent = found.study.agent_of(method).partition("?")[0] if method.recipe else ""
        if agent != ("random" if kind == "random" else ""):
            continue
        theirs = found.chosen(runs[0].job.place, method.name, runs[0].job.share)
        if theirs and theirs[0].scores.get("network") == runs[0].scores.get("network"):
            return theirs
    return []


def glance(found: Findings, palette: Palette) -> Section:
    """DSC of everything in one table, and who differs from random masks."""
    columns = [(place, share) for place in found.names for share in found.shares if _any(found, place, share)]
    table = {
        (method, *column): reached(found.chosen(column[0], method, column[1]))
        for method in found.methods
        for column in columns
    }
    best = {column: _best([table[method, *column] for method in found.methods], "DSC") for column in columns}
    rows = tuple(
        (Field(method), *(number(one := table[method, *column], bold=one.value == best[column]) for column in columns))
        for method in found.methods
    )
    where = {column: f"{found.names[column[0]]}, {per_cent(column[1])} of the labels" for column in columns}
    caption = "Mean DSC on the test patients, mean of all regions, by data set and share of labels. Bold: highest mean."
    blocks: list[Block] = [Rows(caption, ("method", *where.values()), rows)]
    for kind, told in BASELINES.items():
        gaps = {column: _gaps(found, *column, kind) for column in columns}
        said = tuple(f"{where[column]}: {_said(told, gaps[column])}." for column in columns if gaps[column])
        blocks += [notes(*said)] if kind == "random" and said else []
        x = charts.limits([gap for rows in gaps.values() for gap in rows.values()])
        pictures = tuple(
            chart(
                f"{kind}-{place}-{share:g}",
                f"{where[place, share]}: DSC above {told}",
                charts.forest,
                *(where[place, share], ours, palette, f"DSC above {told}", x),
            )
            for (place, share), ours in gaps.items()
            if ours
        )
        if pictures:
            caption = f"DSC above {told}: paired differences and 95 % intervals; filled where they leave 0 out."
            blocks.append(Gallery(caption, pictures, folded=kind == "scratch"))
    return Section("At a glance", 2, blocks)


def data_set(found: Findings, place: str, palette: Palette) -> list[Section]:
    """Say what the methods reached on one data set."""
    runs = [run for run in found.tuned if run.job.place == place]
    tables = [table for run in runs for table in run.scores["patients"].values()]
    regions = list(dict.fromkeys(region for table in tables for region in table))
    patients = {tuple(run.scores["patients"]) for run in runs}
    counts = " or ".join(str(count) for count in sorted({len(one) for one in patients}))
    told = [f"{counts} test patients; regions: {', '.join(regions)}."]
    if max(len(one) for one in patients) < _FEW:
        told.append("So few patients say little about others: the true uncertainty is larger than these intervals.")
    if len({str(run.scores.get("split")) for run in runs}) > 1 or len(patients) > 1:
        told.append("Runs used different splits: means are of different patients, differences of common ones.")
    sections = [Section(found.names[place], 2, [notes(" ".join(told)), *_overview(found, place, palette)])]
    for share in found.shares:
        if _any(found, place, share):
            sections.append(_share(found, place, share, regions))
    return sections


def _share(found: Findings, place: str, share: float, regions: list[str]) -> Section:
    by_method = {method: runs for method in found.methods if (runs := found.chosen(place, method, share))}
    labelled = sorted({len(run.scores.get("labelled", ())) for runs in by_method.values() for run in runs})
    blocks: list[Block] = []
    for region in regions:
        blocks += [_means(by_method, region), *_differences(found, by_method, region)]
    blocks += _slices(by_method, regions)
    if share == min(run.job.share for run in found.tuned if run.job.place == place):
        pictures = tuple(
            Picture(f"example-{place}-{share:g}-{method}", f"{method}, seed {runs[0].job.seed}: test patients", file)
            for method, runs in by_method.items()
            if (file := runs[0].folder / "predictions.png").exists()
        )
        caption = "Predictions on test patients from the lowest DSC to the highest: image, truth, prediction."
        blocks += [Gallery(caption, pictures, folded=True)] if pictures else []
    said = f" ({' or '.join(map(str, labelled))} patient{'' if labelled == [1] else 's'})" if labelled != [0] else ""
    told = f"{per_cent(share)} of the labels"
    return Section(f"{found.names[place]}, {told}{said}", 3, blocks, told)


def _means(by_method: dict[str, list[Trained]], region: str) -> Rows:
    """Method by measure, and how many scores were not defined."""
    values = {
        method: {metric: array(runs, of_region(region, metric))[0] for metric in METRICS}
        for method, runs in by_method.items()
    }
    means = {
        method: {metric: UNKNOWN if np.isnan(one).all() else mean(one) for metric, one in row.items()}
        for method, row in values.items()
    }
    best = {metric: _best([row[metric] for row in means.values()], metric) for metric in METRICS}
    rows = []
    for method, row in means.items():
        fields = [number(row[metric], _digits(metric), row[metric].value == best[metric]) for metric in METRICS]
        size = " x ".join(map(str, values[method]["DSC"].shape))
        counts = {metric: int(np.isnan(one).sum()) for metric, one in values[method].items()}
        usual = Counter(counts.values()).most_common(1)[0][0]
        others = ", ".join(f"{metric} {count}" for metric, count in counts.items() if count != usual)
        rows.append((Field(method), *fields, Field(size), Field(str(usual), f"({others})" if others else "")))
    units = {str(run.scores.get("distances_in", "")) for runs in by_method.values() for run in runs} - {""}
    unit = f" HD95 in {' or '.join(sorted(units))}, less is better." if units else " HD95: less is better."
    caption = f"{region}: mean over seeds and patients, with 95 % interval.{unit} Bold: best mean of the column."
    names = [f"{metric}\N{NO-BREAK SPACE}↓" if metric in LOWER else metric for metric in METRICS]
    return Rows(caption, ("method", *names, "seeds x patients", "left out"), tuple(rows))


def _differences(found: Findings, by_method: dict[str, list[Trained]], region: str) -> list[Block]:
    """DSC against random masks and a random start."""
    rows, compared = [], 0
    for method, runs in by_method.items():
        fields = []
        for kind in BASELINES:
            theirs = baseline(found, runs, kind)
            same = bool(theirs) and theirs[0].job.method == method
            gap = gap_of(runs, theirs, of_region(region, "DSC")) if theirs and not same else None
            if gap is None:
                fields += [Field("itself" if same else "-"), Field("-"), Field("-")]
                continue
            compared += 1
            fields.append(number(gap.difference, 3, gap.difference.leaves_out(), sign=True))
            fields += [number(gap.improvement, 2), Field(gap.pairs)]
        rows.append((Field(method), *fields))
    parts = ("DSC above {}", "P(better than {})", "pairs (seeds x patients)")
    headings = [part.format(told) for told in BASELINES.values() for part in parts]
    caption = (
        f"{region}: paired differences in DSC, same patients and seeds, and how likely a run beats one of the other on "
        "a patient. Bold: the interval leaves 0 out."
    )
    return [Rows(caption, ("method", *headings), tuple(rows))] if compared else []


def _slices(by_method: dict[str, list[Trained]], regions: list[str]) -> list[Block]:
    """The mean over single slices, as some papers report it; left out where every patient is one slice."""
    tables: list[Block] = []
    for region in regions:
        rows, repeats = [], True
        for method, runs in by_method.items():
            told = [run.scores["per_slice"].get(region, {}) for run in runs if run.scores.get("per_slice")]
            if not told:
                continue
            values = {name: np.array([[_float(table.get(name))] for table in told]) for name in METRICS}
            means = {name: UNKNOWN if np.isnan(one).all() else mean(one) for name, one in values.items()}
            by_patient = reached(runs, of_region(region, "DSC")).value
            repeats = repeats and bool(np.isclose(means["DSC"].value, by_patient, equal_nan=True))
            fields = [number(means[metric], _digits(metric)) for metric in METRICS]
            rows.append((Field(method), *fields, Field(str(len(told)))))
        if rows and not repeats:
            caption = (
                f"{region}, per slice: mean over single slices, not over patients; the interval is over runs alone. "
                "Not to be compared with the tables above."
            )
            tables.append(Rows(caption, ("method", *METRICS, "runs"), tuple(rows), folded=True))
    return tables


def _overview(found: Findings, place: str, palette: Palette) -> list[Block]:
    """DSC against the share of labels, and how it was learned."""
    pictures, name = [], found.names[place]
    lines: dict[str, dict[float, Interval]] = {}
    for method in found.methods:
        for share in found.shares:
            if runs := found.chosen(place, method, share):
                lines.setdefault(method, {})[share] = reached(runs)
    if len({share for line in lines.values() for share in line}) > 1:
        told = ("DSC against labels, test patients", lines, palette, "labelled share of the training patients", "DSC")
        pictures.append(chart(f"shares-{place}", f"{name}: DSC against the share of labels", charts.steps, *told))
    for share in found.shares:
        learned = {method: _learned(found.chosen(place, method, share)) for method in found.methods}
        learned = {method: runs for method, runs in learned.items() if runs}
        if learned:
            title = f"Val DSC while fine-tuning, {per_cent(share)}"
            more = (title, learned, palette, "optimiser steps", "DSC of the val patients")
            pictures.append(chart(f"learning-{place}-{share:g}", f"{name}: {title}", charts.curves, *more))
    caption = "Mean over runs; bands reach from the lowest run to the highest, whiskers are 95 % intervals."
    return [Gallery(caption, tuple(pictures))] if pictures else []


def _learned(runs: list[Trained]) -> list[charts.Line]:
    rows = [[(row["step"], row["val DSC"]) for row in run.curve if {"step", "val DSC"} <= row.keys()] for run in runs]
    return [(np.array(one)[:, 0], np.array(one)[:, 1]) for one in rows if one]


def _gaps(found: Findings, place: str, share: float, kind: str) -> dict[str, Interval]:
    """How far every method lies above its baseline."""
    gaps: dict[str, Interval] = {}
    for method in found.methods:
        ours = found.chosen(place, method, share)
        theirs = baseline(found, ours, kind)
        if ours and theirs and theirs[0].job.method != method and (gap := gap_of(ours, theirs)):
            gaps[method] = gap.difference
    return gaps


def _said(told: str, gaps: dict[str, Interval]) -> str:
    """Say who differs."""
    above = [f"{name} ({gap.value:+.3f})" for name, gap in gaps.items() if gap.leaves_out() and gap.value > 0]
    below = [f"{name} ({gap.value:+.3f})" for name, gap in gaps.items() if gap.leaves_out() and gap.value < 0]
    parts = [f"{word} {told}: {', '.join(names)}" for word, names in (("above", above), ("below", below)) if names]
    left = [name for name, gap in gaps.items() if not gap.leaves_out()]
    return "; ".join([*parts, *([f"not settled: {', '.join(left)}"] if left else [])])


def _best(column: list[Interval], metric: str) -> float:
    values = [one.value for one in column if one.value == one.value]
    return (min if metric in LOWER else max)(values) if len(values) > 1 else float("nan")


def _digits(metric: str) -> int:
    return 1 if metric in LOWER else 3


def _any(found: Findings, place: str, share: float) -> bool:
    return any((run.job.place, run.job.share) == (place, share) for run in found.tuned)


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
