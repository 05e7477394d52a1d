"""What stands behind the scores: pre-training, image passes, times, settings, what is not finished, how to read it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from maskgym.errors import BadInput
from maskgym.pretrain.report import read as read_lesions
from maskgym.report import charts
from maskgym.report.load import WAITING, Findings, Runs
from maskgym.report.page import Block, Field, Section, chart, gallery, notes, table
from maskgym.report.pictures import Picture
from maskgym.studies.plan import Job
from maskgym.studies.results import Trained, measure, read_json

_AXES = ("data", "seed", "split_file", "out", "weights", "label_share", "label_seed")  # what a study varies by itself
_ORDER = ("split", "reconstructor", "policy", "par", "score", "control", "pretrain", "finetune")


def pre_training(found: Findings, palette: dict[str, str]) -> Section:
    """Held-out reconstruction, what it looks like at the end, and what the masks hid."""
    drawn, last = [], []
    for place in dict.fromkeys(run.job.place for run in found.pretrained):
        name = found.names.get(place, place)
        by_method = {method: runs for method in found.methods if (runs := found.pretrainings(method, place))}
        lines = {method: lines for method, runs in by_method.items() if (lines := list(_held_out(runs)))}
        title = f"{name}: held-out reconstruction"
        told = (title, lines, palette, "share of the pre-training", "loss / loss of the patch mean")
        drawn += [chart(f"pretraining-{place}", title, charts.curves, *told)] if lines else []
        for method, runs in by_method.items():
            for file in sorted((runs[0].folder / "pictures").glob("*.png"))[-1:]:
                alt = f"{name}, {method}, seed {runs[0].job.seed}"
                last.append(Picture(f"rebuilt-{place}-{method}", alt, file))
    about = (
        "Loss on hidden patches of val images under random masks, over the loss of guessing each patch's mean: "
        "below 1 is better than that guess. Methods with other targets or ratios are not comparable in height."
    )
    caption = "Rebuilt val images at the end of pre-training: image, what is left of it, rebuilt, error."
    pictures = gallery(about, drawn) + gallery(caption, last, folded=True)
    return Section("Pre-training", 2, pictures + _passes(found) + _lesions(found))


def _held_out(runs: Runs) -> Iterator[charts.Line]:
    for run in runs:
        rows = [row for row in run.curve if row.get("patch mean") and {"held-out loss", "step"} <= row.keys()]
        if rows and (last := _last(run, "step")):
            step, loss, guess = (
                np.array([row[name] for row in rows]) for name in ("step", "held-out loss", "patch mean")
            )
            yield step / last, loss / guess


def _last(run: Trained, name: str) -> float:
    """The highest value of a column of a run's curve."""
    return max((row.get(name, 0.0) for row in run.curve), default=0.0)


def _passes(found: Findings) -> list[Block]:
    """Images that went through a network for each method: what its masks cost beside random ones."""
    counts, totals = {}, {}
    for method in found.methods:
        for run in found.pretrainings(method)[:1]:
            student = _last(run, "step") * float(run.settings.get("batch", 0))
            asked = student / float(run.settings.get("score_every") or 1) if run.settings.get("teacher") else 0.0
            queries = _last(run, "queries") or asked
            beforehand = sum(_stage_passes(job) for job in _stages(found, run.job))
            counts[method] = (student, queries, beforehand)
            totals[method] = 3 * student + queries + beforehand  # a backward is worth two forwards
    least = totals.get("random") or min(filter(None, totals.values()), default=0.0)
    caption = (
        "Images that went through a network, of one seed: trained on by the student, asked of a teacher or a frozen "
        "network for masks, and spent on reconstructors and policies beforehand (those that several share counted in "
        "full). Cost: forwards in all, a backward counting as two, over those of random masks."
    )
    rows = [
        [method, *(f"{value:,.0f}" for value in counts[method]), f"{total / least:.2f}"]
        for method, total in totals.items()
        if least
    ]
    return table(caption, ("method", "student", "asked for masks", "beforehand", "cost"), rows)


