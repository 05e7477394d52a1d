"""Write a report: report.html, REPORT.md with pictures/, nothing else."""

from __future__ import annotations

from pathlib import Path

from maskgym.errors import BadInput
from maskgym.report.blocks import Gallery
from maskgym.report.contents import build
from maskgym.report.html import as_jpeg, html
from maskgym.report.markdown import FOLDER, file_name, markdown, on_paper
from maskgym.report.read import read

PAGE, MARKDOWN = "report.html", "REPORT.md"


def report(folder: Path, out: Path) -> Path:
    """Read the study in a folder and write its report to another; returns the page."""
    made = build(read(folder))
    pictures = [
        picture
        for section in made.sections
        for block in section.blocks
        if isinstance(block, Gallery)
        for picture in block.pictures
    ]
    try:
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            file = out / FOLDER / file_name(picture)
            if isinstance(picture.source, str):
                file.write_bytes(on_paper(picture.source).encode())
            else:
                file.write_bytes(as_jpeg(picture.source))
        (out / MARKDOWN).write_bytes(markdown(made).encode())
        (out / PAGE).write_bytes(html(made).encode())
    except OSError as error:
        raise BadInput(f"cannot write to {out}: {error.strerror or error}; choose another --out") from error
    return out / PAGE
