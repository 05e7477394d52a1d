"""How all commands read and show their options: counts, names of values, defaults.

A command is a dataclass. Its fields need no more than a type, a default and a sentence below; what stands in capitals
in the help follows from the field's name, and `Annotated[Path, FILE]` says otherwise.
"""

from __future__ import annotations

import inspect
import shutil
import textwrap
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from maskgym.counts import read_count
from maskgym.errors import BadInput
from maskgym.fields import sentences

FILE = tyro.conf.arg(metavar="FILE")
FOLDER = tyro.conf.arg(metavar="FOLDER")

# What stands in capitals for a text or a path, by the name of its option.
METAVARS = {
    "agent": "AGENT",
    "agents": "AGENT",
    "against": "AXIS",
    "attach": "NAME",
    "budgets": "QUERIES",
    "crop": "SIZE",
    "data": "DATA",
    "dataset": "DATA",
    "device": "DEVICE",
    "devices": "COUNT",
    "entries": "FILE",
    "env": "ENV",
    "fast": "SCHEDULE",
    "folder": "FOLDER",
    "folders": "FOLDER",
    "hard_share": "SCHEDULE",
    "host": "HOST",
    "image_size": "SIZE",
    "kind": "NAME",
    "layout": "NAME",
    "log": "NAME",
    "loss": "NAMES",
    "method": "TEXT",
    "more_data": "DATA",
    "name": "NAME",
    "network": "NETWORK",
    "only": "ENV",
    "out": "FOLDER",
    "par": "FILE",
    "patch_size": "SIZE",
    "place": "FOLDER",
    "policy": "FOLDER",
    "precision": "NAME",
    "ratio": "SCHEDULE",
    "recipe": "NAME",
    "reconstructor": "NETWORK",
    "reference": "NETWORK",
    "reward": "NAME",
    "run": "FOLDER",
    "runs": "FOLDER",
    "settings": "FILE",
    "shell": "SHELL",
    "size": "SIZE",
    "spacing": "MM",
    "split": "SPLIT",
    "split_file": "FILE",
    "student": "NETWORK",
    "study": "FILE",
    "teacher": "SCHEDULE",
    "to": "FOLDER",
    "track": "TRACK",
    "tracks": "TRACK",
    "weights": "FOLDER",
    "window": "SIZE",
}
REGISTRY = ConstructorRegistry()
CONFIG = (tyro.conf.FlagCreatePairsOff,)


@REGISTRY.primitive_rule
def _whole_numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    """Read every whole number as 2000, 2_000 or 2e3, and show large ones as 2_000_000."""
    if info.type is not int:
        return None

    def read(words: list[str]) -> int:
        try:
            return read_count(words[0])
        except BadInput as error:
            raise ValueError(str(error)) from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [f"{value:_}" if abs(value) >= 10_000 else str(value)],
    )


@REGISTRY.struct_rule
def _dataclasses(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Make the options of a dataclass from its fields and the sentences under them."""
    cls = info.type
    if not (isinstance(cls, type) and is_dataclass(cls)):
        return None
    hints, told = get_type_hints(cls, include_extras=True), sentences(cls)
    options = []
    for field in fields(cls):
        if not field.init:
            continue
        if isinstance(info.default, cls):
            default = getattr(info.default, field.name)
        elif field.default_factory is not MISSING:
            default = field.default_factory()
        else:
            default = tyro.MISSING if field.default is MISSING else field.default
        shown = _shown(field.name, hints[field.name], default)
        options.append(StructFieldSpec(field.name, shown, default, told.get(field.name)))
    return StructConstructorSpec(cls, tuple(options))


def description(cls: type) -> str:
    """What the help says of a command: its docstring, as wide as the terminal; lines further in stand as they are."""
    width = min(shutil.get_terminal_size().columns, 120)
    parts = inspect.cleandoc(cls.__doc__ or "").split("\n\n")
    return "\n\n".join(part if part.startswith("  ") else textwrap.fill(part, width) for part in parts)


def explained(cls: type, group: str = "") -> dict[str, str]:
    """Give every option of a command and its sentence: {"--image-size": "Pixels ...", "AGENT": "Who plays ..."}."""
    found: dict[str, str] = {}
    hints, told = get_type_hints(cls, include_extras=True), sentences(cls)
    for field in fields(cls):
        hint = hints[field.name]
        if field.init and is_dataclass(hint):
            found |= explained(cast(type, hint), f"{group}{field.name}.")
        elif field.init:
            written = f"--{group}{field.name}".replace("_", "-")
            positional = tyro.conf.Positional in getattr(hint, "__metadata__", ())
            found[METAVARS.get(field.name, field.name.upper()) if positional else written] = told.get(field.name, "")
    return found


def _shown(name: str, hint: Any, default: Any) -> Any:
    """Give a field's type what its help shows: a name for its value, and no default where that is empty."""
    more: dict[str, Any] = {}
    positional = tyro.conf.Positional in getattr(hint, "__metadata__", ())
    if get_origin(_bare(hint)) is Literal and "" in get_args(_bare(hint)):
        more["metavar"] = "{" + ",".join(filter(None, get_args(_bare(hint)))) + "}"
    elif _holds(hint, str) or _holds(hint, Path):
        suffix = default.suffix if isinstance(default, Path) else ""
        more["metavar"] = "FILE" if suffix else METAVARS.get(name, name.rpartition("_")[2].upper())
    elif _holds(hint, int):
        more["metavar"] = "INT"
    if default is tyro.MISSING and get_origin(_bare(hint)) is tuple:
        more["help_behavior_hint"] = "(one or more)"
    elif default is False or default in ("", (), None):
        more["help_behavior_hint"] = ""
        if positional:
            more["metavar"] = f"[{more['metavar']}]"
    if not more:
        return hint
    base, *extras = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
    return Annotated[(base, tyro.conf.arg(**more), *extras)]


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if hasattr(hint, "__metadata__") else hint


def _holds(hint: Any, kind: type) -> bool:
    """Is it of this type, or a tuple of it, or it or None?"""
    return hint is kind or any(_holds(part, kind) for part in get_args(hint))


def in_one_line(box: str, name: str) -> str:
    """Say in one line what a command's parser says in a box.

    >>> in_one_line("╭─ Missing argument ─╮\\n│ Missing value for argument '--out'. │", "train")
    "missing value for argument '--out'; `maskgym train --help` tells more"
    """
    drawn = "│" in box  # else the title stands on a line of its own, and rules are dashes
    lines = box.splitlines()
    rows = [line.strip().strip("│") for line in lines if line.strip().startswith("│")] if drawn else lines
    parts: list[list[str]] = [[]]
    for row in rows:
        if set(row.strip()) in ({"─"}, {"-"}):
            parts.append([])
        elif row.strip():
            parts[-1].append(row.rstrip())
    parts = parts if drawn else parts[1:]
    said = [line.strip() for line in parts[0]]
    if said[:1] == [f"Missing from maskgym {name}:"]:  # names stand further left than their sentences
        left = min(len(line) - len(line.lstrip()) for line in parts[0][1:])
        said = [f"missing: {', '.join(line.split()[0] for line in parts[0][1:] if line[left] != ' ')}"]
    told = " ".join(said).removeprefix("Error parsing ").rstrip(".")
    told = told[:1].lower() + told[1:]
    meant = [part[1].split()[0] for part in parts[1:] if len(part) > 1 and part[0].strip().startswith("Perhaps you")]
    return f"{told}{f'; perhaps you meant {meant[0]}' if meant else ''}; `maskgym {name} --help` tells more"
