"""A bar for work that takes over two seconds; silent where nobody is looking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

Thing = TypeVar("Thing")


def track(things: Sequence[Thing], what: str) -> Iterator[Thing]:
    """Go through `things`; on a terminal, show how far we are."""
    from rich.console import Console
    from rich.progress import track as bar

    console = Console(stderr=True)
    yield from bar(things, what, console=console, transient=True, disable=not console.is_terminal)
