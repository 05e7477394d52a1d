"""`maskgym report`: what a study came to, as a page to open and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from maskgym.commands.options import FOLDER


@dataclass(frozen=True)
class WriteReport:
    """Write one self-contained HTML page about a study, and the same as Markdown; an unfinished study will do."""

    study: Annotated[Path, tyro.conf.Positional, FOLDER]
    """The folder of a study, as `maskgym study --out` was given it."""
    out: Path | None = None
    """Folder for report.html, REPORT.md and pictures/; left out: report/ inside the study."""

    def __call__(self) -> None:
        """Read, compare, write."""
        from maskgym.report.write import MARKDOWN, report

        page = report(self.study, self.out or self.study / "report")
        print(f"wrote {page} and {MARKDOWN} beside it")
