"""The commands `maskgym data ...`: what layouts there are, what is in a folder, prepare it, look at it, split it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maskgym.errors import BadInput

if TYPE_CHECKING:
    from maskgym.data.check import Report
    from maskgym.data.images import Images
    from maskgym.data.spec import Spec

NO_PATIENTS = "no patient ids were published: every image counts as its own patient"


@dataclass(frozen=True)
class List:
    """List the data-set layouts, and the options that may follow the `?` of a data set."""

    def __call__(self) -> None:
        """Print the two tables."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        from maskgym.data.layouts import LAYOUTS
        from maskgym.data.spec import explained

        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("data set", no_wrap=True)
        table.add_column("what it is")
        table.add_row("phantoms", "made-up slices and volumes with organs and lesions; nothing to download")
        for name, layout in LAYOUTS.items():
            table.add_row(f"{name}:DIR", layout.about)
        options = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        options.add_column("option", no_wrap=True)
        options.add_column("what it does")
        for name, default, sentence in explained():
            options.add_row(f"{name}={default}", Text(sentence))
        console = Console(highlight=False)
        console.print(table)
        console.print("\nOptions follow a `?`, as in lgg:/data/kaggle_3m?modality=FLAIR&seed=1\n", markup=False)
        console.print(options)


@dataclass(frozen=True, kw_only=True)
class Check:
    """Open every file of a data set and report all that is wrong; exit code 1 if a file cannot be used."""

    data: str
    """The images: LAYOUT:FOLDER, as in lgg:/data/kaggle_3m."""
    patch_size: int = 8
    """Report images with a side of fewer pixels than this."""

    def __call__(self) -> int:
        """Print the report; 1 where a file cannot be used."""
        from maskgym.data.check import check

        report = check(_on_disk(self.data), self.patch_size)
        _print_report(self.data, report)
        return 0 if report.ok else 1


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Bring every case of a data set into the case store, in several processes; what is there already stays.

    Whatever uses the data set does this by itself, for the split it needs. A preparation that was killed goes on when
    the same command is given again.
    """

    data: str
    """The images: LAYOUT:FOLDER, as in lgg:/data/kaggle_3m."""
    workers: int = 0
    """Processes; 0 = one for each core if there is much to do."""
    verify: bool = False
    """Read every stored case, compare it with its hash, and prepare again what differs."""

    def __call__(self) -> None:
        """Prepare, and say what the store holds."""
        from time import perf_counter

        from maskgym.data.case import StoredCase
        from maskgym.data.cases import open_cases
        from maskgym.data.prepare import verify

        _on_disk(self.data)
        if self.workers < 0:
            raise BadInput(f"--workers {self.workers} should be 0 or above")
        start = perf_counter()
        cases = open_cases(self.data, "all", workers=self.workers)
        if self.verify and (damaged := verify([case for case in cases if isinstance(case, StoredCase)])):
            print(f"made anew, for they did not agree with their hash: {len(damaged)} ({', '.join(damaged[:5])})")
            cases = open_cases(self.data, "all", workers=self.workers)
        size = sum(case.size for case in cases if isinstance(case, StoredCase)) / 2**20
        patients = len({case.patient for case in cases})
        print(f"{len(cases)} cases of {patients} patients, {size:.1f} MiB, after {perf_counter() - start:.1f} s")
        for note in cases.notes:
            print(f"  {note}")


@dataclass(frozen=True, kw_only=True)
class Show:
    """Write a sheet of prepared images, as an agent gets them, with the outlines of their labels."""

    data: str
    """The images: phantoms, or LAYOUT:FOLDER as in lgg:/data/kaggle_3m?modality=FLAIR."""
    out: Path = Path("sheet.png")
    """The PNG to write."""
    image_size: str = "128x128"
    """Pixels along each axis: 128x128, 32x32x32 for volumes; one number means a square."""
    split: str = "train"
    """Which images: train, val or test."""
    split_file: Path | None = None
    """A split saved by `maskgym data split`; empty = the data set's own."""
    images: int = 24
    """How many images, spread evenly over the split."""

    def __call__(self) -> None:
        """Write the sheet and say what is on it."""
        from maskgym.data.sheet import write
        from maskgym.data.source import load
        from maskgym.sizes import read_size

        if self.images < 1:
            raise BadInput(f"--images {self.images} should be at least 1")
        split_file = str(self.split_file) if self.split_file else None
        size = read_size(self.image_size, "image_size")
        images = load(self.data, size=size, split=self.split, split_file=split_file)
        shown = "x".join(map(str, size))
        write(images, self.out, f"{_without_folders(self.data)}, {self.split}, {shown}", self.images)
        print(f"{self.out}: {min(self.images, len(images))} of {_summary(images)}")
        for note in images.notes:
            print(f"  {note}")


