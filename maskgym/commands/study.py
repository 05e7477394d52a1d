"""`maskgym study`: run every cell of a study, show its plan, or say how far it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from maskgym.errors import BadInput

if TYPE_CHECKING:
    from maskgym.studies.engines import Engine
    from maskgym.studies.plan import Cell
    from maskgym.studies.standing import Standing


@dataclass(frozen=True)
class Study:
    """Run data sets x methods x label shares x seeds; started again, it goes on where it stopped."""

    study: Annotated[Path, tyro.conf.Positional]
    """The study file (TOML)."""
    out: Path | None = None
    """Folder of the study; left out: study/ and the file's name."""
    data: tuple[str, ...] = ()
    """Data sets instead of those the file names."""
    engine: Literal["local", "ray"] = "local"
    """Where cells run: as processes of this machine, or on a Ray cluster."""
    workers: int = 1
    """Cells that run at once, each with one thread; a cluster runs as many as it has CPUs."""
    address: str = ""
    """Of a Ray cluster, as 10.0.0.1:6379 or auto; empty = $RAY_ADDRESS, else Ray on this machine alone."""
    dry_run: bool = False
    """Print the cells, where each stands and how long the rest may take; run nothing."""

    def __call__(self) -> int:
        """Read, plan, run."""
        from maskgym.studies.engines import run_all
        from maskgym.studies.standing import span
        from maskgym.studies.study import keep, read_study

        if self.workers < 1:
            raise BadInput(f"workers {self.workers} must be at least 1")
        if self.address and self.engine != "ray":
            raise BadInput(f"--address {self.address} is that of a Ray cluster: add --engine ray")
        out = self.out or Path("study") / self.study.stem
        if self.dry_run:
            return self._plan(out, read_study(self.study, self.data).cells(out))
        cells = keep(self.study, out, self.data)
        ended = 0

        def heard(cell: Cell, told: dict[str, Any]) -> None:
            nonlocal ended
            ended += 1
            print(f"{cell.name}: {told['state']}, {span(told['seconds'])}{_rest(out, cells, engine.room)}", flush=True)

        try:
            engine = self._engine(out)
            wrong = run_all(out, cells, engine, heard)
        except KeyboardInterrupt:
            print(f"interrupted; {ended} cells ended in this start. The same command goes on where it stopped.")
            return 130
        if wrong:
            print("\n".join(f"{name}: {why}" for name, why in wrong.items()))
            print(f"{len(wrong)} of {len(cells)} cells are not finished; the same command tries them again")
            return 1
        print(f"all {len(cells)} cells finished: {out}")
        return 0

    def _engine(self, out: Path) -> Engine:
        from maskgym.studies.engines import Local
        from maskgym.studies.on_ray import OnRay

        return OnRay(out, self.address, self.workers) if self.engine == "ray" else Local(out, self.workers)

    def _plan(self, out: Path, cells: list[Cell]) -> int:
        from maskgym.studies.standing import stand

        standings = stand(out, cells)
        for one in standings:
            print(f"{one.state:<9} {one.cell.name}: maskgym {' '.join(one.cell.words)}")
        print(f"{len(cells)} cells; {_estimate(standings, self.workers)}")
        return 0


@dataclass(frozen=True)
class Status:
    """Say how far a study is: what is finished, what runs, what failed and why, and how long the rest may take."""

    out: Annotated[Path, tyro.conf.Positional]
    """Folder of the study."""
    workers: int = 1
    """Cells that run at once, for the estimate."""

    def __call__(self) -> None:
        """Look, and print a table."""
        from rich.console import Console
        from rich.table import Table

        from maskgym.studies.standing import STATES, span, stand
        from maskgym.studies.study import KEPT, read_study

        if not (self.out / KEPT).exists():
            raise BadInput(f"{self.out} holds no study: give the folder that `maskgym study --out` was given")
        standings = stand(self.out, read_study(self.out / KEPT).cells(self.out))
        table = Table(title=f"{self.out}", title_justify="left", box=None, padding=(0, 2, 0, 0))
        for heading in ("", *STATES, "time spent", "one takes"):
            table.add_column(heading, justify="left" if heading == "" else "right", no_wrap=True)
        for kind in (*dict.fromkeys(one.cell.kind for one in standings), "all"):
            of_kind = [one for one in standings if kind in (one.cell.kind, "all")]
            counts = [sum(one.state == name for one in of_kind) for name in STATES]
            seconds = [float(one.told["seconds"]) for one in of_kind if one.state == "finished"]
            usual = span(sum(seconds) / len(seconds)) if seconds and kind != "all" else ""
            table.add_row(kind, *(str(count or "") for count in counts), span(sum(seconds)), usual)
        console = Console(highlight=False, soft_wrap=True)
        console.print(table)
        for one in standings:
            if one.state == "failed":
                console.print(f"failed   {one.cell.name}: {one.told['error'][-1]}", style="red", markup=False)
            elif one.state == "running":
                since = span(time.time() - float(one.told.get("since", time.time())))
                where = f"process {one.told.get('pid')} on {one.told.get('host')}, for {since}"
                console.print(f"running  {one.cell.name}: {where}", markup=False)
        console.print(_estimate(standings, self.workers))


def _estimate(standings: list[Standing], workers: int) -> str:
    """How long the rest may take."""
    from maskgym.studies.standing import left, span

    seconds, unknown = left(standings)
    if not any(one.left is None or one.left for one in standings):
        return "all finished"
    of_kinds = f"unknown for {', '.join(unknown)}, of which none has finished yet"
    if not seconds:
        return f"time: {of_kinds}"
    at_once = f"with {workers} at once" if workers > 1 else "one after another"
    return f"left: about {span(seconds / workers)} {at_once}" + (f", and {of_kinds}" if unknown else "")


def _rest(out: Path, cells: list[Cell], workers: int) -> str:
    """How many cells are finished, and the time the others may take if all of it is known."""
    from maskgym.studies.standing import left, span, stand

    standings = stand(out, cells)
    seconds, unknown = left(standings)
    done = sum(one.state == "finished" for one in standings)
    return f"; {done} of {len(cells)}" + (f", about {span(seconds / workers)} left" if seconds and not unknown else "")
