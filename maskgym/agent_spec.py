"""How an agent is written in one line: NAME, or NAME:FOLDER for a saved one, and settings after a `?`."""

from __future__ import annotations

from typing import NamedTuple

from maskgym.errors import BadInput


class AgentSpec(NamedTuple):
    """An agent as written.

    >>> AgentSpec.read("survey?start=a3c:runs/a3c&queries=16")
    AgentSpec(name='survey', folder='', settings={'start': 'a3c:runs/a3c', 'queries': '16'})
    >>> AgentSpec.read("a3c:runs/a3c-{seed}").folder
    'runs/a3c-{seed}'
    """

    name: str
    folder: str  # of a saved one; empty = made anew
    settings: dict[str, str]

    @classmethod
    def read(cls, spec: str) -> AgentSpec:
        """Take a line apart."""
        head, _, options = spec.partition("?")
        name, colon, folder = head.partition(":")
        if colon and not folder:
            raise BadInput(f"agent {spec!r} names no folder: write {name}:FOLDER, or {name}")
        return cls(name, folder, dict(part.partition("=")[::2] for part in options.split("&")) if options else {})


def name_of(spec: str) -> str:
    """Give the agent's name in a line."""
    return AgentSpec.read(spec).name
