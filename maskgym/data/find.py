"""From a folder to its cases: which files belong together, and what is missing."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from maskgym.data.layouts import LAYOUTS, Layout
from maskgym.data.paths import matching, paths_below
from maskgym.data.read import read
from maskgym.data.spec import Options, Spec, nearest
from maskgym.errors import BadInput


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file: what, and what to do about it."""

    file: Path
    what: str
    fatal: bool = True  # False: going on is right, but it is counted

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


@dataclass(frozen=True)
class CaseFiles:
    """Files that belong together: a volume, or a picture, with its labels."""

    id: str
    patient: str
    images: tuple[str, ...]  # below the folder: a file for all channels, or one each, in the order of those kept
    labels: tuple[tuple[str, str], ...] = ()  # structure ("" where a file holds all classes) and file
    grade: int = -1  # class of the whole image, -1 where there is none


@dataclass(frozen=True)
class Found:
    """A data set on disk."""

    spec: Spec
    layout: Layout
    cases: tuple[CaseFiles, ...]
    problems: tuple[Problem, ...]
    channels: tuple[str, ...]  # the channels kept
    classes: tuple[str, ...]  # the classes kept: 1, 2, ... in labels

    @property
    def patients(self) -> tuple[str, ...]:
        """Every patient once, sorted as numbers."""
        return tuple(sorted({case.patient for case in self.cases}, key=as_numbers))

    @property
    def regions(self) -> dict[str, tuple[str, ...]]:
        """Regions whose classes are all kept."""
        return {name: parts for name, parts in self.layout.regions.items() if set(parts) <= set(self.classes)}


