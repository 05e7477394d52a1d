"""Write a report: report.html, one page with all in it, and REPORT.md with its pictures/."""

from __future__ import annotations

import base64
import io
import warnings
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from maskgym import markdown
from maskgym.data.progress import track
from maskgym.errors import BadInput
from maskgym.files import replacing
from maskgym.report.charts import DARK, LIGHT, Theme, colours
from maskgym.report.details import how_made, pre_training, settings, times, unfinished
from maskgym.report.load import Findings, load
from maskgym.report.page import Field, Gallery, Page, Picture, Rows
from maskgym.report.summarise import data_set, glance
from maskgym.report.worth import winning, worth_section

PAGE, MARKDOWN, PICTURES = "report.html", "REPORT.md", "pictures"
_WIDEST = 520  # pixels of an example picture
_LARGEST = 40_000_000  # pixels of one that is read at all


def report(folder: Path, out: Path) -> Path:
    """Read the study in a folder and write its report to another; returns the page."""
    page = build(load(folder))
    pictures = [p for s in page.sections for b in s.blocks if isinstance(b, Gallery) for p in b.pictures if is_sound(p)]
    try:
        (out / PICTURES).mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            with replacing(out / PICTURES / file_name(picture)) as draft:
                draft.write_bytes(on_paper(picture) if picture.is_chart else as_jpeg(picture.source))
        for name in (MARKDOWN, PAGE):
            with replacing(out / name) as draft:
                draft.write_text(render(page, f"{name.lower()}.j2"), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write to {out}: {error.strerror or error}; choose another --out") from error
    return out / PAGE


def build(found: Findings) -> Page:
    """Say all that the study's files tell."""
    palette = colours(found.methods)
    sections = [glance(found, palette), worth_section(found, palette)]
    for place in track(list(found.names), "comparing"):
        sections += data_set(found, place, palette)
    sections += [winning(found, palette), pre_training(found, palette), times(found), settings(found)]
    sections += [unfinished(found)] if found.unfinished else []
    sections = [section for section in sections if section.blocks] + [how_made(found)]
    return Page(found.folder.resolve().name, _lead(found), sections, palette)


def _lead(found: Findings) -> str:
    counts = [
        (len(found.names), "data set"),
        (len(found.methods), "method"),
        (len(found.shares), "label share"),
        (len({run.job.seed for run in found.tuned}), "seed"),
        (len({run.label_seed for run in found.tuned}), "draw"),
        (len(found.tuned), "finished fine-tuning"),
    ]
    told = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts)
    left = len(found.unfinished)
    missing = f" {left} job{' is' if left == 1 else 's are'} not finished, see below." if left else ""
    return f"{told}. Written on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.{missing}"


def render(page: Page, template: str) -> str:
    """Fill a template; what is not marked as safe is escaped, in HTML and in Markdown."""
    environment = Environment(
        loader=PackageLoader("maskgym.report"),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests["sound"] = is_sound
    environment.filters |= {"light": lambda one: _inline(one, LIGHT), "dark": lambda one: _inline(one, DARK)}
    environment.filters |= {"jpeg": lambda one: _data(as_jpeg(one.source), "image/jpeg")}
    environment.filters |= {"plain": plain, "table": _table, "file_name": file_name}
    style = files("maskgym.report").joinpath("templates/style.css").read_text()
    return environment.get_template(template).render(page=page, style=Markup(style), pictures=PICTURES)


def file_name(picture: Picture) -> str:
    """Of a picture in the folder."""
    return picture.name + (".svg" if picture.is_chart else ".jpg")


def on_paper(picture: Picture) -> bytes:
    """Draw a chart with paper behind it: whoever shows it alone may have a dark page."""
    head, mark, rest = _drawn(picture, LIGHT).partition(b"<g ")
    return head + b'<rect width="100%" height="100%" fill="white"/>' + mark + rest


def is_sound(picture: Picture) -> bool:
    """Whether there is something to show."""
    return picture.is_chart or bool(as_jpeg(picture.source))


def _drawn(picture: Picture, theme: Theme) -> bytes:
    assert not isinstance(picture.source, Path)
    return picture.source(theme=theme)


def _inline(picture: Picture, theme: Theme) -> str:
    return _data(_drawn(picture, theme), "image/svg+xml")


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@cache
def as_jpeg(file: Path) -> bytes:
    """Read a picture at the size at which it is shown; nothing where it is damaged, or far too large to be one."""
    from PIL import Image

    out = io.BytesIO()
    try:
        with warnings.catch_warnings(), Image.open(file, formats=["PNG"]) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if image.width * image.height > _LARGEST:
                return b""
            small = image.convert("RGB")
            small.thumbnail((_WIDEST, 10 * _WIDEST))
            small.save(out, "JPEG", quality=82, optimize=True)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return b""
    return out.getvalue()


def _table(rows: Rows) -> str:
    return markdown.table(list(map(plain, rows.headings)), [list(map(_field, row)) for row in rows.rows])


def _field(field: Field) -> str:
    shown = f"**{plain(field.text)}**" if field.bold else plain(field.text)
    return f"{shown} {plain(field.small)}".strip()


_MEANING = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_<>~[]"})


def plain(said: str) -> str:
    """Take every sign's meaning away: a method called a_b_c is no emphasis, and `<b>` no tag."""
    return " ".join(said.split()).translate(_MEANING)
