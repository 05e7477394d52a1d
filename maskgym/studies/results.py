"""What the runs of a study left: scores, curves, settings. Whatever is missing is missing."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from maskgym.studies.plan import Job


@dataclass(frozen=True)
class Trained:
    """A finished fine-tuning with its scores, or a finished pre-training without."""

    job: Job
    folder: Path
    scores: dict[str, Any] = field(default_factory=dict)
    label_seed: int | None = None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What it was told."""
        return read_json(self.folder / "settings.json")

    @cached_property
    def curve(self) -> list[dict[str, float]]:
        """The rows of its metrics.csv, without what is empty; the last row of a run that was killed may be cut."""
        try:
            with (self.folder / "metrics.csv").open(newline="") as table:
                return [
                    {name: value for name, text in row.items() if (value := measure(text)) == value}
                    for row in csv.DictReader(table)
                ]
        except (OSError, csv.Error, UnicodeDecodeError):
            return []


def fine_tunings(jobs: Iterable[Job]) -> Iterator[Trained]:
    """Read every finished fine-tuning, one for each draw of labels; damaged ones have no scores."""
    for job in jobs:
        for draw, folder in job.folders.items() if job.kind == "finetune" and job.leaves.exists() else ():
            scores = read_json(folder / "scores.json")
            patients = scores.get("patients")
            sound = isinstance(patients, dict) and patients and all(isinstance(one, dict) for one in patients.values())
            if isinstance(scores.get("measures"), dict):  # of images that were graded
                sound, scores = True, scores | {"patients": {"all": {"grades": scores["measures"]}}}
            yield Trained(job, folder, scores if sound else {}, draw)


def read_json(file: Path) -> dict[str, Any]:
    """Read an object; nothing where there is none."""
    try:
        told = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def measure(value: Any) -> float:
    """Give a number, or NaN for whatever is none."""
    try:
        return float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return float("nan")


def mean_of_regions(table: dict[str, Any], metric: str = "DSC") -> float:
    """One metric of a patient: the mean over the regions in which it is defined."""
    defined = [value for region in table.values() if (value := measure(region.get(metric))) == value]
    return fmean(defined) if defined else float("nan")
