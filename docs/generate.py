"""Write what the docs take from the code: cards of environments and tables of settings.

With --check, only say which pages are out of date.

In any page, the lines between `<!-- settings of maskgym_agents.a3c:A3C.Settings -->` and `<!-- end -->` are replaced by
a table of that dataclass. The page of commands is made when the site is built, see conf.py.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from maskgym.cli import COMMANDS, command
from maskgym.commands.options import explained
from maskgym.envs.mask_mim import MaskMIM
from maskgym.envs.mask_mim_query import MaskMIMQuery
from maskgym.envs.registry import IDS, QUERY_IDS
from maskgym.fields import sentences
from maskgym.markdown import table
from maskgym.masking.patches import Patches
from maskgym.sizes import read_size

DOCS = Path(__file__).parent
_COMMANDS = """# Commands

{table}

Counts may be written as `2000`, `2_000` or `2e3`. Bad input is answered in one line, and the exit code is 2.
Long work that was stopped goes on when the same command is given again; other settings are refused, and `--fresh`
starts over. The exit code after Ctrl-C is 130.

The Tab key completes commands and options in new shells after, in bash,

```bash
mkdir -p ~/.local/share/bash-completion/completions
maskgym completion bash > ~/.local/share/bash-completion/completions/maskgym
```

and in zsh, where `compinit` comes first in `~/.zshrc`,

```bash
maskgym completion zsh > ~/.maskgym-completion
echo "source ~/.maskgym-completion" >> ~/.zshrc
```
"""
_BLOCK = re.compile(r"(<!-- settings of ([\w.]+):([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def environment_page(environment: str) -> str:
    """Make the card of one registered environment, in Gymnasium's form: facts, then the docstring of its class."""
    face = MaskMIM if environment in IDS else MaskMIMQuery
    settings = face.episodes_type.settings_type.of({**IDS, **QUERY_IDS}[environment])
    size = read_size(settings.image_size, "image_size")
    patches = Patches(size, read_size(settings.patch_size, "patch_size", len(size)))
    text = inspect.cleandoc(face.__doc__ or "")
    text = text.replace("The fields of the settings, by keyword.", settings_table(settings))
    hidden = int(settings.ratio * patches.count)
    box = f"`Box(0, 255, {(*size, 1)}, uint8)`"
    facts = [
        ("make", f'`gymnasium.make("maskgym:{environment}")`'),
        ("observation", box if face is MaskMIM else f"`Dict`: the image, {box}, and what was tried"),
        ("action", f"`MultiBinary({patches.count})`, a grid of {' x '.join(map(str, patches.grid))} patches"),
        ("hidden", f"{hidden} of {patches.count} patches"),
        ("steps an episode", "1" if face is MaskMIM else f"up to {settings.queries}"),
        ("import", "`pip install maskgym`; the prefix `maskgym:` imports it in every process"),
    ]
    note = "<!-- Made by docs/generate.py from the class docstring; edit that. -->"
    return f"{note}\n# {environment}\n\n{table(('', ''), facts)}\n\n{text}\n"


def settings_table(settings: Any) -> str:
    """Make the table of a dataclass, or of one with values of its own."""
    cls = settings if isinstance(settings, type) else type(settings)
    told = sentences(cls)
    rows = []
    for field in fields(cls):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        value = default if isinstance(settings, type) else getattr(settings, field.name)
        rows.append((f"`{field.name}`", "required" if value is MISSING else f"`{value!r}`", told.get(field.name, "")))
    return table(("keyword", "default", "what it says"), rows)


def filled(text: str) -> str:
    """Bring the tables of settings inside a page up to date."""

    def block(found: re.Match[str]) -> str:
        thing: Any = importlib.import_module(found[2])
        for name in found[3].split("."):
            thing = getattr(thing, name)
        return f"{found[1]}\n{settings_table(thing)}\n\n{found[4]}"

    return _BLOCK.sub(block, text)


def commands_page() -> str:
    """Make the page of all commands and their options."""
    links = [(f"[`maskgym {name}`](#maskgym-{name.replace(' ', '-')})", told) for name, (_, told) in COMMANDS.items()]
    parts = [_COMMANDS.format(table=table(("command", "what it does"), links))]
    for name in COMMANDS:
        cls = command(name)
        rows = [(f"`{option}`", told) for option, told in explained(cls).items()]
        parts.append(f"## maskgym {name}\n\n{inspect.cleandoc(cls.__doc__ or '')}\n")
        parts += [table(("option", "what it says"), rows) + "\n"] if rows else []
    return "\n".join(parts)


def pages() -> dict[Path, str]:
    """Make every page of the repository that the code has a say in."""
    texts = {path: path.read_text() for path in sorted(DOCS.rglob("*.md"))}
    made = {path: filled(text) for path, text in texts.items() if "<!-- settings of" in text}
    return made | {DOCS / "environments" / f"{name}.md": environment_page(name) for name in (*IDS, *QUERY_IDS)}


def main() -> int:
    """Write the pages, or compare them."""
    stale = {path: text for path, text in pages().items() if not path.exists() or path.read_text() != text}
    if "--check" in sys.argv[1:]:
        if stale:
            names = ", ".join(str(path.relative_to(DOCS)) for path in stale)
            print(f"out of date: {names}; run python docs/generate.py")
        return 1 if stale else 0
    for path, text in stale.items():
        path.write_text(text)
        print(f"wrote {path.relative_to(DOCS)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
