"""The commands `maskgym data ...`: what layouts there are, what is in a folder, how it looks, how it is split."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from maskgym.errors import BadInput

if TYPE_CHECKING:
    from maskgym.data.check import Report
    from maskgym.data.source import Images

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


@dataclass(frozen=True)
class Check:
    """Open every file of a data set and report all that is wrong; leaves with 1 if a file cannot be used."""

    dataset: Positional[str]
    """Layout and folder, as in lgg:/data/kaggle_3m."""
    patch: int = 8
    """Report images with a side below this many pixels."""

    def __call__(self) -> int:
        """Print the report; 1 where a file cannot be used."""
        from maskgym.data.check import check
        from maskgym.data.spec import parse

        spec = parse(self.dataset)
        if spec.layout == "phantoms":
            raise BadInput("phantoms are made, not read: there are no files to check")
        report = check(spec, self.patch)
        _print_report(self.dataset, report)
        return 0 if report.ok else 1


@dataclass(frozen=True)
class Show:
    """Write a sheet of prepared images, as an agent gets them, with the outlines of their labels."""

    dataset: Positional[str]
    """Layout and folder, as in lgg:/data/kaggle_3m?modality=FLAIR, or phantoms."""
    out: Path = Path("sheet.png")
    """The PNG to write."""
    size: str = "128x128"
    """Height x width, or depth x height x width for volumes."""
    split: str = "train"
    """train, val or test."""
    split_file: Path | None = None
    """A split saved by `maskgym data split`."""
    count: int = 24
    """How many images."""

    def __call__(self) -> None:
        """Write the sheet and say what is on it."""
        from maskgym.data.sheet import write
        from maskgym.data.source import load

        if self.count < 1:
            raise BadInput(f"--count {self.count} should be at least 1")
        split_file = str(self.split_file) if self.split_file else None
        images = load(self.dataset, size=read_size(self.size), split=self.split, split_file=split_file)
        write(images, self.out, f"{_without_folders(self.dataset)}, {self.split}, {self.size}", self.count)
        print(f"{self.out}: {min(self.count, len(images))} of {_summary(images)}")
        for note in images.notes:
            print(f"  {note}")


@dataclass(frozen=True)
class Split:
    """Split a data set by patient and save who is where as JSON, with nested shares of labelled patients."""

    dataset: Positional[str]
    """Layout and folder; the seed of the split is an option, as in lgg:/data/kaggle_3m?seed=1."""
    out: Path = Path("split.json")
    """The JSON to write."""

    def __call__(self) -> None:
        """Write the split and say how large its parts are."""
        from maskgym.data import splits
        from maskgym.data.find import find
        from maskgym.data.spec import parse

        spec = parse(self.dataset)
        if spec.layout == "phantoms":
            raise BadInput("phantoms have no patients: their train, val and test images never overlap")
        found = find(spec)
        split = splits.by_patient(found.patients, spec.options.seed, spec.layout)
        splits.save(split, self.out)
        sizes = ", ".join(f"{part} {len(split.of(part))}" for part in splits.PARTS)
        shares = ", ".join(f"{share} = {len(patients)}" for share, patients in split.labelled.items())
        print(f"{self.out}: {len(found.patients)} patients: {sizes}; labelled shares of train: {shares}; {split.hash}")
        if not found.layout.has_patients:
            print(f"  {NO_PATIENTS}")
        if found.problems:
            print(f"  {len(found.problems)} problems with files: `maskgym data check` lists them")


@dataclass(frozen=True)
class Clear:
    """Empty the cache of prepared images ($MASKGYM_CACHE, else ~/.cache/maskgym)."""

    def __call__(self) -> None:
        """Remove the entries and say how much room that made."""
        from maskgym.data import cache

        entries, freed = cache.clear()
        print(f"{cache.folder()}: entries removed: {entries}, freed: {freed / 2**20:.1f} MiB")


def read_size(text: str) -> tuple[int, ...]:
    """`128x128` as (128, 128)."""
    if not re.fullmatch(r"\d+x\d+(x\d+)?", text):
        raise BadInput(f"size {text!r} should be HxW or DxHxW, as in 128x128")
    return tuple(int(side) for side in text.split("x"))


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
