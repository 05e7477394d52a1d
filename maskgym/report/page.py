"""What a page is made of: sections of notes, tables and pictures, which each template renders in its own way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from maskgym.benchmark.statistics import Interval


@dataclass(frozen=True)
class Field:
    """What a field of a table says, and what stands smaller below it."""

    text: str
    small: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Rows:
    """A table; the first column names the row."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Field, ...], ...]
    folded: bool = False
    words: bool = False  # its fields are text and not numbers
    kind: str = "rows"


@dataclass(frozen=True)
class Notes:
    """A paragraph, or with several lines a list."""

    lines: tuple[str, ...]
    kind: str = "notes"


@dataclass(frozen=True)
class Picture:
    """A chart, to be drawn in a theme, or the file of a picture; its name is the file's beside the Markdown."""

    name: str
    alt: str
    source: Callable[..., bytes] | Path

    @property
    def is_chart(self) -> bool:
        """Whether it is drawn here."""
        return not isinstance(self.source, Path)


@dataclass(frozen=True)
class Gallery:
    """Pictures that stand side by side where there is room."""

    caption: str
    pictures: tuple[Picture, ...]
    folded: bool = False
    kind: str = "gallery"


Block = Rows | Notes | Gallery


@dataclass
class Section:
    """A heading and what stands below it."""

    title: str
    level: int
    blocks: list[Block] = field(default_factory=list)
    short: str = ""  # for the contents


@dataclass
class Page:
    """All of it."""

    title: str
    lead: str
    sections: list[Section]
    palette: dict[str, str]
    """The colour of each method."""


def notes(*lines: str) -> Notes:
    """Make a paragraph or a list."""
    return Notes(lines)


def chart(name: str, alt: str, draw: Callable[..., bytes], *told: object, **more: object) -> Picture:
    """Make a chart that is drawn when its theme is known."""
    return Picture(name, alt, partial(draw, *told, **more))


def number(interval: Interval, digits: int = 3, bold: bool = False, sign: bool = False) -> Field:
    """Make a field of a value and its interval, or the range of too few runs; a dash where it is not defined."""
    if interval.value != interval.value:
        return Field("-")
    value, low, high = (f"{round(x, digits) + 0.0:{'+' if sign else ''}.{digits}f}" for x in interval[:3])
    few = "1 run" if interval.runs == 1 else f"{low} to {high}"
    return Field(value, few if interval.kind == "range" else f"[{low}, {high}]", bold)