def _stages(found: Findings, job: Job) -> list[Job]:
    """The reconstructors and policies that a job stands on."""
    by_name = {one.name: one for one in found.jobs}
    every, left = dict[str, Job](), [job]
    while left:
        for name in left.pop().needs:
            if name not in every and by_name[name].kind in ("reconstructor", "policy"):
                every[name] = by_name[name]
                left.append(by_name[name])
    return list(every.values())


def _stage_passes(job: Job) -> float:
    """A reconstructor's steps are forwards and backwards of a batch; a policy's env steps a forward each."""
    settings, words = read_json(job.leaves.parent / "settings.json"), dict(zip(job.words, job.words[1:], strict=False))

    def option(name: str) -> float:
        told = words.get(f"--train.{name}", words.get(f"--{name}", settings.get(name, 0)))
        return float(np.nan_to_num(measure(str(told).replace("_", ""))))

    return 3 * option("steps") * (option("batch") or 32) if job.kind == "reconstructor" else option("steps")


def _lesions(found: Findings) -> list[Block]:
    """How often the masks hid lesions, where pre-training counted them (`maskgym pretrain --report`)."""
    rows = []
    for place in found.names:
        for method in found.methods:
            counted = [one for run in found.pretrainings(method, place) if (one := _counted(run)) is not None]
            if counted:
                struck, among, random = np.mean(counted, 0)
                times = f"{struck / random:.2f}" if random else "-"
                told = (f"{100 * struck:.1f} %", f"{100 * random:.1f} %", times, f"{100 * among:.1f} %")
                rows.append([method, found.names[place], *told, str(len(counted))])
    caption = (
        "Did the masks hit lesions? All epochs together, mean over seeds. The labels were counted for this table; "
        "no agent saw them."
    )
    headings = ("method", "data", "lesion among hidden", "lesion among all", "times random", "hidden of all lesion")
    return table(caption, (*headings, "seeds"), rows)


def _counted(run: Trained) -> tuple[float, float, float] | None:
    """Of a run: lesion's share of hidden patches, hidden patches' share of lesion, lesion's share of all patches."""
    try:
        epochs = read_lesions(run.folder)
        hidden, struck, visible, missed = (
            sum(row[name] for row in epochs) for name in ("hidden", "hidden lesion", "visible", "visible lesion")
        )
        return struck / hidden, struck / (struck + missed), (struck + missed) / (hidden + visible)
    except (BadInput, KeyError, ValueError, TypeError, ZeroDivisionError):
        return None


def times(found: Findings) -> Section:
    """What each stage of each method cost, by the clock, for one job."""
    spent: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for job in found.jobs:
        if found.records[job.name]["state"] == "finished":
            spent[job.method or "all methods"][job.kind].append(float(found.records[job.name]["seconds"]))
    kinds = [kind for kind in _ORDER if any(kind in row for row in spent.values())]
    methods = [method for method in (*found.methods, "all methods") if method in spent]
    if not methods:
        return Section("Time", 2, [])
    means = {method: {kind: float(np.mean(each)) for kind, each in spent[method].items()} for method in methods}
    rows = []
    for method in methods:
        each = spent[method]
        fields = [Field(_clock(means[method][kind]), f"x {len(each[kind])}") if kind in each else "-" for kind in kinds]
        rows.append([method, *fields, _clock(sum(map(sum, each.values())))])
    caption = (
        "Mean time of a job by stage, and how many jobs; the last column is the sum of all. Jobs that ran side by side "
        "slowed each other down. All methods: what several use is made once."
    )
    scale, unit = (60.0, "minutes") if max(sum(row.values()) for row in means.values()) > 120 else (1.0, "seconds")
    bars = {method: {kind: value / scale for kind, value in row.items()} for method, row in means.items()}
    told = ("One seed, one label share", bars, kinds, unit)
    picture = chart("times", "Mean time of each stage by method", charts.stacked, *told)
    headings = ("method", *kinds, "all jobs")
    return Section("Time", 2, table(caption, headings, rows) + gallery("Mean time of each stage.", [picture]))


