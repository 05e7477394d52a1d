"""What a report says of how well networks segment, from first glance to single regions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from maskgym.agent_spec import name_of
from maskgym.benchmark.statistics import Interval, difference, mean, probability_of_improvement
from maskgym.downstream.metrics import METRICS
from maskgym.report import charts
from maskgym.report.load import Findings, Measured, Runs, array, tested
from maskgym.report.page import Block, Field, Section, chart, gallery, notes, number, table
from maskgym.report.pictures import Picture
from maskgym.studies.results import mean_of_regions, measure

LOWER = ("HD95",)  # measures of which less is better
BASELINES = {"random": "random masks", "scratch": "a random start"}
_FEW = 10  # test patients, below which their draw is hardly an interval

Pick = Callable[[dict[str, Any]], float]  # a patient's measures by region -> one score
ByMethod = dict[str, Runs]
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
    return lambda table: measure(table.get(region, {}).get(metric))


def of_all(metric: str) -> Pick:
    """Pick one measure, the mean over regions."""
    return lambda table: mean_of_regions(table, metric)


def reached(runs: Runs, pick: Pick) -> Interval:
    """Mean over seeds and patients."""
    return mean(array(runs, pick)[0])


def gap_of(ours: Runs, theirs: Runs, pick: Pick) -> Gap | None:
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
    pairs = _size(tested(ours) & tested(theirs), a.shape)
    return Gap(difference(a, b, paired_seeds=True), probability_of_improvement(a, b), pairs)


def _size(tests: set[tuple[int, str]], shape: tuple[int, ...]) -> str:
    """Count seeds and patients; in folds a seed tests a part of the patients."""
    of = " x ".join(map(str, shape))
    return of if len(tests) == shape[0] * shape[1] else f"{len(tests)} of {of}"


def baseline(found: Findings, by_method: ByMethod, method: str, kind: str) -> str:
    """Name the method that one is compared with: random masks or no pre-training, of the same network; or nobody."""
    for other in sorted(found.study.methods, key=lambda other: other.name != kind):
        agent = name_of(found.study.agent_of(other)) if other.recipe else ""
        if agent == ("random" if kind == "random" else "") and other.name in by_method:
            networks = [by_method[name][0].scores.get("network") for name in (method, other.name)]
            if networks[0] == networks[1]:
                return other.name
    return ""


def glance(found: Findings, palette: Palette) -> Section:
    """What everything reached, in one table, and who differs from random masks."""
    by = found.measured.by
    where = {(place, share): f"{found.names[place]}, {per_cent(share)} of the labels" for place, share in found.columns}
    means = {
        column: {method: reached(runs, of_all(by)) for method, runs in by_method.items()}
        for column, by_method in found.columns.items()
    }
    rows = [[Field(method), *(_marked(column, method, by) for column in means.values())] for method in found.methods]
    of = "images" if found.measured.grades else "patients, mean of all regions"
    caption = f"Mean {by} on the test {of}, by data set and share of labels. Bold: highest mean."
    blocks = table(caption, ("method", *where.values()), rows)
    for kind, told in BASELINES.items():
        gaps = {column: _gaps(found, by_method, kind) for column, by_method in found.columns.items()}
        gaps = {column: ours for column, ours in gaps.items() if ours}
        said = [f"{where[column]}: {_said(told, ours)}." for column, ours in gaps.items()]
        blocks += notes(*said) if kind == "random" else []
        x = charts.limits([gap for ours in gaps.values() for gap in ours.values()])
        above = f"{by} above {told}"
        pictures = [
            chart(f"{kind}-{column[0]}-{column[1]:g}", f"{name}: {above}", charts.forest, name, ours, palette, above, x)
            for column, ours in gaps.items()
            for name in [where[column]]
        ]
        caption = f"{above}: paired differences and 95 % intervals; filled where they leave 0 out."
        blocks += gallery(caption, pictures, folded=kind == "scratch")
    return Section("At a glance", 2, blocks)


def data_set(found: Findings, place: str, palette: Palette) -> list[Section]:
    """Say what the methods reached on one data set."""
    shares = {share: by_method for (where, share), by_method in found.columns.items() if where == place}
    runs = [run for by_method in shares.values() for one in by_method.values() for run in one]
    regions = list(dict.fromkeys(name for run in runs for one in run.scores["patients"].values() for name in one))
    patients = {tuple(run.scores["patients"]) for run in runs}
    if found.measured.grades:
        each, of = {int(run.scores.get("images", 0)) for run in runs}, "images, graded"
    else:
        each, of = {len(one) for one in patients}, f"patients; regions: {', '.join(regions)}"
    counts = " or ".join(map(str, sorted(each)))
    told, everybody = [f"{counts} test {of}."], set().union(*patients)
    if not found.measured.grades and len(everybody) < _FEW:
        told.append("So few patients say little about others: the true uncertainty is larger than these intervals.")
    if folds := found.study.folds:
        there = len({found.study.fold(run.job.seed) for run in runs})
        told.append(f"Each seed has its own of {folds} folds; {there} of them are in, with {len(everybody)} patients.")
    elif len({str(run.scores.get("split")) for run in runs}) > 1 or len(patients) > 1:
        told.append("Runs used different splits: means are of different patients, differences of common ones.")
    overview = _overview(found.names[place], place, shares, palette, found.measured)
    sections = [Section(found.names[place], 2, notes(" ".join(told)) + overview)]
    for share, by_method in shares.items():
        blocks: list[Block] = []
        for region in regions:
            blocks += _means(by_method, region, found.measured.metrics) + _differences(found, by_method, region)
        blocks += _slices(by_method, regions)
        blocks += _examples(f"example-{place}-{share:g}", by_method) if share == min(shares) else []
        labelled = sorted({len(run.scores.get("labelled", ())) for one in by_method.values() for run in one})
        count = f" ({' or '.join(map(str, labelled))} patient{'' if labelled == [1] else 's'})"
        said = f"{per_cent(share)} of the labels"
        title = f"{found.names[place]}, {said}{count if labelled != [0] else ''}"
        sections.append(Section(title, 3, blocks, said))
    return sections


def _examples(name: str, by_method: ByMethod) -> list[Block]:
    pictures = [
        Picture(f"{name}-{method}", f"{method}, seed {runs[0].job.seed}: test patients", file)
        for method, runs in by_method.items()
        if (file := runs[0].folder / "predictions.png").exists()
    ]
    caption = "Predictions on test patients from the lowest DSC to the highest: image, truth, prediction."
    return gallery(caption, pictures, folded=True)


def _means(by_method: ByMethod, region: str, metrics: tuple[str, ...]) -> list[Block]:
    """Method by measure, and how many scores were not defined; what nobody measured has no column."""
    every = {
        metric: {method: array(runs, of_region(region, metric))[0] for method, runs in by_method.items()}
        for metric in metrics
    }
    values = {
        metric: column
        for metric, column in every.items()
        if metric == metrics[0] or any(not np.isnan(one).all() for one in column.values())
    }
    means = {metric: {method: mean(one) for method, one in column.items()} for metric, column in values.items()}
    rows: list[list[Field | str]] = []
    for method in by_method:
        tests = tested(by_method[method])
        counts = {metric: len(tests) - int((~np.isnan(column[method])).sum()) for metric, column in values.items()}
        usual = Counter(counts.values()).most_common(1)[0][0]
        others = ", ".join(f"{metric} {count}" for metric, count in counts.items() if count != usual)
        size = _size(tests, values[metrics[0]][method].shape)
        fields = [_marked(column, method, metric) for metric, column in means.items()]
        rows.append([method, *fields, size, Field(str(usual), f"({others})" if others else "")])
    units = {str(run.scores.get("distances_in", "")) for runs in by_method.values() for run in runs} - {""}
    unit = f" in {' or '.join(sorted(units))}" if units else ""
    unit = f" HD95{unit}: less is better." if "HD95" in values else ""
    caption = f"{region}: mean over seeds and patients, with 95 % interval.{unit} Bold: best mean of the column."
    names = [f"{metric}\N{NO-BREAK SPACE}↓" if metric in LOWER else metric for metric in values]
    return table(caption, ("method", *names, "seeds x patients", "left out"), rows)


def _differences(found: Findings, by_method: ByMethod, region: str) -> list[Block]:
    """The first measure against random masks and a random start."""
    by = found.measured.by
    rows, compared = [], 0
    for method, runs in by_method.items():
        fields: list[Field | str] = [method]
        for kind in BASELINES:
            other = baseline(found, by_method, method, kind)
            own = other == method
            gap = gap_of(runs, by_method[other], of_region(region, by)) if other and not own else None
            compared += gap is not None
            if gap is None:
                fields += ["itself" if own else "-", "-", "-"]
            else:
                fields += [number(gap.difference, 3, gap.difference.leaves_out(), sign=True)]
                fields += [number(gap.improvement, 2), gap.pairs]
        rows.append(fields)
    parts = (f"{by} above {{}}", "P(better than {})", "pairs (seeds x patients)")
    headings = [part.format(told) for told in BASELINES.values() for part in parts]
    caption = (
        f"{region}: paired differences in {by}, same patients and seeds, and how likely a run beats one of the other "
        "on a patient. Bold: the interval leaves 0 out."
    )
    return table(caption, ("method", *headings), rows) if compared else []


def _slices(by_method: ByMethod, regions: list[str]) -> list[Block]:
    """The mean over single slices, as some papers report it; left out where every patient is one slice."""
    tables: list[Block] = []
    for region in regions:
        rows: list[list[Field | str]] = []
        repeats = True
        for method, runs in by_method.items():
            told = [run.scores["per_slice"].get(region, {}) for run in runs if run.scores.get("per_slice")]
            if told:
                means = {name: mean(np.array([[measure(one.get(name))] for one in told])) for name in METRICS}
                by_patient = reached(runs, of_region(region, "DSC")).value
                repeats = repeats and bool(np.isclose(means["DSC"].value, by_patient, equal_nan=True))
                rows.append([method, *(number(means[name], _digits(name)) for name in METRICS), str(len(told))])
        caption = (
            f"{region}, per slice: mean over single slices, not over patients; the interval is over runs alone. "
            "Not to be compared with the tables above."
        )
        tables += [] if repeats else table(caption, ("method", *METRICS, "runs"), rows, folded=True)
    return tables


def _overview(
    name: str, place: str, shares: dict[float, ByMethod], palette: Palette, measured: Measured
) -> list[Block]:
    """What was reached against the share of labels, and how it was learned."""
    pictures = []
    if len(shares) > 1:
        lines: dict[str, dict[float, Interval]] = {method: {} for by_method in shares.values() for method in by_method}
        for share, by_method in shares.items():
            for method, runs in by_method.items():
                lines[method][share] = reached(runs, of_all(measured.by))
        title, x = f"{measured.by} against the share of labels, test", "labelled share of the training patients"
        told = (title, lines, palette, x, measured.by)
        pictures.append(chart(f"shares-{place}", f"{name}: {title}", charts.steps, *told))
    for share, by_method in shares.items():
        learned = {method: curves for method, runs in by_method.items() if (curves := _learned(runs, measured.val))}
        title = f"Val {measured.val} while fine-tuning, {per_cent(share)}"
        more = (title, learned, palette, "optimiser steps", f"{measured.val} on val")
        if learned:
            pictures.append(chart(f"learning-{place}-{share:g}", f"{name}: {title}", charts.curves, *more))
    caption = "Mean over runs; bands reach from the lowest run to the highest, whiskers are 95 % intervals."
    return gallery(caption, pictures)


def _learned(runs: Runs, by: str) -> list[charts.Line]:
    val = f"val {by}"
    rows = [[(row["step"], row[val]) for row in run.curve if {"step", val} <= row.keys()] for run in runs]
    return [(np.array(one)[:, 0], np.array(one)[:, 1]) for one in rows if one]


def _gaps(found: Findings, by_method: ByMethod, kind: str) -> dict[str, Interval]:
    """How far every method lies above its baseline."""
    gaps: dict[str, Interval] = {}
    for method, runs in by_method.items():
        other = baseline(found, by_method, method, kind)
        if other not in ("", method) and (gap := gap_of(runs, by_method[other], of_all(found.measured.by))):
            gaps[method] = gap.difference
    return gaps


def _said(told: str, gaps: dict[str, Interval]) -> str:
    """Say who differs."""
    settled = {name: gap.value for name, gap in gaps.items() if gap.leaves_out()}
    parts = {
        f"above {told}": [f"{name} ({value:+.3f})" for name, value in settled.items() if value > 0],
        f"below {told}": [f"{name} ({value:+.3f})" for name, value in settled.items() if value < 0],
        "not settled": [name for name in gaps if name not in settled],
    }
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in parts.items() if names)


def _marked(column: dict[str, Interval], method: str, metric: str) -> Field:
    """A method's field of a column of means, bold where none is better."""
    if method not in column:
        return Field("-")
    values = [one.value for one in column.values() if one.value == one.value]
    best = (min if metric in LOWER else max)(values) if len(values) > 1 else None
    return number(column[method], _digits(metric), bold=column[method].value == best)


def _digits(metric: str) -> int:
    return 1 if metric in LOWER else 3
