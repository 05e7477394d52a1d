"""`maskgym agents`: who can play."""

from __future__ import annotations

from dataclasses import dataclass, fields

from tyro.conf import Positional


@dataclass(frozen=True)
class Agents:
    """List the installed agents, those of other packages too; `maskgym agents NAME` describes one."""

    name: Positional[str] = ""
    """The agent to describe, with its settings; left out: a line for each."""

    def __call__(self) -> None:
        """Print the list, or one agent."""
        if self.name:
            _tell(self.name)
        else:
            _list()


def _list() -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from maskgym.errors import BadInput
    from maskgym.registry import agent_class, names

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("agent", "learns from", "needs", "idea from"):
        table.add_column(heading, overflow="fold")
    broken = []
    for name in names():
        try:
            cls = agent_class(name)
        except BadInput as error:  # somebody's broken package must not hide the others
            broken.append(str(error))
            continue
        table.add_row(name, _allowed(cls), cls.needs, cls.paper)
    console = Console()
    console.print(table)
    for line in broken:
        console.print(Text(line, style="red"))
    console.print("\n`maskgym agents NAME` shows an agent's settings.", markup=False, highlight=False)


def _tell(name: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from maskgym.fields import sentences
    from maskgym.registry import agent_class

    cls = agent_class(name)
    console = Console(highlight=False)
    console.print(name, style="bold", markup=False)
    console.print(" ".join((cls.__doc__ or "").split("\n\n")[0].split()), markup=False)
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_row("idea from", cls.paper or "-")
    facts.add_row("learns from", _allowed(cls) or "nothing, it does not learn")
    facts.add_row("needs", cls.needs or "images only")
    console.print(facts)
    settings, told = cls.Settings(), sentences(cls.Settings)
    if not fields(settings):
        console.print("\nIt has no settings.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("setting", "default", "what it is"):
        table.add_column(heading, overflow="fold")
    for field in fields(settings):
        table.add_row(field.name, str(getattr(settings, field.name)), told.get(field.name, ""))
    console.print()
    console.print(table)
    first = fields(settings)[0]
    console.print(f"\nwritten as {name}?{first.name}={getattr(settings, first.name)}", markup=False)


def _allowed(cls: type) -> str:
    """What of the frozen network training may see; nothing where an agent does not learn in an environment."""
    from maskgym.learner import Learner

    return cls.allowed if issubclass(cls, Learner) else ""
