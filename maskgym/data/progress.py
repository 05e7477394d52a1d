"""A bar for work that takes over two seconds; silent where nobody is looking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

Thing = TypeVar("Thing")


def track(things: Iterable[Thing], what: str, total: int | None = None) -> Iterator[Thing]:
    """Go through `things`; on a terminal, show how far we are (`total` where they cannot be counted)."""
    from rich.console import Console
    from rich.progress import track as bar

    console = Console(stderr=True)
    yield from bar(things, what, total, console=console, transient=True, disable=not console.is_terminal)
