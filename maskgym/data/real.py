"""One split of a real data set as arrays of one size: made of the case store once, opened from the cache ever after."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from maskgym.data import cache as caches
from maskgym.data.ahead import ahead, cores
from maskgym.data.cases import Frames, open_cases
from maskgym.data.images import Images
from maskgym.data.progress import track
from maskgym.errors import BadInput

VERSION = 2  # raise when the same cases come out as other numbers


def load(dataset: str, size: tuple[int, ...], split: str, split_file: str | None, cache: Path | None) -> Images:
    """The images of one split, memory-mapped."""
    cases = open_cases(dataset, split, split_file, cache=cache)
    view = cases.view(size)
    key: dict[str, Any] = {
        "version": VERSION,
        "view": asdict(view),
        "cases": [[case.key, case.id, case.patient, case.grade] for case in cases],
    }
    name = dataset.partition(":")[0]
    arrays, about = caches.fetch(name, key, lambda writer: _write(Frames(cases, view), dataset, writer), cache)
    spacing = about["spacing"]
    return Images(
        images=arrays["images"],
        labels=arrays.get("labels"),
        ids=tuple(about["ids"]),
        patients=tuple(about["patients"]),
        channels=cases.channels,
        classes=cases.classes,
        regions=cases.regions,
        grades=np.array(about["grades"]) if cases.grade_names else None,
        grade_names=cases.grade_names,
        spacing=np.array(spacing, np.float32) if None not in spacing else None,
        notes=(*cases.notes, *about["notes"]),
    )


def _write(frames: Frames, dataset: str, writer: caches.Writer) -> None:
    about: dict[str, list[Any]] = {"ids": [], "patients": [], "grades": [], "spacing": []}
    flat = frames.flat
    ids = frames.ids
    shown = ahead(lambda number: (frames.load(number), frames.label(number)), range(len(frames)), cores())
    for number, (image, label) in enumerate(track(shown, "cutting images", len(frames))):
        case, _ = frames.items[number]
        if not image.any():  # a crop may be flat where its case is not
            flat += 1
            continue
        writer.append("images", image[None])
        if label is not None:
            writer.append("labels", label[None])
        about["ids"].append(ids[number])
        about["patients"].append(case.patient)
        about["grades"].append(case.grade)
        about["spacing"].append(frames.view.spacing_of(case))
    if not about["ids"]:
        raise BadInput(f"no image of {dataset} is left: {frames.without_body} not shown, {flat} constant")
    reason = {"body": "slices without body", "labelled": "slices without a label"}
    reasons = {reason.get(frames.view.slices, ""): frames.without_body, "constant images": flat}
    writer.about = about | {"notes": [f"left out: {what}: {count}" for what, count in reasons.items() if count]}
