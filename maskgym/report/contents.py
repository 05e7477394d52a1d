"""What the report says, from first glance to last footnote; how it looks is the writers' matter."""

from __future__ import annotations

from datetime import UTC, datetime

from maskgym.benchmark.statistics import Interval
from maskgym.data.progress import track
from maskgym.report import charts
from maskgym.report.background import how_made, settings, times, unfinished
from maskgym.report.before import pre_training
from maskgym.report.blocks import Block, Cell, Gallery, Picture, Report, Section, Table, figure, text
from maskgym.report.compare import Difference, baseline, difference, gather, mean, over_regions
from maskgym.report.data_set import data_set, per_cent
from maskgym.report.game import winning
from maskgym.report.read import Study


def build(study: Study) -> Report:
    """Say all that the study's files tell."""
    palette = charts.colours(study.methods)
    sections = [glance(study, palette)]
    for place in track(list(study.data), "comparing"):
        sections += data_set(study, place, palette)
    for section in (winning(study, palette), pre_training(study, palette), times(study)):
        sections += [section] if section.blocks else []
    sections += [settings(study)]
    if study.unfinished:
        sections += [unfinished(study)]
    return Report(study.folder.resolve().name, _lead(study), [*sections, how_made(study)], palette)


def glance(study: Study, palette: dict[str, str]) -> Section:
    """DSC of everything in one table, and who differs from random masks."""
    columns = [(place, share) for place in study.data for share in study.shares if _any(study, place, share)]
    found = {
        (method, place, share): mean(gather(study.chosen(place, method, share), over_regions()))
        for method in study.methods
        for place, share in columns
    }
    best = {
        column: max((value for method in study.methods if (value := found[method, *column].value) == value), default=0)
        for column in columns
        if len(study.methods) > 1
    }
    rows = tuple(
        (
            Cell(method),
            *(figure(one := found[method, *column], bold=one.value == best.get(column)) for column in columns),
        )
        for method in study.methods
    )
    headings = ("method", *(f"{study.names[place]}, {per_cent(share)}" for place, share in columns))
    caption = "Mean DSC on the test patients, mean of all regions, by data set and share of labels. Bold: highest mean."
    blocks: list[Block] = [Table(caption, headings, rows)]
    for kind, told in (("random", "random masks"), ("scratch", "a random start")):
        gaps = {column: _gaps(study, *column, kind) for column in columns}
        sentences = tuple(sentence for column in columns if (sentence := _said(study, *column, told, gaps[column])))
        blocks += [text(*sentences)] if kind == "random" and sentences else []
        pictures = []
        for (place, share), ours in gaps.items():
            if ours:
                title = f"{study.names[place]}, {per_cent(share)} of the labels"
                chart = charts.forest(
                    title, {name: gap.gap for name, gap in ours.items()}, palette, f"DSC above {told}", True
                )
                pictures.append(Picture(f"{kind}-{place}-{share:g}", f"{title}: DSC above {told}", chart))
        if pictures:
            caption = f"DSC above {told}: paired differences and 95 % intervals; filled where they leave 0 out."
            blocks.append(Gallery(caption, tuple(pictures), folded=kind == "scratch"))
    return Section("At a glance", 2, blocks)


def _gaps(study: Study, place: str, share: float, kind: str) -> dict[str, Difference]:
    """How far every method lies above its baseline."""
    gaps: dict[str, Difference] = {}
    for method in study.methods:
        ours = study.chosen(place, method, share)
        theirs = baseline(study, ours, kind)
        if ours and theirs and theirs[0].method != method:
            found = difference(gather(ours, over_regions()), gather(theirs, over_regions()))
            gaps |= {method: found} if found else {}
    return gaps


def _said(study: Study, place: str, share: float, told: str, gaps: dict[str, Difference]) -> str:
    """One sentence on who differs."""
    if not gaps:
        return ""

    def those(side: Interval) -> int:
        return (side.low > 0) - (side.high < 0)

    parts = []
    for sign, word in ((1, "above"), (-1, "below")):
        names = [f"{name} ({gap.gap.value:+.3f})" for name, gap in gaps.items() if those(gap.gap) == sign]
        parts += [f"{word} {told}: {', '.join(names)}"] if names else []
    open_ones = [name for name, gap in gaps.items() if not those(gap.gap)]
    parts += [f"not settled: {', '.join(open_ones)}"] if open_ones else []
    return f"{study.names[place]}, {per_cent(share)} of the labels: {'; '.join(parts)}."


def _any(study: Study, place: str, share: float) -> bool:
    return any((run.place, run.share) == (place, share) for run in study.runs)


def _lead(study: Study) -> str:
    seeds = len({run.seed for run in study.runs})
    counts = [
        (len(study.data), "data set"),
        (len(study.methods), "method"),
        (len(study.shares), "label share"),
        (seeds, "seed"),
        (len(study.runs), "finished fine-tuning"),
    ]
    told = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts)
    left = len(study.unfinished)
    missing = f" {left} cell{' is' if left == 1 else 's are'} not finished, see below." if left else ""
    return f"{told}. Written on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.{missing}"
