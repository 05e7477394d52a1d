"""What fine-tuning sees: the cases of the labelled patients, and batches of their images or of crops cut from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from maskgym.data import splits
from maskgym.data.case import Case
from maskgym.data.cases import Cases, open_cases
from maskgym.data.loader import Loader, Source
from maskgym.data.source import SPLITS, load
from maskgym.data.spec import parse
from maskgym.data.whole import Whole
from maskgym.downstream.augment import Augment
from maskgym.downstream.settings import FineTune
from maskgym.errors import BadInput

_ON_LABEL = 1 / 3  # of the crops are laid over a labelled voxel


@dataclass(frozen=True)
class Labelled:
    """A data set of which only some training patients have labels."""

    train: Cases  # those of the patients whose labels may be used
    val: Cases
    test: Cases
    patients: tuple[str, ...]  # whose labels may be used
    split: str  # fingerprint of who is where

    grades: tuple[str, ...] = ()  # where whole images are graded

    @property
    def outputs(self) -> int:
        """Grades, or classes and the background."""
        return len(self.grades) or 1 + len(self.train.classes)


def read(settings: FineTune) -> Labelled:
    """Open all three splits and choose who has labels: few lie within many."""
    dataset, file = settings.data, settings.split_file
    train, val, test = (open_cases(dataset, name, file or None, size=settings.size) for name in SPLITS)
    grading = settings.task == "classify"
    if grading:
        train, val, test = (graded(part, dataset, settings.present) for part in (train, val, test))
    elif any(case.label is None for part in (train, val, test) for case in part):
        raise BadInput(f"{dataset} has no labels to learn from: choose a data set that has")
    split = _split(dataset, file, train, val, test)
    chosen = _choose(split, settings)
    mine = replace(train, cases=tuple(case for case in train if case.patient in set(chosen)))
    if not len(mine):
        raise BadInput(f"a label share of {settings.label_share} leaves no patient with images: raise --label-share")
    names = train.grade_names if grading else ("", *train.classes)
    there = {case.grade if grading else int(value) for case in mine for value in np.unique(_label(case, grading))}
    if absent := [name for place, name in enumerate(names) if name and place not in there]:
        some = ", ".join(chosen[:3]) + (", ..." if len(chosen) > 3 else "")
        raise BadInput(
            f"{'grade' if grading else 'class'} {absent[0]!r} is in no label of the {len(chosen)} labelled patients "
            f"({some}): raise --label-share or choose another --label-seed"
        )
    return Labelled(mine, val, test, chosen, split.hash, train.grade_names if grading else ())


def graded(cases: Cases, dataset: str, present: int = 0) -> Cases:
    """Keep the images whose grade is known; with `present`, told as below that grade or not."""
    known = tuple(case for case in cases if case.grade >= 0)
    if len(cases.grade_names) < 2 or not known:
        raise BadInput(
            f"{dataset} tells no grades of its images: choose a data set that does, as messidor2 or busi, or leave "
            "--task classify away"
        )
    if not present:
        return replace(cases, cases=known)
    if not 0 < present < len(cases.grade_names):
        raise BadInput(f"present {present} parts no grades: {dataset} has 0 to {len(cases.grade_names) - 1}")
    parted: tuple[Any, ...] = known
    parted = tuple(replace(case, grade=int(case.grade >= present)) for case in parted)
    return replace(cases, cases=parted, grade_names=("absent", "present"))


def _label(case: Case, grading: bool) -> np.ndarray:
    return np.zeros(1) if grading else np.asarray(case.label)


def make_loader(data: Labelled, settings: FineTune) -> Loader:
    """Give the batches of a run: whole images, or crops of the native ones."""
    source: Source
    if settings.window:
        source, rows = data.train.crops(settings.crop), None
    else:
        images = load(settings.data, size=settings.size, split="train", split_file=settings.split_file or None)
        mine = np.isin(np.array(images.patients), np.array(data.patients))
        if data.grades:
            mine &= np.asarray(images.grades) >= 0
        source, rows = Whole(images), np.flatnonzero(mine)
    dims, how = len(settings.crop), settings.augment or settings.chosen.augment
    axes = {"last": (dims - 1,), "all": tuple(range(dims)), "none": ()}[settings.flips]
    return Loader(
        source,
        settings.batch or settings.chosen.batch,
        seed=settings.seed,
        crops=bool(settings.window),
        foreground=_ON_LABEL,
        labelled=not data.grades,
        flips=() if how == "none" else axes,
        rows=None if rows is None else rows.tolist(),
        replacing=True,
        transform=None if how in ("none", "flips") else Augment(how, dims),
        workers=0,  # the loop that fits prepares batches ahead
        pin=settings.device.startswith("cuda"),
    )


def _choose(split: splits.Split, settings: FineTune) -> tuple[str, ...]:
    """Choose the patients whose labels may be used."""
    share, seed = settings.label_share, settings.label_seeds[0]
    if settings.labels > len(split.train):
        raise BadInput(f"labels {settings.labels} is more than the {len(split.train)} training patients: choose fewer")
    if settings.labels:
        share = settings.labels / len(split.train)
    listed = {float(name.rstrip("%")) / 100: patients for name, patients in split.labelled.items()}
    near = [patients for each, patients in listed.items() if abs(each - share) < 1e-6]
    if near and seed is None:
        return near[0]
    return splits.labelled(split.train, share, split.seed if seed is None else seed)


def _split(dataset: str, split_file: str, train: Cases, val: Cases, test: Cases) -> splits.Split:
    if split_file:
        return splits.read(Path(split_file).expanduser())
    spec = parse(dataset)
    cases = zip(SPLITS, (train, val, test), strict=True)
    parts = {name: tuple(sorted({case.patient for case in part})) for name, part in cases}
    shares = {f"{share:.0%}": splits.labelled(parts["train"], share, spec.options.seed) for share in splits.SHARES}
    return splits.Split(spec.layout, spec.options.seed, **parts, labelled=shares)
