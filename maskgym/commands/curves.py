"""`maskgym curves`: points against env steps, seconds, or queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from maskgym.commands.options import FILE
from maskgym.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Draw how points grow: while agents train, against env steps and seconds; or against queries, all agents at once.

    Runs of one agent under several seeds become one line with a band.
    """

    runs: Positional[tuple[Path, ...]]
    """Folders that `maskgym train` wrote; with --against queries, those of `maskgym score`, or leaderboard entries."""
    out: Annotated[Path, FILE]
    """The PNG to write; the same as numbers goes into a CSV beside it."""
    against: Literal["training", "queries"] = "training"
    """training: points on val against env steps and seconds. queries: points against queries of the network."""
    measure: Literal["points", "above random"] = "points"
    """What is drawn of a training: points, or percent above random masks where no par of val is known."""

    def __call__(self) -> None:
        """Read, draw, write."""
        from maskgym.benchmark import curves
        from maskgym.benchmark.results import write_out

        if not self.runs:
            raise BadInput("no folder is named: give those that `maskgym train` or `maskgym score` wrote")
        if self.out.suffix.lower() != ".png":
            raise BadInput(f"{self.out} is no PNG: end it in .png")
        if self.against == "queries":
            text = curves.draw_queries(curves.against_queries(self.runs), self.out)
        else:
            text = curves.draw_training(
                [curves.read_run(run, self.measure) for run in self.runs], self.measure, self.out
            )
        write_out(self.out.with_suffix(".csv"), text)
        print(f"wrote {self.out} and {self.out.with_suffix('.csv')}")
