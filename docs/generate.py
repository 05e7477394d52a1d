"""Write docs/environments from the docstrings; with --check, only say whether the pages are up to date."""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

from maskgym.envs.mask_mim import MaskMIM
from maskgym.envs.registry import IDS
from maskgym.envs.task import Settings, parse_size
from maskgym.masking.patches import Patches

FOLDER = Path(__file__).parent / "environments"


def sentences(cls: type) -> dict[str, str]:
    """Read the sentence under each field of a dataclass from its source."""
    body = ast.parse(inspect.getsource(cls)).body[0].body  # type: ignore[attr-defined]
    found = {}
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            found[field.target.id] = inspect.cleandoc(below.value.value)  # type: ignore[union-attr, attr-defined]
    return found


def page(environment: str) -> str:
    """Make the page of one registered environment."""
    settings = Settings.of(dict(IDS[environment]))
    size = parse_size(settings.image_size, 2, "image_size")
    patches = Patches(size, parse_size(settings.patch_size, len(size), "patch_size"))
    told = sentences(Settings)
    names = [field.name for field in fields(Settings)]
    rows = [f"| `{name}` | `{getattr(settings, name)!r}` | {told[name]} |" for name in names]
    table = "\n".join(["| keyword | default | what it says |", "|---|---|---|", *rows])
    text = inspect.cleandoc(MaskMIM.__doc__ or "")
    text = text.replace("The fields of the settings, by keyword.", table)
    hidden = int(settings.ratio * patches.count)
    facts = "\n".join(
        [
            "| | |",
            "|---|---|",
            f'| make | `gym.make("maskgym:{environment}")` |',
            f"| observation | `Box(0, 255, {(*size, 1)}, uint8)` |",
            f"| action | `MultiBinary({patches.count})`, a grid of {' x '.join(map(str, patches.grid))} patches |",
            f"| hidden | {hidden} of {patches.count} patches |",
        ]
    )
    note = "<!-- Made by docs/generate.py from the class docstring; edit that. -->"
    return f"{note}\n# {environment}\n\n{facts}\n\n{text}\n"


def main() -> int:
    """Write the pages, or compare them."""
    check = "--check" in sys.argv[1:]
    stale = []
    for name in IDS:
        path = FOLDER / f"{name}.md"
        if check and (not path.exists() or path.read_text() != page(name)):
            stale.append(path.name)
        elif not check:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(page(name))
    if stale:
        print(f"out of date: {', '.join(stale)}; run python docs/generate.py")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
