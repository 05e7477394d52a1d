"""The section of one data set: tables for each share and region, differences, curves, pictures."""

from __future__ import annotations

from collections import Counter

import numpy as np

from maskgym.benchmark.statistics import Interval
from maskgym.downstream.metrics import METRICS
from maskgym.report import charts
from maskgym.report.blocks import Block, Cell, Gallery, Picture, Section, Table, figure, text
from maskgym.report.compare import LOWER, Scores, baseline, difference, gather, mean, of_region, over_regions
from maskgym.report.read import Run, Study

_FEW = 10  # test patients, below which their draw is hardly an interval


def per_cent(share: float) -> str:
    """0.1 is 10 %, on one line."""
    return f"{100 * share:.4g}\N{NO-BREAK SPACE}%"


def data_set(study: Study, place: str, palette: dict[str, str]) -> list[Section]:
    """Say what the methods reached on one data set."""
    name, runs = study.names[place], [run for run in study.runs if run.place == place]
    regions = list(
        dict.fromkeys(region for run in runs for table in run.scores["patients"].values() for region in table)
    )
    patients = {tuple(run.scores["patients"]) for run in runs}
    counts = " or ".join(str(count) for count in sorted({len(one) for one in patients}))
    told = [f"{counts} test patients; regions: {', '.join(regions)}."]
    if max(len(one) for one in patients) < _FEW:
        told.append("So few patients say little about others: take the intervals for the least that is open.")
    if len({str(run.scores.get("split")) for run in runs}) > 1 or len(patients) > 1:
        told.append(
            "Runs of this data set used different splits: means are of different patients, differences of common ones."
        )
    sections = [Section(name, 2, [text(" ".join(told)), *_overview(study, place, palette)])]
    for share in study.shares:
        if any(run.share == share for run in runs):
            sections.append(_share(study, place, share, regions))
    return sections


def _share(study: Study, place: str, share: float, regions: list[str]) -> Section:
    by_method = {method: found for method in study.methods if (found := study.chosen(place, method, share))}
    labelled = sorted({len(run.scores.get("labelled", ())) for runs in by_method.values() for run in runs})
    blocks: list[Block] = []
    for region in regions:
        blocks.append(_means(by_method, region))
        blocks += _differences(study, by_method, region)
    blocks += _slices(by_method, regions)
    if share == min(run.share for run in study.runs if run.place == place):
        blocks += _examples(by_method, place, share)
    said = f" ({' or '.join(map(str, labelled))} patient{'' if labelled == [1] else 's'})" if labelled != [0] else ""
    told = f"{per_cent(share)} of the labels"
    return Section(f"{study.names[place]}, {told}{said}", 3, blocks, told)


def _means(by_method: dict[str, list[Run]], region: str) -> Table:
    """Method by measure, and how many scores were not defined."""
    scores = {
        method: {metric: gather(runs, of_region(region, metric)) for metric in METRICS}
        for method, runs in by_method.items()
    }
    found = {method: {metric: mean(one) for metric, one in row.items()} for method, row in scores.items()}
    best = {metric: _best([row[metric] for row in found.values()], metric) for metric in METRICS}
    rows = []
    for method, row in found.items():
        digits = {metric: 1 if metric in LOWER else 3 for metric in METRICS}
        cells = [figure(row[metric], digits[metric], row[metric].value == best[metric]) for metric in METRICS]
        known = scores[method]["DSC"]
        size = Cell(f"{len(known.seeds)} x {len(known.patients)}")
        rows.append((Cell(method), *cells, size, _left_out(scores[method])))
    units = sorted({str(run.scores.get("distances_in", "")) for runs in by_method.values() for run in runs} - {""})
    unit = f" HD95 in {' or '.join(units)}, less is better." if units else " HD95: less is better."
    caption = f"{region}: mean over seeds and patients, with 95 % interval.{unit} Bold: best mean of the column."
    names = [f"{metric}\N{NO-BREAK SPACE}↓" if metric in LOWER else metric for metric in METRICS]
    return Table(caption, ("method", *names, "seeds x patients", "left out"), tuple(rows))


def _best(column: list[Interval], metric: str) -> float:
    known = [one.value for one in column if one.value == one.value]
    return (min if metric in LOWER else max)(known) if len(column) > 1 and known else float("nan")


def _left_out(scores: dict[str, Scores]) -> Cell:
    """How many scores are not defined for most measures, and for which it is another number."""
    counts = {metric: int(np.isnan(one.values).sum()) for metric, one in scores.items()}
    usual = Counter(counts.values()).most_common(1)[0][0]
    others = [f"{metric} {count}" for metric, count in counts.items() if count != usual]
    return Cell(str(usual), f"({', '.join(others)})" if others else "")


