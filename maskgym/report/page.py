"""What a page is made of: sections of notes, tables and pictures, which each template renders in its own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

from maskgym.benchmark.statistics import Interval
from maskgym.report.pictures import Picture


class Field(NamedTuple):
    """What a field of a table says, and what stands smaller below it."""

    text: str
    small: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Notes:
    """A paragraph, or with several lines a list."""

    lines: tuple[str, ...]
    kind: ClassVar = "notes"


@dataclass(frozen=True)
class Rows:
    """A table; the first column names the row."""

    caption: str
    headings: tuple[str, ...]
    rows: list[list[Field]]
    folded: bool = False
    words: bool = False  # its fields are text and not numbers
    kind: ClassVar = "rows"


@dataclass(frozen=True)
class Gallery:
    """Pictures that stand side by side where there is room."""

    caption: str
    pictures: list[Picture]
    folded: bool = False
    kind: ClassVar = "gallery"


Block = Rows | Notes | Gallery


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    level: int
    blocks: Sequence[Block]
    short: str = ""  # for the contents


@dataclass(frozen=True)
class Page:
    """All of it."""

    title: str
    lead: str
    sections: list[Section]
    palette: dict[str, str]
    """The colour of each method."""


def notes(*lines: str) -> list[Block]:
    """Make a paragraph, or a list, or nothing."""
    return [Notes(lines)] if lines else []


def table(
    caption: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[Field | str]],
    folded: bool = False,
    words: bool = False,
) -> list[Block]:
    """Make a table, or nothing where it has no rows; what is no field yet is its text."""
    fields = [[one if isinstance(one, Field) else Field(one) for one in row] for row in rows]
    return [Rows(caption, tuple(headings), fields, folded, words)] if rows else []


def gallery(caption: str, pictures: Sequence[Picture], folded: bool = False) -> list[Block]:
    """Put pictures side by side, where there are any."""
    return [Gallery(caption, list(pictures), folded)] if pictures else []


def chart(name: str, alt: str, draw: Callable[..., bytes], *told: object, **more: object) -> Picture:
    """Make a chart that is drawn when it is shown."""
    return Picture(name, alt, partial(draw, *told, **more))


def number(interval: Interval, digits: int = 3, bold: bool = False, sign: bool = False) -> Field:
    """Make a field of a value and its interval, or the range of too few runs; a dash where it is not defined."""
    if interval.value != interval.value:
        return Field("-")
    value, low, high = (f"{round(x, digits) + 0.0:{'+' if sign else ''}.{digits}f}" for x in interval[:3])
    few = "1 run" if interval.runs == 1 else f"{low} to {high}"
    return Field(value, few if interval.kind == "range" else f"[{low}, {high}]", bold)
