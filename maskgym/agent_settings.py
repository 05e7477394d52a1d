"""Reading an agent's settings: from a spec, a saved file or keywords, each value as the type of the field's default."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin, get_type_hints

from maskgym.errors import BadInput


@dataclass(frozen=True)
class NoSettings:
    """Settings of an agent that has none."""


def read_settings(agent: str, kind: type, given: dict[str, Any]) -> Any:
    """Build the settings `kind` of an agent, reading strings as the type of the field's default.

    Args:
        agent: its name, for messages.
        kind: a frozen dataclass.
        given: values by field.
    """
    assert is_dataclass(kind)
    there = {field.name: field for field in fields(kind)}
    types = get_type_hints(kind)
    filled = {}
    for name, value in given.items():
        if name not in there:
            near = get_close_matches(name, there, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(there) or 'none'}"
            raise BadInput(f"agent {agent!r} has no setting {name!r}: {hint}")
        filled[name] = _read(name, value, types[name], there[name].default)
    return kind(**filled)


def _read(name: str, value: Any, kind: Any, default: Any) -> Any:
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise BadInput(f"{name}={value} is unknown: choose {' or '.join(map(str, get_args(kind)))}")
        return value
    if not isinstance(value, str) or isinstance(default, str):
        return tuple(value) if isinstance(value, list) else value
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
        return type(default)(value)
    except (KeyError, ValueError):
        raise BadInput(f"setting {name}={value!r} must be of type {type(default).__name__}") from None
