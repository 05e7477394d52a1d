"""`maskgym agents`: who can play."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Agents:
    """List the installed agents, ours and those of other packages."""

    def __call__(self) -> None:
        """Print a line each."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        from maskgym.errors import BadInput
        from maskgym.registry import agent_class, names

        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("agent", "paper", "learns", "needs", "settings"):
            table.add_column(heading, overflow="fold")
        for name in names():
            try:
                cls = agent_class(name)
            except BadInput as error:  # somebody's broken package must not hide the others
                table.add_row(name, "", "", "", Text(str(error), style="red"))
                continue
            settings = ", ".join(f"{key}={value}" for key, value in asdict(cls.Settings()).items())
            table.add_row(name, cls.paper, "yes" if cls.learns else "", cls.needs, settings)
        Console().print(table)
