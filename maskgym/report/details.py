"""What stands behind the scores: pre-training, image passes, times, settings, what is not finished, how to read it."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from maskgym.errors import BadInput
from maskgym.pretrain.report import read as read_lesions
from maskgym.report import charts
from maskgym.report.load import WAITING, Findings, Trained, read_json
from maskgym.report.page import Block, Field, Gallery, Picture, Rows, Section, chart, notes
from maskgym.studies.plan import Job

_AXES = ("data", "seed", "split_file", "out", "weights", "label_share", "label_seed")  # what a study varies by itself
_ORDER = ("split", "reconstructor", "policy", "par", "score", "control", "pretrain", "finetune")


def pre_training(found: Findings, palette: dict[str, str]) -> Section:
    """Held-out reconstruction, what it looks like at the end, and what the masks hid."""
    drawn, last = [], []
    for place in dict.fromkeys(run.job.place for run in found.pretrained):
        name = found.names.get(place, place)
        by_method = {method: found.pretrainings(method, place) for method in found.methods}
        lines = {method: [one for run in runs if (one := _held_out(run))] for method, runs in by_method.items()}
        lines = {method: runs for method, runs in lines.items() if runs}
        if lines:
            title = f"{name}: held-out reconstruction"
            told = (title, lines, palette, "share of the pre-training", "loss / loss of the patch mean")
            drawn.append(chart(f"pretraining-{place}", title, charts.curves, *told))
        for method, runs in by_method.items():
            for file in sorted((runs[0].folder / "pictures").glob("*.png"))[-1:] if runs else []:
                alt = f"{name}, {method}, seed {runs[0].job.seed}"
                last.append(Picture(f"rebuilt-{place}-{method}", alt, file))
    blocks: list[Block] = []
    if drawn:
        told_of = (
            "Loss on hidden patches of val images under random masks, over the loss of guessing each patch's mean: "
            "below 1 is better than that guess. Methods with other targets or ratios are not comparable in height."
        )
        blocks.append(Gallery(told_of, tuple(drawn)))
    if last:
        caption = "Rebuilt val images at the end of pre-training: image, what is left of it, rebuilt, error."
        blocks.append(Gallery(caption, tuple(last), folded=True))
    return Section("Pre-training", 2, blocks + _passes(found) + _lesions(found))


def _held_out(run: Trained) -> charts.Line | None:
    rows = [
        (row["step"], row["held-out loss"] / row["patch mean"])
        for row in run.curve
        if row.get("patch mean") and "held-out loss" in row and "step" in row
    ]
    last = _steps(run)
    return (np.array(rows)[:, 0] / last, np.array(rows)[:, 1]) if rows and last else None


def _steps(run: Trained) -> float:
    return max((row.get("step", 0.0) for row in run.curve), default=0.0)


def _passes(found: Findings) -> list[Block]:
    """Images that went through a network for each method: what its masks cost beside random ones."""
    rows, totals = [], {}
    for method in found.methods:
        for run in found.pretrainings(method)[:1]:
            student = _steps(run) * float(run.settings.get("batch", 0))
            asked = student / float(run.settings.get("score_every") or 1) if run.settings.get("teacher") else 0.0
            queries = max((row.get("queries", 0.0) for row in run.curve), default=0.0) or asked
            before = sum(_stage_passes(found, job) for job in _stages(found, run.job))
            totals[method] = 3 * student + queries + before  # a backward is worth two forwards
            rows.append((method, student, queries, before))
    if not rows or not any(totals.values()):
        return []
    least = totals.get("random") or min(total for total in totals.values() if total)
    fields = tuple(
        (Field(method), *(Field(f"{value:,.0f}") for value in counts), Field(f"{totals[method] / least:.2f}"))
        for method, *counts in rows
    )
    caption = (
        "Images that went through a network, of one seed: trained on by the student, asked of a teacher or a frozen "
        "network for masks, and spent on reconstructors and policies beforehand (those that several share counted in "
        "full). Cost: forwards in all, a backward counting as two, over those of random masks."
    )
    return [Rows(caption, ("method", "student", "asked for masks", "beforehand", "cost"), fields)]


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


def _stage_passes(found: Findings, job: Job) -> float:
    """A reconstructor's steps are forwards and backwards of a batch; a policy's env steps a forward each."""
    settings = read_json(job.leaves.parent / "settings.json")
    steps, batch = _option(job, "steps", settings), _option(job, "batch", settings)
    return 3 * steps * (batch or 32) if job.kind == "reconstructor" else steps


def _option(job: Job, name: str, settings: dict[str, Any]) -> float:
    words = dict(zip(job.words, job.words[1:], strict=False))
    told = words.get(f"--train.{name}", words.get(f"--{name}", settings.get(name, 0)))
    try:
        return float(str(told).replace("_", ""))
    except ValueError:
        return 0.0


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
                rows.append((Field(method), Field(found.names[place]), *map(Field, told), Field(str(len(counted)))))
    caption = (
        "Did the masks hit lesions? All epochs together, mean over seeds. The labels were counted for this table; "
        "no agent saw them."
    )
    headings = ("method", "data", "lesion among hidden", "lesion among all", "times random", "hidden of all lesion")
    return [Rows(caption, (*headings, "seeds"), tuple(rows))] if rows else []


def _counted(run: Trained) -> tuple[float, float, float] | None:
    """Of a run: lesion's share of hidden patches, hidden patches' share of lesion, lesion's share of all patches."""
    try:
        epochs = read_lesions(run.folder)
        hidden, struck, visible, missed = (
            sum(row[name] for row in epochs) for name in ("hidden", "hidden lesion", "visible", "visible lesion")
        )
    except (BadInput, KeyError, ValueError, TypeError):
        return None
    if not hidden or not struck + missed:
        return None
    return struck / hidden, struck / (struck + missed), (struck + missed) / (hidden + visible)


