"""Every file of a data set opened once: what is there, and all that is wrong with it."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from maskgym.data.examine import Sample, examine
from maskgym.data.find import CaseFiles, Found, Problem, find
from maskgym.data.orient import spacing_of
from maskgym.data.progress import track
from maskgym.data.spec import Spec


@dataclass
class Report:
    """What `check` saw."""

    found: Found
    opened: int = 0  # cases that can be used
    shapes: Counter[tuple[float, ...]] = field(default_factory=Counter)  # (H, W) or (D, H, W) of the cases
    spacings: Counter[tuple[float, ...]] = field(default_factory=Counter)
    ranges: list[tuple[float, float]] = field(default_factory=list)  # lowest and highest value of each case
    cases_of_class: Counter[str] = field(default_factory=Counter)
    voxels_of_class: Counter[str] = field(default_factory=Counter)
    voxels: int = 0
    empty: int = 0  # cases whose labels are all background
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every case can be used."""
        return not any(problem.fatal for problem in self.problems)


def check(spec: Spec, patch: int = 8) -> Report:
    """Open every file; images with a side below `patch` are reported, as no patch fits into them."""
    found = find(spec)
    report = Report(found, problems=list(found.problems))
    seen: dict[bytes, CaseFiles] = {}
    for case in track(found.cases, f"checking {spec.layout}"):
        sample, problems = examine(case, found)
        report.problems += problems
        if sample is not None:
            _count(report, case, sample)
            report.problems += _oddities(found.spec.folder, case, sample, seen, patch)
    return report


def _count(report: Report, case: CaseFiles, sample: Sample) -> None:
    report.opened += 1
    report.shapes[sample.pixels.shape[1:]] += 1
    report.ranges.append((float(sample.pixels.min()), float(sample.pixels.max())))
    if sample.affine is not None:
        report.spacings[tuple(round(along, 3) for along in spacing_of(sample.affine))] += 1
    if sample.labels is None:
        return
    counts = np.bincount(sample.labels.ravel(), minlength=len(report.found.classes) + 1)
    report.voxels += sample.labels.size
    report.empty += int(counts[1:].sum() == 0)
    for name, count in zip(report.found.classes, counts[1:].tolist(), strict=True):
        report.cases_of_class[name] += count > 0
        report.voxels_of_class[name] += count


def _oddities(folder: Path, case: CaseFiles, sample: Sample, seen: dict[bytes, CaseFiles], patch: int) -> list[Problem]:
    file, odd = folder / case.images[0], []
    if min(sample.pixels.shape[1:]) < patch:
        size = " x ".join(map(str, sample.pixels.shape[1:]))
        odd.append(Problem(file, f"is {size}, smaller than a patch of {patch}: it will be enlarged", fatal=False))
    if sample.pixels.min() < sample.pixels.max():  # flat images are all alike
        content = hashlib.sha256(repr(sample.pixels.shape).encode() + sample.pixels.tobytes()).digest()
        twin = seen.setdefault(content, case)
        if twin is not case:
            whose = "" if twin.patient == case.patient else ", of another patient: the two may end up in train and test"
            odd.append(Problem(file, f"has the very pixels of {twin.images[0]}{whose}", fatal=False))
    return odd