def _clock(seconds: float) -> str:
    """90 is 1 min 30 s."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def settings(found: Findings) -> Section:
    """What all runs share, and where methods differ."""
    blocks: list[Block] = []
    for title, runs in (("pre-training", found.pretrained), ("fine-tuning", found.tuned)):
        told: dict[str, dict[str, set[str]]] = {}
        for run in runs:
            for key, value in _flat(run.settings).items():
                if key not in _AXES:
                    told.setdefault(key, {}).setdefault(run.job.method, set()).add(value)
        methods = [method for method in found.methods if any(run.job.method == method for run in runs)]
        same = {
            key: min(values)
            for key, row in told.items()
            if len(values := set().union(*row.values())) == 1 and set(row) == set(methods)
        }
        differ = [key for key in told if key not in same]
        rows = [
            [method, *(" or ".join(sorted(told[key].get(method, {"-"}))) or "-" for key in differ)]
            for method in (methods if differ else ())
        ]
        blocks += table(f"Settings of {title} in which methods differ.", ("method", *differ), rows, words=True)
        common = [[key, value or "-"] for key, value in same.items()]
        caption = f"Settings of {title} that all share."
        blocks += table(caption, ("setting", "value"), common, folded=True, words=True)
    noted: dict[str, set[str]] = defaultdict(set)
    for record in found.records.values():
        for name, value in record.get("versions", {}).items():
            noted[name].add(str(value))
    versions = ", ".join(f"{name} {' or '.join(sorted(values))}" for name, values in noted.items())
    return Section("Settings", 2, blocks + notes(f"Versions: {versions or 'not noted'}."))


def _flat(told: dict[str, Any], above: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in told.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{above}{key}.")
        elif isinstance(value, str) and value.startswith("/"):
            flat[above + key] = Path(value).name  # where it lay on the machine says nothing to a reader
        else:
            flat[above + key] = "" if value is None or value == {} else str(value)
    return flat


def unfinished(found: Findings) -> Section:
    """Name what is missing."""
    waiting = Counter(name.rpartition("/seed")[0] for name, why in found.unfinished.items() if why == WAITING)
    rows = [[name, why] for name, why in found.unfinished.items() if why != WAITING]
    rows += [[f"{name}, {count} job{'s' * (count > 1)}", WAITING] for name, count in waiting.items()]
    return Section("Not finished", 2, table("Jobs without a result, and why.", ("job", "why"), rows, words=True))


_SEGMENTED = (
    "Slices of a patient were stacked and measured as one volume. Scores that are not defined (nothing there and "
    "nothing said to be there) are left out of the mean and counted in the last column."
)
_GRADED = (
    "Accuracy, F1, AUROC and kappa (quadratic weights) are each one figure of a run over all its test images; "
    "intervals are from the spread between seeds alone."
)


def how_made(found: Findings) -> Section:
    """How to read the numbers, and what they cannot say."""
    told = [
        "A mean is the mean over seeds of each run's mean over the test patients. Its 95 % interval is Student's, from "
        "the spread between seeds and the spread between patients; with one or two seeds there is no interval, and "
        "the range of the runs stands in its place.",
        _GRADED if found.measured.grades else _SEGMENTED,
        "Differences are paired: the same seeds and patients on both sides, and the same network. They are not "
        "corrected for how many there are, except what masks are worth, which is.",
        "P(better) is the probability of improvement of Agarwal et al. (2021): how often a run of the one beats a run "
        "of the other on a patient, ties counting half, averaged over patients; 0.5 is no difference.",
    ]
    if len({run.label_seed for run in found.tuned}) > 1:
        told.append(
            "Fine-tunings of one pre-trained network on several draws of labels are averaged before anything else."
        )
    return Section("How the numbers were made", 2, notes(*told))