def times(found: Findings) -> Section:
    """What each stage of each method cost, by the clock, for one job."""
    spent: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for job in found.jobs:
        if found.records[job.name]["state"] == "finished":
            spent[job.method or "all methods"][job.kind].append(float(found.records[job.name]["seconds"]))
    ordered = [kind for kind in _ORDER if any(kind in row for row in spent.values())]
    methods = [method for method in [*found.methods, "all methods"] if method in spent]
    if not methods:
        return Section("Time", 2)
    means = {method: {stage: float(np.mean(values)) for stage, values in spent[method].items()} for method in methods}
    rows = tuple(
        (
            Field(method),
            *(
                Field(_clock(means[method][kind]), f"x {len(spent[method][kind])}")
                if kind in means[method]
                else Field("-")
                for kind in ordered
            ),
            Field(_clock(sum(map(sum, spent[method].values())))),
        )
        for method in methods
    )
    caption = (
        "Mean time of a job by stage, and how many jobs; the last column is the sum of all. Jobs that ran side by side "
        "slowed each other down. All methods: what several use is made once."
    )
    scale, unit = (60.0, "minutes") if max(sum(row.values()) for row in means.values()) > 120 else (1.0, "seconds")
    bars = {method: {stage: value / scale for stage, value in means[method].items()} for method in methods}
    told = ("One seed, one label share", bars, ordered, unit)
    picture = chart("times", "Mean time of each stage by method", charts.stacked, *told)
    table = Rows(caption, ("method", *ordered, "all jobs"), rows)
    return Section("Time", 2, [table, Gallery("Mean time of each stage.", (picture,))])


def _clock(seconds: float) -> str:
    """90 is 1 min 30 s."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s"
    return (
        f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )


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
        same = {key: next(iter(every)) for key, row in told.items() if len(every := set().union(*row.values())) == 1}
        same = {key: value for key, value in same.items() if set(told[key]) == set(methods)}
        differ = [key for key in told if key not in same]
        if differ:
            rows = tuple(
                (Field(method), *(Field(" or ".join(sorted(told[key].get(method, {"-"}))) or "-") for key in differ))
                for method in methods
            )
            blocks.append(Rows(f"Settings of {title} in which methods differ.", ("method", *differ), rows, words=True))
        if same:
            rows = tuple((Field(key), Field(value or "-")) for key, value in same.items())
            blocks.append(Rows(f"Settings of {title} that all share.", ("setting", "value"), rows, True, words=True))
    noted: dict[str, set[str]] = defaultdict(set)
    for record in found.records.values():
        for name, value in record.get("versions", {}).items():
            noted[name].add(str(value))
    versions = ", ".join(f"{name} {' or '.join(sorted(values))}" for name, values in noted.items())
    return Section("Settings", 2, [*blocks, notes(f"Versions: {versions or 'not noted'}.")])


def _flat(told: dict[str, Any], before: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in told.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{before}{key}.")
        elif isinstance(value, str) and value.startswith("/"):
            flat[before + key] = Path(value).name  # where it lay on the machine says nothing to a reader
        else:
            flat[before + key] = "" if value is None or value == {} else str(value)
    return flat


def unfinished(found: Findings) -> Section:
    """Name what is missing."""
    waiting = Counter(name.rpartition("/seed")[0] for name, why in found.unfinished.items() if why == WAITING)
    rows = [(Field(name), Field(why)) for name, why in found.unfinished.items() if why != WAITING]
    rows += [(Field(f"{name}, {count} job{'s' * (count > 1)}"), Field(WAITING)) for name, count in waiting.items()]
    table = Rows("Jobs without a result, and why.", ("job", "why"), tuple(rows), words=True)
    return Section("Not finished", 2, [table])


def how_made(found: Findings) -> Section:
    """How to read the numbers, and what they cannot say."""
    told = [
        "A mean is the mean over seeds of each run's mean over the test patients. Its 95 % interval is Student's, from "
        "the spread between seeds and the spread between patients; with one or two seeds there is no interval, and "
        "the range of the runs stands in its place.",
        "Slices of a patient were stacked and measured as one volume. Scores that are not defined (nothing there and "
        "nothing said to be there) are left out of the mean and counted in the last column.",
        "Differences are paired: the same seeds and patients on both sides, and the same network. They are not "
        "corrected for how many there are, except what masks are worth, which is.",
        "P(better) is the probability of improvement of Agarwal et al. (2021): how often a run of the one beats a run "
        "of the other on a patient, ties counting half, averaged over patients; 0.5 is no difference.",
    ]
    if len({run.label_seed for run in found.tuned}) > 1:
        told.append(
            "Fine-tunings of one pre-trained network on several draws of labels are averaged before anything else."
        )
    return Section("How the numbers were made", 2, [notes(*told)])
