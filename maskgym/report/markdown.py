"""A report as Markdown, its pictures as files in a folder beside it."""

from __future__ import annotations

import re

from maskgym.report.blocks import Block, Cell, Gallery, Picture, Report, Table

FOLDER = "pictures"


def file_name(picture: Picture) -> str:
    """Of a picture in the folder."""
    return picture.name + (".svg" if isinstance(picture.source, str) else ".jpg")


def on_paper(drawing: str) -> str:
    """Put white behind a chart that stands alone: whoever shows it may have a dark page."""
    head, mark, rest = drawing.partition(">")
    return f'{head}{mark}<rect width="100%" height="100%" fill="white"/>{rest}'


def markdown(report: Report) -> str:
    """Write everything down."""
    parts = [f"# {_plain(report.title)}", _plain(report.lead)]
    for section in report.sections:
        parts += [f"{'#' * section.level} {_plain(section.title)}", *(_block(block) for block in section.blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Table):
        rule = "|".join(["---", *["---" if block.words else "---:"] * (len(block.headings) - 1)])
        lines = [f"| {' | '.join(map(_plain, block.headings))} |", f"|{rule}|"]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in block.rows]
        return f"{_plain(block.caption)}\n\n" + "\n".join(lines)
    if isinstance(block, Gallery):
        shown = "\n".join(f"![{_plain(one.alt)}]({FOLDER}/{file_name(one)})" for one in block.pictures)
        return f"{_plain(block.caption)}\n\n{shown}"
    lines = [_plain(line) for line in block.lines]
    return lines[0] if len(lines) == 1 else "\n".join(f"- {line}" for line in lines)


def _cell(cell: Cell) -> str:
    shown = f"**{_plain(cell.text)}**" if cell.bold else _plain(cell.text)
    return f"{shown} {_plain(cell.small)}".strip()


def _plain(said: str) -> str:
    """Take every sign's meaning away: a method called a_b_c is no emphasis, and `<b>` no tag."""
    return re.sub(r"([\\`*_|<>~])|([\[\]])(?=[^ ]*\()", r"\\\1\2", " ".join(said.split()))
