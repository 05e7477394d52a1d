"""From predicted and true labels to the scores of a split: per patient, their means, what was left out, per slice."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskgym.data.case import Case
from maskgym.data.cases import Cases
from maskgym.data.progress import track
from maskgym.downstream.metrics import EPSILON, METRICS, Measures, measure

Regions = dict[str, tuple[int, ...]]  # name -> the label values it is made of
Table = dict[str, Measures]  # region -> its measures


@dataclass(frozen=True)
class Scores:
    """What a split was worth."""

    patients: dict[str, Table]
    mean: Table  # over patients; None where a measure is defined for nobody
    left_out: dict[str, dict[str, int]]  # region -> measure -> patients for whom it is not defined
    per_slice: Table | None  # means over single slices, as some papers report; None for volumes
    pooled: dict[str, float | None]  # Dice with the pixels of all patients pooled, of background, classes, their mean


def regions_of(cases: Cases) -> Regions:
    """List what is scored: every class, and every region made of several."""
    values = {name: place + 1 for place, name in enumerate(cases.classes)}
    single: Regions = {name: (value,) for name, value in values.items()}
    return {**single, **{name: tuple(values[part] for part in parts) for name, parts in cases.regions.items()}}


def score(
    answers: Iterable[tuple[Case, np.ndarray]], cases: Cases, tolerance: float = 1.0, surfaces: bool = True
) -> Scores:
    """Score labels on the cases' own grids, in mm where their files tell them.

    Slices of a patient that lie on one grid are stacked and measured as one, as far apart as pixels, for nobody says
    how far; a patient's volumes are measured one by one and averaged. Without `surfaces` overlap alone is measured,
    which is much faster.

    Args:
        answers: each case with its labels (*case.shape).
        cases: all of them, with their labels.
        tolerance: how far apart two surfaces may be for NSD, in mm or pixels.
        surfaces: measure distances and boundaries, too.
    """
    regions, counts = regions_of(cases), np.zeros((256, 256), np.int64)
    by_patient: dict[str, list[tuple[Case, np.ndarray]]] = {}
    for case, given in answers:
        counts += _pairs(given, _truth(case))
        by_patient.setdefault(case.patient, []).append((case, given))
    patients: dict[str, Table] = {}
    slices: list[Table] = []
    flat = all(len(case.shape) == 2 for case in cases)
    for patient, mine in track(list(by_patient.items()), "scoring"):
        tables = [
            _table(given, _truth(case), regions, case.spacing, tolerance, False, surfaces) for case, given in mine
        ]
        if flat and len(mine) > 1 and len({case.shape for case, _ in mine}) == 1:
            pair = (np.stack([given for _, given in mine]), np.stack([_truth(case) for case, _ in mine]))
            patients[patient] = _table(*pair, regions, None, tolerance, True, surfaces)
        else:
            patients[patient] = _mean(tables, regions)
        slices += tables if flat else []
    every = list(patients.values())
    left_out = {
        region: {name: count for name in METRICS if (count := sum(table[region][name] is None for table in every))}
        for region in regions
    }
    per_slice = _mean(slices, regions) if flat else None
    return Scores(patients, _mean(every, regions), left_out, per_slice, _pooled(counts, cases.classes))


def dice(answers: Iterable[tuple[Case, np.ndarray]], cases: Cases) -> dict[str, float | None]:
    """Mean Dice of every region over the patients who have it or were said to: the quick look while training."""
    regions = regions_of(cases)
    sums: dict[str, dict[str, np.ndarray]] = {}  # patient -> region -> both, given, true
    for case, given in answers:
        truth, mine = _truth(case), sums.setdefault(case.patient, {name: np.zeros(3) for name in regions})
        for name, values in regions.items():
            a, b = np.isin(given, values), np.isin(truth, values)
            mine[name] += ((a & b).sum(), a.sum(), b.sum())
    found: dict[str, float | None] = {}
    for name in regions:
        known = [2 * each[name][0] / (each[name][1:].sum() + EPSILON) for each in sums.values() if each[name][1:].any()]
        found[name] = float(np.mean(known)) if known else None
    return found


def _truth(case: Case) -> np.ndarray:
    assert case.label is not None
    return np.asarray(case.label)


def _pairs(given: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Count how many voxels of each class were said to be each other: (256 true, 256 given)."""
    return np.bincount(truth.ravel().astype(np.intp) * 256 + given.ravel(), minlength=2**16).reshape(256, 256)


def _pooled(counts: np.ndarray, classes: tuple[str, ...]) -> dict[str, float | None]:
    """Dice of the background and of every class, the voxels of all cases pooled, and the mean of them."""
    found: dict[str, float | None] = {}
    for value, name in enumerate(("background", *classes)):
        either = int(counts[value].sum() + counts[:, value].sum())
        found[name] = 2 * int(counts[value, value]) / either if either else None
    known = [each for each in found.values() if each is not None]
    return found | {"mean": float(np.mean(known))}


def to_csv(scores: Scores) -> str:
    """Write a line for each patient and region."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["patient", "region", *METRICS])
    for patient, table in scores.patients.items():
        for region, measures in table.items():
            lines.writerow([patient, region, *("" if measures[name] is None else measures[name] for name in METRICS)])
    return text.getvalue()


def _table(
    given: np.ndarray,
    truth: np.ndarray,
    regions: Regions,
    spacing: Any,
    tolerance: float,
    slices: bool = False,
    surfaces: bool = True,
) -> Table:
    return {
        region: measure(np.isin(given, values), np.isin(truth, values), spacing, tolerance, slices, surfaces)
        for region, values in regions.items()
    }


def _mean(tables: list[Table], regions: Regions) -> Table:
    mean: Table = {}
    for region in regions:
        mean[region] = {}
        for name in METRICS:
            known = [value for table in tables if (value := table[region][name]) is not None]
            mean[region][name] = float(np.mean(known)) if known else None
    return mean
