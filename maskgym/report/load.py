"""Read what a study left: finished runs, records of its jobs, points. Whatever is missing is missing."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from maskgym.benchmark.statistics import Interval
from maskgym.errors import BadInput
from maskgym.studies.job import Record, state
from maskgym.studies.plan import Job, plan
from maskgym.studies.read import KEPT, read_study
from maskgym.studies.study import Study

WAITING = "not run yet"
_MANY = ("msd", "folder")  # layouts of many data sets: the folder tells which


@dataclass(frozen=True)
class Trained:
    """A finished fine-tuning with its scores, or a finished pre-training without."""

    job: Job
    folder: Path
    settings: dict[str, Any]
    curve: list[dict[str, float]]
    """The rows of its metrics.csv, without what is empty."""
    scores: dict[str, Any] = field(default_factory=dict)
    label_seed: int | None = None


@dataclass
class Findings:
    """Everything a report is made from."""

    folder: Path
    study: Study
    jobs: list[Job]
    records: dict[str, Record]
    names: dict[str, str]
    """What each data set with results is called, by its folder."""
    tuned: list[Trained]
    pretrained: list[Trained]
    points: dict[tuple[str, str, str], tuple[Interval, Interval, float]]
    """(data set, method, name of the score) -> points, mean reward, share hidden."""
    unfinished: dict[str, str]
    """Job -> why."""

    @property
    def methods(self) -> list[str]:
        """In the order of the study file."""
        return [method.name for method in self.study.methods]

    @property
    def shares(self) -> list[float]:
        """Of all finished fine-tunings, from few labels to many."""
        return sorted({run.job.share for run in self.tuned})

    def chosen(self, place: str, method: str, share: float) -> list[Trained]:
        """Pick the finished fine-tunings of one method, seed by seed."""
        found = [run for run in self.tuned if (run.job.place, run.job.method, run.job.share) == (place, method, share)]
        return sorted(found, key=lambda run: (run.job.seed, run.label_seed or 0))

    def pretrainings(self, method: str, place: str = "") -> list[Trained]:
        """Pick the finished pre-trainings of one method, on one data set or on all."""
        return [run for run in self.pretrained if run.job.method == method and place in ("", run.job.place)]


def load(folder: Path) -> Findings:
    """Read a study's folder; one without any finished fine-tuning is refused."""
    if not (folder / KEPT).exists():
        raise BadInput(f"there is no study in {folder}: give the --out of a `maskgym study`")
    study = read_study(folder / KEPT)
    jobs = plan(study, folder)
    records = {job.name: state(folder, job) for job in jobs}
    tuned, damaged = [], {}
    for job in jobs:
        for draw, home in job.folders.items() if job.kind == "finetune" and job.leaves.exists() else ():
            scores = read_json(home / "scores.json")
            if _sound(scores):
                tuned.append(_trained(job, home, scores, draw))
            else:
                damaged[job.name] = "its scores.json is damaged"
    if not tuned:
        wrong = sum(told["state"] == "failed" for told in records.values())
        failed = f" and {wrong} failed" if wrong else ""
        raise BadInput(
            f"{folder} has no finished fine-tuning{failed}: let `maskgym study` run, or give another study's --out"
        )
    done = {run.job.name for run in tuned}
    missing = {
        job.name: _why(records[job.name], folder)
        for job in jobs
        if job.name not in done and (job.kind == "finetune" or records[job.name]["state"] == "failed")
    }
    ratios = {method.name: str(study.pretrain_options(method).get("ratio", "0.75")) for method in study.methods}
    specs = {f"data{number}": spec for number, spec in enumerate(study.data)}
    places = sorted({run.job.place for run in tuned}, key=list(specs).index)
    return Findings(
        folder=folder,
        study=study,
        jobs=jobs,
        records=records,
        names=_names({place: specs[place] for place in places}),
        tuned=tuned,
        pretrained=[
            _trained(job, job.leaves.parent)
            for job in jobs
            if job.kind == "pretrain" and records[job.name]["state"] == "finished"
        ],
        points={
            (job.place, job.method, job.name.rpartition("/")[2]): found
            for job in jobs
            if job.kind == "score" and (found := _played(read_json(job.leaves), job, ratios[job.method]))
        },
        unfinished=missing | damaged,
    )


