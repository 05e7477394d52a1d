"""A report as one HTML file that opens from the disk: its style, charts and pictures are inside."""

from __future__ import annotations

import base64
import io
import re
from functools import cache
from html import escape
from pathlib import Path

from maskgym.report.blocks import Block, Cell, Gallery, Picture, Report, Section, Table
from maskgym.report.charts import INK, QUIET, RULE
from maskgym.report.style import STYLE

_WIDEST = 520  # pixels of an example picture


def html(report: Report) -> str:
    """Write the page."""
    title = escape(report.title)
    links = "".join(_link(section, _anchor(place)) for place, section in enumerate(report.sections))
    body = "".join(_section(section, _anchor(place), report.palette) for place, section in enumerate(report.sections))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}: maskgym report</title><style>{STYLE}</style></head><body>"
        f'<header><p class="kind">maskgym report</p><h1>{title}</h1><p>{escape(report.lead)}</p></header>'
        f'<nav aria-label="Contents"><ul>{links}</ul></nav><main>{body}</main></body></html>\n'
    )


def _anchor(place: int) -> str:
    return f"part{place}"


def _link(section: Section, anchor: str) -> str:
    told = escape(section.short or section.title)
    return f'<li class="level{section.level}"><a href="#{anchor}">{told}</a></li>'


def _section(section: Section, anchor: str, palette: dict[str, str]) -> str:
    blocks = "".join(_block(block, palette) for block in section.blocks)
    return f'<section id="{anchor}"><h{section.level}>{escape(section.title)}</h{section.level}>{blocks}</section>'


def _block(block: Block, palette: dict[str, str]) -> str:
    if isinstance(block, Table):
        return _folded(block.caption, _table(block, palette), block.folded)
    if isinstance(block, Gallery):
        shown = "".join(_picture(picture) for picture in block.pictures)
        kind = "gallery" if isinstance(block.pictures[0].source, str) else "gallery photos"
        return _folded(block.caption, f'<div class="{kind}">{shown}</div>', block.folded)
    lines = [escape(line) for line in block.lines]
    return f"<p>{lines[0]}</p>" if len(lines) == 1 else f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>"


def _folded(caption: str, inside: str, folded: bool) -> str:
    if folded:
        return f"<details><summary>{escape(caption)}</summary>{inside}</details>"
    return f'<div class="block"><p class="caption">{escape(caption)}</p>{inside}</div>'


def _table(table: Table, palette: dict[str, str]) -> str:
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.headings)
    chips = palette if table.headings[0] == "method" else {}
    rows = "".join(
        f"<tr>{_name(row[0], chips)}{''.join(f'<td>{_cell(cell)}</td>' for cell in row[1:])}</tr>" for row in table.rows
    )
    kind = ' class="words"' if table.words else ""
    inside = f"<table{kind}><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.caption)}">{inside}</div>'


def _name(cell: Cell, palette: dict[str, str]) -> str:
    colour = palette.get(cell.text)
    chip = f'<i style="background:{colour}"></i>' if colour else ""
    return f'<th scope="row">{chip}{_cell(cell)}</th>'


def _cell(cell: Cell) -> str:
    shown = f"<b>{escape(cell.text)}</b>" if cell.bold else escape(cell.text)
    return shown + (f"<small>{escape(cell.small)}</small>" if cell.small else "")


def _picture(picture: Picture) -> str:
    told = escape(picture.alt)
    if isinstance(picture.source, str):
        return f'<figure role="img" aria-label="{told}">{_inline(picture)}</figure>'
    coded = base64.b64encode(as_jpeg(picture.source)).decode()
    source = f"data:image/jpeg;base64,{coded}"
    brief = escape(picture.alt.partition(":")[0])
    return f'<figure><img alt="{told}" src="{source}"><figcaption>{brief}</figcaption></figure>'


def _inline(picture: Picture) -> str:
    """Let a chart take the page's colours, and give its parts names that no other chart on the page has."""
    drawn = str(picture.source)
    name = re.sub(r"\W", "-", picture.name)
    drawn = re.sub(r' xmlns(:\w+)?="[^"]*"', "", drawn).replace("xlink:href", "href")
    drawn = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", drawn)
    drawn = re.sub(r' (width|height)="[\d.]+pt"', "", drawn, count=2)
    for colour, ours in ((INK, "--ink"), (QUIET, "--quiet"), (RULE, "--rule"), ("#ffffff", "--paper")):
        drawn = drawn.replace(colour, f"var({ours})")
    return drawn


@cache
def as_jpeg(file: Path) -> bytes:
    """Read a picture at the size at which it is shown; nothing where it cannot be read."""
    from PIL import Image

    out = io.BytesIO()
    try:
        with Image.open(file) as image:
            small = image.convert("RGB")
            small.thumbnail((_WIDEST, 10 * _WIDEST))
            small.save(out, "JPEG", quality=82, optimize=True)
    except OSError:
        Image.new("RGB", (1, 1), "white").save(out, "JPEG")
    return out.getvalue()
