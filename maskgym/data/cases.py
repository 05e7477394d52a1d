"""The cases of a split, opened from the store, and the images that a view makes of them.

cases = open_cases("msd:/data/Task04_Hippocampus?spacing=1", "train")   # prepared on the first call
view = cases.view(size=(32, 48, 32), fit="pad")
frames = Frames(cases, view)
frames.load(0)                       # (C, 32, 48, 32) float32, read from the memory-mapped case
case, index = frames.items[0]
native = view.to_native(case, answers, [index])   # (*case.shape) uint8, on the case's own grid
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from maskgym.data import phantom_set, splits
from maskgym.data.case import Case, HeldCase, StoredCase
from maskgym.data.find import Found, Problem, find
from maskgym.data.measure import tone_of
from maskgym.data.prepare import is_missing, prepare
from maskgym.data.spec import Options, numbers, parse
from maskgym.data.store import Store, key_of
from maskgym.data.view import View
from maskgym.errors import BadInput


@dataclass(frozen=True)
class Cases:
    """The cases of one split of a data set."""

    cases: tuple[Case, ...]
    channels: tuple[str, ...]
    classes: tuple[str, ...]  # names of labels 1, 2, ...
    options: Options  # of the data set's string
    window: tuple[float, ...] = ()  # of the layout or the options
    normalised: bool = False  # they are so already, as phantoms are
    regions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    grade_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what was left out, a line each

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __getitem__(self, number: int) -> Case:
        return self.cases[number]

    def view(self, size: tuple[int, ...], **changes: Any) -> View:
        """The view that the data set's options describe, with fields of `View` changed by keyword."""
        options = self.options
        spacing = numbers(options.spacing, "spacing", (1, 3)) if options.spacing else ()
        low, high = numbers(options.clip, "clip", (2,))
        told: dict[str, Any] = {
            "axis": options.axis, "slices": options.slices, "body": options.body, "trim": options.trim,
            "spacing": spacing, "fit": options.fit, "window": self.window, "clip": (low, high),
            "zscore": options.zscore, "normalise": "none" if self.normalised else options.normalise,
        }  # fmt: skip
        view = View(size, **(told | changes))
        if view.normalise == "window" and not view.window:
            raise BadInput("normalise=window needs a window: write window=LOW,HIGH, as in window=-160,240")
        return view

    def crops(self, size: tuple[int, ...]) -> Frames:
        """The images that random crops of a size are cut from; one shown whole is the middle of its case.

        A crop larger than a case is refused, unless the data set's string says `fit=pad`.
        """
        view = self.view(size)
        for case in self.cases:
            view.check_crop(case)
        normalise = "case" if view.normalise == "image" else view.normalise
        return Frames(self, replace(view, fit="pad", normalise=normalise))


class Frames:
    """The images that a view makes of cases: a sequence to load from, or to cut random crops of."""

    def __init__(self, cases: Cases, view: View) -> None:
        self.cases, self.view = cases, view
        self.items: list[tuple[Case, int]] = []
        self.without_body, self.flat = 0, 0
        for case in cases:
            indices, without_body, flat = view.shown(case)
            self.items += [(case, index) for index in indices]
            self.without_body, self.flat = self.without_body + without_body, self.flat + flat

    def __len__(self) -> int:
        return len(self.items)

    @property
    def size(self) -> tuple[int, ...]:
        """Of every image."""
        return self.view.size

    @property
    def patients(self) -> tuple[str, ...]:
        """Whom each image is of."""
        return tuple(case.patient for case, _ in self.items)

    @property
    def ids(self) -> tuple[str, ...]:
        """One printable name an image: the case's, and the slice's place in it."""
        letter = "xyz"[self.view.axis]
        return tuple(
            case.id if len(case.shape) == len(self.size) else f"{case.id}_{letter}{index:03d}"
            for case, index in self.items
        )

    def load(self, number: int) -> np.ndarray:
        """An image (C, *size) float32."""
        return self.view.load(*self.items[number])

    def label(self, number: int) -> np.ndarray | None:
        """Its labels (*size) uint8."""
        return self.view.label(*self.items[number])

    def crop(
        self, number: int, rng: np.random.Generator, foreground: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """A random crop of an image, as `View.crop` cuts it."""
        return self.view.crop(*self.items[number], rng, foreground)

    def check_crops(self) -> None:
        """Refuse crops that are larger than a case, before the first is cut."""
        for case in self.cases:
            self.view.check_crop(case)


def open_cases(
    dataset: str,
    split: str = "train",
    split_file: str | None = None,
    *,
    size: tuple[int, ...] = (128, 128),
    workers: int = 0,
    cache: Path | None = None,
) -> Cases:
    """Open the cases of one split; those that are not in the store are prepared first.

    Args:
        dataset: a layout and a folder with options, as in `msd:/data/Task04_Hippocampus?spacing=1`.
        split: train, val, test, or all.
        split_file: a split saved by `maskgym data split`, instead of the seeded one.
        size: phantoms are drawn at this size; the cases of files have their own.
        workers: processes that prepare; 0 = one a core where there is much to do.
        cache: another cache folder than the usual one.
    """
    spec = parse(dataset)
    if spec.layout == "phantoms":
        drawn = phantom_set.load(spec.options, size, split, split_file, cache)
        assert drawn.labels is not None
        rows = zip(drawn.ids, drawn.images, drawn.labels, strict=True)
        held = tuple(HeldCase(name, name, -1, False, image, label) for name, image, label in rows)
        return Cases(held, drawn.channels, drawn.classes, spec.options, normalised=True)
    found = find(spec)
    stopping = [problem for problem in found.problems if problem.fatal] if spec.options.bad == "stop" else []
    if stopping:
        more = f" ({len(stopping) - 1} more such; `maskgym data check` lists them)" if len(stopping) > 1 else ""
        raise BadInput(f"{stopping[0]}{more}")
    chosen = set(found.patients) if split == "all" else set(_patients(found, split, split_file))
    listed = [case for case in found.cases if case.patient in chosen]
    if not listed:
        raise BadInput(
            f"the {split} split of {dataset} is empty ({len(found.patients)} patients in all): "
            "hand in a split file that gives it patients"
        )
    tone, store = tone_of(spec.options, found.layout), Store(spec.layout, cache)
    keys = [key_of(case, found) for case in listed]
    pages = {key: store.page(key) for key in keys}
    problems = list(found.problems)
    if todo := [case for case, key in zip(listed, keys, strict=True) if is_missing(pages[key], tone)]:
        problems += prepare(found, todo, store, tone, workers)
        pages |= {key: store.page(key) for key, page in pages.items() if is_missing(page, tone)}
    cases = tuple(
        StoredCase(case.id, case.patient, case.grade, found.layout.slices, store, key, page)
        for case, key in zip(listed, keys, strict=True)
        if (page := pages[key]) is not None
    )
    if not cases:
        raise BadInput(f"no case of {dataset} can be used ({len(problems)} problems): `maskgym data check` lists them")
    return Cases(
        cases,
        found.channels,
        found.classes,
        spec.options,
        window=tone.window or (),
        regions=found.regions,
        grade_names=found.layout.grades,
        notes=tuple(_notes(found, problems)),
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


def _notes(found: Found, problems: list[Problem]) -> Iterator[str]:
    if not found.layout.has_patients:
        yield "no patient ids: every image counts as its own patient"
    if skipped := sum(problem.fatal for problem in problems):
        yield f"left out: problems with files (`maskgym data check` lists them): {skipped}"
