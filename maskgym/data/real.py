"""One split of a real data set: found, split by patient, prepared once, opened from the cache ever after."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from maskgym.data import cache as caches
from maskgym.data import splits
from maskgym.data.case import examine
from maskgym.data.find import Case, Found, Problem, find
from maskgym.data.images import Images
from maskgym.data.prepare import VERSION, prepare
from maskgym.data.progress import track
from maskgym.data.spec import Spec
from maskgym.errors import BadInput


def load(
    dataset: str, spec: Spec, size: tuple[int, ...], split: str, split_file: str | None, cache: Path | None
) -> Images:
    """The images of one split, from the cache where they were prepared before."""
    found = find(spec)
    stopping = [problem for problem in found.problems if problem.fatal] if spec.options.bad == "stop" else []
    if stopping:
        raise BadInput(_first_of(stopping))
    wanted = set(_patients(found, split, split_file))
    cases = [case for case in found.cases if case.patient in wanted]
    if not cases:
        raise BadInput(
            f"the {split} split of {dataset} is empty ({len(found.patients)} patients in all): "
            "hand in a split file that gives it patients"
        )
    key: dict[str, Any] = {
        "version": VERSION,
        "layout": repr(replace(found.layout, complete=None, expected=(), graded={})),
        "options": asdict(replace(spec.options, seed=0)),  # the seed only says which cases
        "size": size,
        "cases": [[case.id, case.patient, case.grade] for case in cases],
        "files": [_stamps(spec.folder, case) for case in cases],
    }
    arrays, about = caches.fetch(
        spec.layout, key, lambda writer: _prepare_all(found, cases, size, dataset, writer), cache
    )
    return Images(
        images=arrays["images"],
        labels=arrays.get("labels"),
        ids=tuple(about["ids"]),
        patients=tuple(about["patients"]),
        channels=found.channels,
        classes=found.classes,
        regions=found.regions,
        grades=np.array(about["grades"]) if found.layout.grades else None,
        grade_names=found.layout.grades,
        spacing=np.array(about["spacing"], np.float32) if None not in about["spacing"] else None,
        notes=tuple(about["notes"]),
    )


def _patients(found: Found, split: str, split_file: str | None) -> tuple[str, ...]:
    spec = found.spec
    if split_file is None:
        return splits.by_patient(found.patients, spec.options.seed, spec.layout).of(split)
    chosen = splits.read(Path(split_file).expanduser())
    if chosen.dataset not in ("", spec.layout):
        raise BadInput(f"the split file {split_file} was made for {chosen.dataset}, not for {spec.layout}")
    if (missing := sorted(set(chosen.of(split)) - set(found.patients))) and spec.options.bad == "stop":
        raise BadInput(f"the split file {split_file} names {missing[0]!r}, who is not in {spec.folder}: split again")
    return chosen.of(split)


def _prepare_all(found: Found, cases: list[Case], size: tuple[int, ...], dataset: str, writer: caches.Writer) -> None:
    about: dict[str, list[Any]] = {"ids": [], "patients": [], "grades": [], "spacing": [], "notes": []}
    skipped, without_body, constant = [p for p in found.problems if p.fatal], 0, 0
    for case in track(cases, f"preparing {found.spec.layout}"):
        sample, problems = examine(case, found)
        fatal = [problem for problem in problems if problem.fatal]
        if fatal and found.spec.options.bad == "stop":
            raise BadInput(_first_of(fatal))
        skipped += fatal
        if sample is None:
            continue
        prepared = prepare(sample, case, found, size)
        without_body, constant = without_body + prepared.without_body, constant + prepared.constant
        writer.append("images", prepared.images)
        if prepared.labels is not None:
            writer.append("labels", prepared.labels)
        about["ids"] += prepared.ids
        about["patients"] += [case.patient] * len(prepared.ids)
        about["grades"] += [case.grade] * len(prepared.ids)
        about["spacing"] += [prepared.spacing] * len(prepared.ids)
    if not about["ids"]:
        raise BadInput(
            f"no image of {dataset} is left: {len(skipped)} bad, {without_body} without body, {constant} constant"
        )
    if not found.layout.has_patients:
        about["notes"].append("no patient ids: every image counts as its own patient")
    for what, count in (
        ("problems with files (`maskgym data check` lists them)", len(skipped)),
        ("slices without body", without_body),
        ("constant images", constant),
    ):
        if count:
            about["notes"].append(f"left out: {what}: {count}")
    writer.about = about


def _first_of(problems: list[Problem]) -> str:
    more = f" ({len(problems) - 1} more such; `maskgym data check` lists them)" if len(problems) > 1 else ""
    return f"{problems[0]}{more}"


def _stamps(folder: Path, case: Case) -> list[list[Any]]:
    """Name, size and time of every file of a case; plain strings, for there may be many thousands."""
    stamps = []
    for below in (*case.images, *(path for _, path in case.labels)):
        path = os.path.join(folder, below)
        files = sorted(os.path.join(path, name) for name in os.listdir(path)) if below.endswith("/") else [path]
        for file in files:
            try:
                known = os.stat(file)
            except OSError:  # a dangling link; reading it will say so by name
                stamps.append([below, file.rpartition(os.sep)[2], -1, -1])
            else:
                stamps.append([below, file.rpartition(os.sep)[2], known.st_size, known.st_mtime_ns])
    return stamps
