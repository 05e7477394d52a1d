"""How the site is built: python -m sphinx -W -b html docs site."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from maskgym import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402 (the folder of pages is no package)

project = "maskgym"
author = "the maskgym authors"
copyright = "the maskgym authors, MIT licence"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "code"  # docstrings write code in single backticks, as Markdown does
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline"]

html_theme = "furo"
html_title = f"maskgym {__version__}"
html_favicon = "pictures/icon.svg"
html_theme_options = {
    "source_repository": "https://github.com/maskgym/maskgym/",
    "source_branch": "main",
    "source_directory": "docs/",
    "light_css_variables": {"color-brand-primary": "#00609c", "color-brand-content": "#00609c"},
    "dark_css_variables": {"color-brand-primary": "#6cc0f5", "color-brand-content": "#6cc0f5"},
}

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
nitpicky = False

_SOURCE = "https://github.com/maskgym/maskgym/blob/main/"


def link_to_sources(_app: Any, docname: str, text: list[str]) -> None:
    """Let links that leave the folder of pages, as ../examples/first_steps.ipynb, lead to the repository."""
    up = "../" * (docname.count("/") + 1)
    text[0] = re.sub(rf"\]\({re.escape(up)}([^)#]+)", rf"]({_SOURCE}\1", text[0])


def read_markdown(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Let autodoc read docstrings as they are written: Markdown's headings, and stars and bars that mean themselves."""
    read: list[str] = []
    for line in lines:
        if found := re.match(r"#+ (.*)$", line):
            read += [f".. rubric:: {found[1]}", ""]
        elif line.lstrip().startswith((">>>", "...")):
            read.append(line)
        else:
            bullet = re.match(r"\s*\* ", line)
            start = bullet.end() if bullet else 0
            pieces = line[start:].split("`")  # every second one is code
            pieces[::2] = [re.sub(r"([*|]|_\b)", r"\\\1", piece) for piece in pieces[::2]]
            read.append(line[:start] + "`".join(pieces))
    lines[:] = read


def write_commands(_app: Any) -> None:
    """Write the page of commands, which the repository does not keep."""
    (HERE / "commands.md").write_text(generate.commands_page())


def setup(app: Any) -> None:
    """Connect the three."""
    app.connect("builder-inited", write_commands)
    app.connect("source-read", link_to_sources)
    app.connect("autodoc-process-docstring", read_markdown, priority=400)  # before napoleon reads them
