"""From predicted and true labels to the scores of a split: per patient, their means, what was left out, per slice."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskgym.data.progress import track
from maskgym.data.source import Images
from maskgym.downstream.metrics import METRICS, Measures, measure, overlap

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


def regions_of(images: Images) -> Regions:
    """List what is scored: every class, and every region made of several."""
    values = {name: place + 1 for place, name in enumerate(images.classes)}
    single: Regions = {name: (value,) for name, value in values.items()}
    return {**single, **{name: tuple(values[part] for part in parts) for name, parts in images.regions.items()}}


def score(predicted: np.ndarray, images: Images, tolerance: float = 1.0, surfaces: bool = True) -> Scores:
    """Score label maps (n, *size) predicted for a split that has labels.

    Slices of a patient are stacked and measured as one; a patient's volumes are measured one by one and averaged.
    Where the distance of two slices is not known they count as far apart as pixels. Without `surfaces` overlap alone is
    measured, which is much faster.
    """
    assert images.labels is not None
    flat, regions = len(images.size) == 2, regions_of(images)
    patients: dict[str, Table] = {}
    slices: list[Table] = []
    for patient, rows in track(list(rows_of(images.patients).items()), "scoring"):
        given, truth = predicted[rows], np.asarray(images.labels[rows])
        spacing = None if images.spacing is None else tuple(float(along) for along in images.spacing[rows[0]])
        tables = [
            _table(a, b, regions, spacing, tolerance, surfaces=surfaces) for a, b in zip(given, truth, strict=True)
        ]
        if flat and len(rows) > 1:
            deep = spacing and (sum(spacing) / 2, *spacing)
            patients[patient] = _table(given, truth, regions, deep, tolerance, True, surfaces)
        else:
            patients[patient] = _mean(tables, regions)
        slices += tables if flat else []
    every = list(patients.values())
    left_out = {
        region: {name: count for name in METRICS if (count := sum(table[region][name] is None for table in every))}
        for region in regions
    }
    per_slice = _mean(slices, regions) if flat else None
    return Scores(patients, _mean(every, regions), left_out, per_slice, pooled(predicted, images))


def dice(predicted: np.ndarray, images: Images) -> dict[str, float | None]:
    """Mean Dice of every region over the patients who have it or were said to: the quick look while training."""
    assert images.labels is not None
    regions = regions_of(images)
    found: dict[str, list[float]] = {region: [] for region in regions}
    for rows in rows_of(images.patients).values():
        given, truth = predicted[rows], np.asarray(images.labels[rows])
        for region, values in regions.items():
            a, b = np.isin(given, values), np.isin(truth, values)
            if a.any() or b.any():
                found[region].append(overlap(a, b)["DSC"])
    return {region: float(np.mean(values)) if values else None for region, values in found.items()}


def pooled(predicted: np.ndarray, images: Images) -> dict[str, float | None]:
    """Dice of the background and of every class, the pixels of all images pooled, and the mean of them."""
    assert images.labels is not None
    truth, names = np.asarray(images.labels), ("background", *images.classes)
    pairs = np.bincount(truth.ravel().astype(np.intp) * 256 + predicted.ravel(), minlength=2**16).reshape(256, 256)
    found: dict[str, float | None] = {}
    for value, name in enumerate(names):
        either = int(pairs[value].sum() + pairs[:, value].sum())
        found[name] = 2 * int(pairs[value, value]) / either if either else None
    known = [each for each in found.values() if each is not None]
    return found | {"mean": float(np.mean(known))}


def rows_of(patients: Sequence[str]) -> dict[str, np.ndarray]:
    """Say which images are whose, in order."""
    rows: dict[str, list[int]] = {}
    for row, patient in enumerate(patients):
        rows.setdefault(patient, []).append(row)
    return {patient: np.array(listed) for patient, listed in rows.items()}


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