def _differences(study: Study, by_method: dict[str, list[Run]], region: str) -> list[Block]:
    """DSC and HD95 against random masks and a random start."""
    kinds = (("random", "random masks"), ("scratch", "scratch"))
    rows, compared = [], 0
    for method, runs in by_method.items():
        cells = []
        for kind, _ in kinds:
            theirs = baseline(study, runs, kind)
            same = bool(theirs) and theirs[0].method == method
            found = None
            if theirs and not same:
                found = difference(gather(runs, of_region(region, "DSC")), gather(theirs, of_region(region, "DSC")))
            if found is None:
                cells += [Cell("itself" if same else "-"), Cell("-"), Cell("-")]
                continue
            compared += 1
            settled = found.gap.low > 0 or found.gap.high < 0
            size = Cell(f"{found.seeds} x {found.patients}")
            cells += [figure(found.gap, 3, settled, sign=True), figure(found.improvement, 2), size]
        rows.append((Cell(method), *cells))
    headings = [
        part
        for _, told in kinds
        for part in (f"DSC above {told}", f"P(better than {told})", "pairs (seeds x patients)")
    ]
    caption = (
        f"{region}: paired differences in DSC, same patients and seeds, and how likely a run beats one of the other on "
        "a patient. Bold: the interval leaves 0 out."
    )
    return [Table(caption, ("method", *headings), tuple(rows))] if compared else []


def _slices(by_method: dict[str, list[Run]], regions: list[str]) -> list[Block]:
    """The mean over single slices, as some papers report it; runs do not keep single slices, so only seeds vary."""
    tables: list[Block] = []
    for region in regions:
        rows = []
        for method, runs in by_method.items():
            told = [run.scores["per_slice"].get(region, {}) for run in runs if run.scores.get("per_slice")]
            if not told:
                continue
            values = {
                metric: np.array([[np.nan if (one := table.get(metric)) is None else one] for table in told], float)
                for metric in METRICS
            }
            cells = [
                figure(mean(Scores(values[metric], (), ())), 1 if metric in LOWER else 3)
                if len(told) > 1
                else Cell(_plain(float(values[metric][0, 0]), metric))
                for metric in METRICS
            ]
            rows.append((Cell(method), *cells, Cell(str(len(told)))))
        if rows:
            caption = (
                f"{region}, per slice: mean over single slices, not over patients; the interval is over seeds alone. "
                "Not to be compared with the tables above."
            )
            tables.append(Table(caption, ("method", *METRICS, "seeds"), tuple(rows), folded=True))
    return tables


def _plain(value: float, metric: str) -> str:
    return "-" if value != value else f"{value:.{1 if metric in LOWER else 3}f}"


def _examples(by_method: dict[str, list[Run]], place: str, share: float) -> list[Block]:
    """Predictions of one seed, the same for every method where it can be."""
    pictures = []
    for method, runs in by_method.items():
        run = next((run for run in runs if (run.folder / "predictions.png").exists()), None)
        if run is not None:
            alt = f"{method}, seed {run.seed}: image, truth and prediction of test patients, from worst to best DSC"
            pictures.append(Picture(f"example-{place}-{share:g}-{method}", alt, run.folder / "predictions.png"))
    caption = "Predictions on test patients from the lowest DSC to the highest: image, truth, prediction."
    return [Gallery(caption, tuple(pictures), folded=True)] if pictures else []


def _overview(study: Study, place: str, palette: dict[str, str]) -> list[Block]:
    """DSC against the share of labels, and how it was learned."""
    pictures, name = [], study.names[place]
    reached = {
        method: line
        for method in study.methods
        if (
            line := {
                share: mean(gather(found, over_regions()))
                for share in study.shares
                if (found := study.chosen(place, method, share))
            }
        )
    }
    if len({share for line in reached.values() for share in line}) > 1:
        chart = charts.against_share("DSC against labels, test patients", reached, palette)
        pictures.append(Picture(f"shares-{place}", f"{name}: DSC against the share of labels", chart))
    for share in study.shares:
        lines = {
            method: learned
            for method in study.methods
            if (learned := [one for run in study.chosen(place, method, share) if (one := _learned(run))])
        }
        if lines:
            title = f"Val DSC while fine-tuning, {per_cent(share)}"
            chart = charts.curves(title, lines, palette, "optimiser steps", "DSC of the val patients")
            pictures.append(Picture(f"learning-{place}-{share:g}", f"{name}: {title}", chart))
    caption = "Mean over seeds; bands reach from the lowest seed to the highest, whiskers are 95 % intervals."
    return [Gallery(caption, tuple(pictures))] if pictures else []


def _learned(run: Run) -> charts.Line | None:
    rows = [(row["step"], row["val DSC"]) for row in run.curve if "step" in row and "val DSC" in row]
    return (np.array(rows)[:, 0], np.array(rows)[:, 1]) if rows else None