def read_json(file: Path) -> dict[str, Any]:
    """Read an object; nothing where there is none."""
    try:
        told = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _trained(job: Job, folder: Path, scores: dict[str, Any] | None = None, draw: int | None = None) -> Trained:
    settings, curve = read_json(folder / "settings.json"), _curve(folder / "metrics.csv")
    return Trained(job, folder, settings, curve, scores or {}, draw)


def _sound(scores: dict[str, Any]) -> bool:
    """Whether there is a table of measures for at least one patient."""
    patients = scores.get("patients")
    return isinstance(patients, dict) and bool(patients) and all(isinstance(one, dict) for one in patients.values())


def _curve(file: Path) -> list[dict[str, float]]:
    """Read a table of numbers; the last row of a run that was killed may be cut."""
    try:
        with file.open(newline="") as table:
            return [
                {name: float(text) for name, text in row.items() if _is_number(text)} for row in csv.DictReader(table)
            ]
    except (OSError, csv.Error, UnicodeDecodeError):
        return []


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


def _why(told: Record, folder: Path) -> str:
    """The last line a failed job said, without where the folder lies: a page may travel, folders do not."""
    said = str((told.get("error") or [WAITING])[-1]) if told["state"] == "failed" else WAITING
    return said.replace(f"{folder.resolve()}/", "").replace(f"{folder}/", "")


def _names(data: dict[str, str]) -> dict[str, str]:
    """Call every data set as briefly as tells it from the others: layout, its folder, its options."""
    forms = {}
    for place, spec in data.items():
        where, _, options = spec.partition("?")
        layout, _, folder = where.partition(":")
        whole = f"{layout} {Path(folder).name}" if folder else layout
        brief = whole if layout in _MANY else layout
        forms[place] = (brief, whole, f"{whole} ({options})" if options else whole, f"{place} {whole}")
    return {
        place: next((form for n, form in enumerate(own) if _once(form, n, forms.values())), own[-1])
        for place, own in forms.items()
    }


def _once(form: str, n: int, forms: Iterable[tuple[str, ...]]) -> bool:
    return [other[n] for other in forms].count(form) == 1


def _played(scored: dict[str, Any], job: Job, wanted: str) -> tuple[Interval, Interval, float] | None:
    """One agent in what `maskgym score` wrote, at the ratio it pre-trains with, or the highest that was played."""
    try:
        lines = [line for line in scored["lines"] if line["mode"] == "deterministic"]
        names = list(dict.fromkeys(line["agent"] for line in lines))
        agent = job.words[1]
        own = agent if agent in names else next(name for name in names if name not in ("random", "variance"))
        ratios = sorted(line["ratio"] for line in lines if line["agent"] == own)
        ratio = next((ratio for ratio in ratios if f"{ratio:g}" == wanted), ratios[-1])
        line = next(line for line in lines if (line["agent"], line["ratio"]) == (own, ratio))
        told = line["points"]
        known = [told[name] for name in ("value", "low", "high")] if isinstance(told, dict) else told[:3]
        value, low, high = (math.nan if part is None else float(part) for part in known)
        reward = float(line.get("reward") or math.nan)
    except (KeyError, TypeError, IndexError, StopIteration, ValueError):
        return None
    return Interval(value, low, high), Interval(reward, reward, reward), ratio


def array(runs: list[Trained], value: Any) -> tuple[np.ndarray, list[int], list[str]]:
    """Line scores up, a row a seed: values (S, n) with NaN where one is not defined, seeds, patients.

    Fine-tunings of one seed on several draws of labels are averaged first: they share its pre-training.
    """
    patients = list(dict.fromkeys(patient for run in runs for patient in run.scores["patients"]))
    seeds = list(dict.fromkeys(run.job.seed for run in runs))
    rows = np.full((len(seeds), len(patients)), np.nan)
    for place, seed in enumerate(seeds):
        drawn = [run.scores["patients"] for run in runs if run.job.seed == seed]
        values = np.array([[value(one.get(patient, {})) for patient in patients] for one in drawn], float)
        there = ~np.isnan(values)
        rows[place] = np.where(there.any(0), np.where(there, values, 0).sum(0) / np.maximum(there.sum(0), 1), np.nan)
    return rows, seeds, patients