@dataclass(frozen=True, kw_only=True)
class Split:
    """Split a data set by patient, with nested shares of labelled patients, and save the split as JSON."""

    data: str
    """The images: LAYOUT:FOLDER; the seed of the split is an option, as in lgg:/data/kaggle_3m?seed=1."""
    out: Path = Path("split.json")
    """The JSON file to write; with --folds, split-1.json and so on."""
    folds: int = 0
    """Write so many splits, with every patient in the test part of exactly one; 0 = one split of 70, 10 and 20 %."""

    def __call__(self) -> None:
        """Write the split and say how large its parts are."""
        from maskgym.data import splits
        from maskgym.data.find import find

        spec = _on_disk(self.data)
        found = find(spec)
        if self.folds:
            made = splits.folds(found.patients, self.folds, spec.options.seed, spec.layout)
        else:
            made = [splits.by_patient(found.patients, spec.options.seed, spec.layout)]
        for number, split in enumerate(made, 1):
            out = self.out.with_stem(f"{self.out.stem}-{number}") if self.folds else self.out
            splits.save(split, out)
            sizes = ", ".join(f"{part} {len(split.of(part))}" for part in splits.PARTS)
            shares = ", ".join(f"{share} = {len(patients)}" for share, patients in split.labelled.items())
            print(f"{out}: {len(found.patients)} patients: {sizes}; labelled shares of train: {shares}; {split.hash}")
        if not found.layout.has_patients:
            print(f"  {NO_PATIENTS}")
        if found.problems:
            print(f"  {len(found.problems)} problems with files: `maskgym data check` lists them")


@dataclass(frozen=True)
class Clear:
    """Empty the cache of prepared cases and images ($MASKGYM_CACHE, else ~/.cache/maskgym)."""

    def __call__(self) -> None:
        """Remove the entries and say how much room that made."""
        from maskgym.data import cache

        entries, freed = cache.clear()
        print(f"{cache.folder()}: entries removed: {entries}, freed: {freed / 2**20:.1f} MiB")


def _on_disk(dataset: str) -> Spec:
    """Read the string of a data set that lies in files."""
    from maskgym.data.spec import parse

    spec = parse(dataset)
    if spec.layout == "phantoms":
        raise BadInput("phantoms are made, not read: they have neither files nor patients")
    return spec


def _print_report(dataset: str, report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    found, classes = report.found, report.found.classes
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_row("cases", f"{len(found.cases)}, of which {report.opened} can be used")
    table.add_row("patients", str(len(found.patients)) if found.layout.has_patients else NO_PATIENTS)
    table.add_row("channels", ", ".join(found.channels))
    table.add_row("sizes", _spread(report.shapes))
    if report.spacings:
        table.add_row("spacing in mm", _spread(report.spacings))
    for name, values in zip(("lowest value", "highest value"), zip(*report.ranges, strict=True), strict=False):
        table.add_row(name, f"{min(values):g}" if min(values) == max(values) else f"{min(values):g} to {max(values):g}")
    for name in classes:
        cases = f"{report.cases_of_class[name]} of {report.opened} cases"
        table.add_row(
            f"label {name}", f"in {cases}, {report.voxels_of_class[name] / max(report.voxels, 1):.2%} of the area"
        )
    if classes:
        table.add_row("empty labels", f"{report.empty} of {report.opened} cases")
    for grade, name in enumerate(found.layout.grades):
        table.add_row(f"grade {name}", f"{sum(case.grade == grade for case in found.cases)} cases")
    errors = [problem for problem in report.problems if problem.fatal]
    remarks = [problem for problem in report.problems if not problem.fatal]
    table.add_row("problems", f"{len(errors)} to repair, {len(remarks)} to know of")
    console = Console(highlight=False)
    console.print(dataset, markup=False)
    console.print(table)
    for colour, word, problems in (("red", "repair", errors), ("yellow", "know", remarks)):
        for problem in problems:
            console.print(f"[{colour}]{word:7}[/]", end="")
            console.print(str(problem), markup=False, soft_wrap=True)


def _spread(counts: Mapping[tuple[float, ...], int]) -> str:
    """Sizes or spacings with their counts; where there are many, the least and the greatest along every axis."""
    if len(counts) <= 3:
        return ", ".join(" x ".join(f"{side:g}" for side in sides) + f" ({count})" for sides, count in counts.items())
    axes = [(min(along), max(along)) for along in zip(*counts, strict=False)]
    sides = [f"{low:g}" if low == high else f"{low:g}-{high:g}" for low, high in axes]
    return f"{' x '.join(sides)} ({len(counts)} different)"


def _summary(images: Images) -> str:
    labels = "no labels" if images.labels is None else f"labels: {', '.join(images.classes)}"
    whose = f"{len(images)} images of {len(set(images.patients))} patients"
    return f"{whose}, channels: {', '.join(images.channels)}, {labels}"


def _without_folders(dataset: str) -> str:
    """A data set by the last folder of its path, for a title."""
    layout, _, rest = dataset.partition(":")
    folder, mark, options = rest.partition("?")
    return f"{layout}:{Path(folder).name}{mark}{options}" if rest else dataset
