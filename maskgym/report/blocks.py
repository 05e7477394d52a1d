"""What a report is made of: sections of text, tables and pictures, which every writer renders in its own way."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from maskgym.benchmark.statistics import Interval


@dataclass(frozen=True)
class Cell:
    """A field of a table: what it says, and what stands smaller beside it."""

    text: str
    small: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under headings; the first column names the row."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False
    words: bool = False  # its fields are text and not numbers


@dataclass(frozen=True)
class Text:
    """A paragraph, or with several lines a list."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """A chart (SVG as text) or the file of a picture; its name is the file's beside the Markdown."""

    name: str
    alt: str
    source: str | Path


@dataclass(frozen=True)
class Gallery:
    """Pictures that stand side by side where there is room."""

    caption: str
    pictures: tuple[Picture, ...]
    folded: bool = False


Block = Table | Text | Gallery


@dataclass
class Section:
    """A heading and what stands below it."""

    title: str
    level: int
    blocks: list[Block] = field(default_factory=list)
    short: str = ""  # for the contents


@dataclass
class Report:
    """All of it."""

    title: str
    lead: str
    sections: list[Section]
    palette: dict[str, str]
    """The colour of each method."""


def text(*lines: str) -> Text:
    """Make a paragraph."""
    return Text(lines)


def figure(interval: Interval, digits: int = 3, bold: bool = False, sign: bool = False) -> Cell:
    """Make a field of a figure and its interval; nothing where it is not defined."""
    if interval.value != interval.value:
        return Cell("-")
    value, low, high = (f"{round(number, digits) + 0.0:{'+' if sign else ''}.{digits}f}" for number in interval[:3])
    return Cell(value, f"[{low}, {high}]", bold)
