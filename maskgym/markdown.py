"""Tables as Markdown, the one way all of them are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table; a bar inside a cell is escaped.

    >>> print(table(["agent", "points"], [["random", 0.1]]))
    | agent | points |
    |---|---|
    | random | 0.1 |
    """
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(_row(cells, rule=number == 1) for number, cells in enumerate(lines))


def _row(cells: Sequence[object], rule: bool) -> str:
    if rule:
        return "|" + "|".join(str(cell) for cell in cells) + "|"
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