def as_numbers(text: str) -> list[tuple[int, int, str]]:
    """A key that sorts `slice_9` before `slice_10`."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text)]


def find(spec: Spec) -> Found:
    """List the cases of a data set without opening an image."""
    if spec.layout not in LAYOUTS:
        raise BadInput(f"there is no layout {spec.layout!r}: {nearest(spec.layout, [*LAYOUTS, 'phantoms'])}")
    if not spec.folder.is_dir():
        kind = "is a file, and archives are not unpacked" if spec.folder.exists() else "does not exist"
        raise BadInput(f"the folder {spec.folder} {kind}: give the unpacked folder of {spec.layout}")
    layout = LAYOUTS[spec.layout].of(spec.folder, spec.options)
    if spec.options.patient:
        layout = replace(layout, has_patients=True)
    paths = paths_below(spec.folder, bare="dcm" in layout.image)
    images = matching(layout.image, paths)
    labels = matching(layout.label, paths) if layout.label else []
    if layout.graded:
        images = [(path, groups) for path, groups in images if groups["case"] in layout.graded]
    if not images:
        seen = ", ".join(sorted({path.partition("/")[0] for path in paths}, key=as_numbers)[:5]) or "nothing"
        raise BadInput(f"{spec.folder} is not laid out as {spec.layout}: looked for {layout.looks_like}; found {seen}")
    layout = _with_structures(layout, labels)
    if not layout.channels:
        layout = replace(layout, channels=_channels_inside(spec.folder, [path for path, _ in images]))
    channels = _chosen(layout, spec.options)
    cases, problems = _cases(spec, layout, images, labels, channels)
    classes = _classes(layout, spec.options)
    return Found(spec, layout, tuple(cases), tuple(problems), channels, classes)


def _with_structures(layout: Layout, labels: list[tuple[str, dict[str, str]]]) -> Layout:
    structures = sorted({groups["structure"] for _, groups in labels if "structure" in groups})
    return replace(layout, classes=dict(enumerate(structures, 1))) if structures else layout


def _channels_inside(folder: Path, paths: list[str]) -> dict[str, str]:
    """Names for the channels of the first file that can be read."""
    count = 1
    for path in paths:
        try:
            count = read(folder / path).pixels.shape[-1]
            break
        except BadInput:
            continue
    names = {1: ["intensity"], 3: ["red", "green", "blue"]}.get(count, [f"channel_{place}" for place in range(count)])
    return {str(place): name for place, name in enumerate(names)}


def _cases(
    spec: Spec,
    layout: Layout,
    images: list[tuple[str, dict[str, str]]],
    labels: list[tuple[str, dict[str, str]]],
    channels: tuple[str, ...],
) -> tuple[list[CaseFiles], list[Problem]]:
    folder, problems = spec.folder, []
    there = {path for path, _ in images} | {path for path, _ in labels}
    for path in layout.expected:
        if path not in there:
            problems.append(Problem(folder / path, "named in dataset.json but not there: copy it again"))

    for case in sorted(layout.graded.keys() - {groups["case"] for _, groups in images}):
        problems.append(Problem(folder / case, "has a grade in the CSV but no picture: copy it again"))

    by_case: dict[str, dict[str, str]] = defaultdict(dict)
    doubtful: set[str] = set()
    tells: dict[str, dict[str, str]] = {}
    for path, groups in images:
        case, channel = groups["case"], _channel_name(layout, groups)
        if channel in by_case[case]:
            twin = folder / by_case[case][channel]
            problems.append(Problem(folder / path, f"has the id of {twin}: rename one of the two"))
            doubtful.add(case)
            continue
        by_case[case][channel] = path
        tells.setdefault(case, groups)
    label_files: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path, groups in labels:
        if groups["case"] in by_case:
            label_files[groups["case"]].append((groups.get("structure", ""), path))
        else:
            problems.append(Problem(folder / path, "is a label without its image: add the image or remove the label"))

    classes = _classes(layout, spec.options)
    cases = []
    for case in sorted(by_case.keys() - doubtful, key=as_numbers):
        files, its_labels = by_case[case], [entry for entry in label_files[case] if entry[0] in ("", *classes)]
        first = folder / next(iter(files.values()))
        if missing := [name for name in channels if name not in files] if "" not in files else []:
            problems.append(Problem(first, f"its {missing[0]} is missing: add that file"))
            continue
        if layout.label and not label_files[case]:
            problems.append(Problem(first, "has no label: add its mask, or move the image away"))
            continue
        structures = {structure for structure, _ in its_labels}
        if its_labels and "" not in structures and (lacking := sorted(set(classes) - structures)):
            problems.append(Problem(first, f"its label {lacking[0]} is missing: add that file"))
            continue
        ordered = (files[""],) if "" in files else tuple(files[name] for name in channels)
        grade, patient = _grade_and_patient(layout, spec.options, case, tells[case])
        cases.append(CaseFiles(case, patient, ordered, tuple(its_labels), grade))
    return cases, problems


def _channel_name(layout: Layout, groups: dict[str, str]) -> str:
    token = groups.get("channel")
    return "" if token is None else layout.channels.get(token) or layout.channels[token.upper()]


def _grade_and_patient(layout: Layout, options: Options, case: str, groups: dict[str, str]) -> tuple[int, str]:
    if case in layout.graded:
        return layout.graded[case]
    grade = layout.grades.index(groups["grade"]) if "grade" in groups else -1
    if not options.patient:
        return grade, groups.get("patient", case)
    try:
        match = re.search(options.patient, case)
    except re.error as error:
        raise BadInput(f"patient={options.patient} is not a regular expression ({error})") from None
    patient = match and (match.group(1) if match.re.groups else match.group())
    if not patient:
        raise BadInput(f"patient={options.patient} finds no patient in {case}: widen the expression")
    return grade, patient


def _chosen(layout: Layout, options: Options) -> tuple[str, ...]:
    """The channels asked for, by the layout's own spelling; all of them where none is named."""
    known = list(layout.channels.values())
    if not options.modality or not known:
        return tuple(known)
    spelled = {name.lower(): name for name in known}
    if known in (["red", "green", "blue"], ["intensity"]):
        spelled["gray"] = "gray"
    chosen = options.modality.split(",")
    for name in chosen:
        if name.lower() not in spelled:
            raise BadInput(f"there is no modality {name!r}: {nearest(name, spelled.values())}")
    return tuple(spelled[name.lower()] for name in chosen)


def _classes(layout: Layout, options: Options) -> tuple[str, ...]:
    known = list(layout.classes.values())
    if not options.classes or not known:
        return tuple(known)
    chosen = options.classes.split(",")
    for name in chosen:
        if name not in known:
            raise BadInput(f"there is no class {name!r}: {nearest(name, known)}")
    return tuple(chosen)
