"""Read what a study left: finished runs, records of its jobs, points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maskgym.benchmark.statistics import Interval, mean_of_defined
from maskgym.downstream.grades import MEASURES
from maskgym.downstream.metrics import METRICS
from maskgym.errors import BadInput
from maskgym.studies.job import Record, state
from maskgym.studies.plan import Job, plan
from maskgym.studies.read import KEPT, read_study
from maskgym.studies.results import Trained, fine_tunings, measure, read_json
from maskgym.studies.study import Study

WAITING = "not run yet"
_MANY = ("msd", "folder")  # layouts of many data sets: the folder tells which
Runs = list[Trained]


class Measured(NamedTuple):
    """By what a report measures: segmentations patient by patient, gradings over all test images."""

    by: str
    """The measure that stands first."""
    metrics: tuple[str, ...]
    val: str
    """What val is measured by while training."""

    @property
    def grades(self) -> bool:
        """Whether whole images were graded."""
        return self.metrics == MEASURES


Played = tuple[Interval, Interval, float]  # points, mean reward, share hidden


@dataclass(frozen=True)
class Findings:
    """Everything a report is made from."""

    folder: Path
    study: Study
    jobs: list[Job]
    records: dict[str, Record]
    names: dict[str, str]
    """What each data set with results is called, by its folder."""
    tuned: Runs
    pretrained: Runs
    points: dict[tuple[str, str, str], Played]
    """(data set, method, name of the score) -> points, mean reward, share hidden."""
    unfinished: dict[str, str]
    """Job -> why."""

    @property
    def methods(self) -> list[str]:
        """In the order of the study file."""
        return [method.name for method in self.study.methods]

    @cached_property
    def measured(self) -> Measured:
        """By what."""
        by = self.study.measure
        return Measured(by, MEASURES, "kappa") if by in MEASURES else Measured("DSC", METRICS, "DSC")

    @cached_property
    def shares(self) -> list[float]:
        """Of all finished fine-tunings, from few labels to many."""
        return sorted({run.job.share for run in self.tuned})

    @cached_property
    def columns(self) -> dict[tuple[str, float], dict[str, Runs]]:
        """The finished fine-tunings of each data set and label share by method, those of a method seed by seed."""
        found = {(place, share): self._by_method(place, share) for place in self.names for share in self.shares}
        return {column: by_method for column, by_method in found.items() if by_method}

    def _by_method(self, place: str, share: float) -> dict[str, Runs]:
        there = [run for run in self.tuned if (run.job.place, run.job.share) == (place, share)]
        there.sort(key=lambda run: (run.job.seed, run.label_seed or 0))
        found = {method: [run for run in there if run.job.method == method] for method in self.methods}
        return {method: runs for method, runs in found.items() if runs}

    def chosen(self, place: str, method: str, share: float) -> Runs:
        """Pick the finished fine-tunings of one method."""
        return self.columns.get((place, share), {}).get(method, [])

    def pretrainings(self, method: str, place: str = "") -> Runs:
        """Pick the finished pre-trainings of one method, on one data set or on all."""
        return [run for run in self.pretrained if run.job.method == method and place in ("", run.job.place)]


def load(folder: Path) -> Findings:
    """Read a study's folder; one without any finished fine-tuning is refused."""
    if not (folder / KEPT).exists():
        raise BadInput(f"there is no study in {folder}: give the --out of a `maskgym study`")
    study = read_study(folder / KEPT)
    jobs = plan(study, folder)
    records = {job.name: state(folder, job) for job in jobs}
    there = list(fine_tunings(jobs))
    tuned = [run for run in there if run.scores]
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
    finished = [job for job in jobs if records[job.name]["state"] == "finished"]
    played = {
        (job.place, job.method, job.name.rpartition("/")[2]): _played(job, study) for job in jobs if job.kind == "score"
    }
    places = {run.job.place for run in tuned}
    specs = {f"data{number}": spec for number, spec in enumerate(study.data)}
    return Findings(
        folder=folder,
        study=study,
        jobs=jobs,
        records=records,
        names=_names({place: spec for place, spec in specs.items() if place in places}),
        tuned=tuned,
        pretrained=[Trained(job, job.leaves.parent) for job in finished if job.kind == "pretrain"],
        points={key: found for key, found in played.items() if found is not None},
        unfinished=missing | {run.job.name: "its scores.json is damaged" for run in there if not run.scores},
    )


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
    every = list(zip(*forms.values(), strict=True))
    return {
        place: next(form for form, others in zip(own, every, strict=True) if others.count(form) == 1)
        for place, own in forms.items()
    }


def _played(job: Job, study: Study) -> Played | None:
    """One agent in what `maskgym score` wrote, at the ratio it pre-trains with, or the highest that was played."""
    method = next(method for method in study.methods if method.name == job.method)
    usual = str(study.pretrain_options(method).get("ratio", "0.75"))
    try:
        lines = [line for line in read_json(job.leaves)["lines"] if line["mode"] == "deterministic"]
        names = [line["agent"] for line in lines]
        agent = job.words[1]
        own = agent if agent in names else next(name for name in names if name not in ("random", "variance"))
        ratios = {f"{line['ratio']:g}": line for line in sorted(lines, key=_ratio) if line["agent"] == own}
        line = ratios.get(usual) or list(ratios.values())[-1]
        value, low, high = (measure(line["points"][name]) for name in ("value", "low", "high"))
    except (KeyError, TypeError, IndexError, StopIteration, ValueError):
        return None
    reward = measure(line.get("reward"))
    return Interval(value, low, high), Interval(reward, reward, reward), line["ratio"]


def _ratio(line: dict[str, Any]) -> float:
    return float(line["ratio"])


def array(runs: Runs, value: Callable[[dict[str, Any]], float]) -> tuple[np.ndarray, list[int], list[str]]:
    """Line scores up, a row a seed: values (S, n) with NaN where one is not defined, seeds, patients.

    Fine-tunings of one seed on several draws of labels are averaged first: they share its pre-training.
    """
    patients = list(dict.fromkeys(patient for run in runs for patient in run.scores["patients"]))
    seeds = list(dict.fromkeys(run.job.seed for run in runs))
    rows = np.full((len(seeds), len(patients)), np.nan)
    for place, seed in enumerate(seeds):
        drawn = [run.scores["patients"] for run in runs if run.job.seed == seed]
        values = np.array([[value(one.get(patient, {})) for patient in patients] for one in drawn], float)
        rows[place] = mean_of_defined(values, 0)
    return rows, seeds, patients


def tested(runs: Runs) -> set[tuple[int, str]]:
    """Whom each seed was tested on; all alike, but in folds."""
    return {(run.job.seed, patient) for run in runs for patient in run.scores["patients"]}
