"""Write a report: report.html, one page with all in it, and REPORT.md with its pictures/."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from maskgym import markdown
from maskgym.data.progress import track
from maskgym.errors import BadInput
from maskgym.files import replacing
from maskgym.report.charts import DARK, LIGHT, colours
from maskgym.report.details import how_made, pre_training, settings, times, unfinished
from maskgym.report.load import Findings, load
from maskgym.report.page import Field, Gallery, Page, Rows
from maskgym.report.summarise import data_set, glance
from maskgym.report.worth import winning, worth_section

PAGE, MARKDOWN, PICTURES = "report.html", "REPORT.md", "pictures"


def report(folder: Path, out: Path) -> Path:
    """Read the study in a folder and write its report to another; returns the page."""
    page = build(load(folder))
    galleries = [block for section in page.sections for block in section.blocks if isinstance(block, Gallery)]
    pictures = [picture for one in galleries for picture in one.pictures if picture.is_there]
    try:
        (out / PICTURES).mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            with replacing(out / PICTURES / picture.file) as draft:
                draft.write_bytes(picture.alone())
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
    sections += [unfinished(found), how_made(found)]
    return Page(found.folder.resolve().name, _lead(found), [one for one in sections if one.blocks], palette)


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
    environment.filters |= {"plain": plain, "table": _table}
    style = Markup(files("maskgym.report").joinpath("templates/style.css").read_text())
    return environment.get_template(template).render(page=page, style=style, themes=(LIGHT, DARK), pictures=PICTURES)


def _table(rows: Rows) -> str:
    return markdown.table(list(map(plain, rows.headings)), [list(map(_field, row)) for row in rows.rows])


def _field(field: Field) -> str:
    shown = f"**{plain(field.text)}**" if field.bold else plain(field.text)
    return f"{shown} {plain(field.small)}".strip()


_MEANING = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_<>~[]"})


def plain(said: str) -> str:
    """Take every sign's meaning away: a method called a_b_c is no emphasis, and `<b>` no tag."""
    return " ".join(said.split()).translate(_MEANING)
