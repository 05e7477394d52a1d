"""`maskgym par`: search the best mask of every image."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from maskgym.benchmark.search import Search
from maskgym.commands.which_game import WhichGame, check_ratios
from maskgym.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Par(WhichGame):
    """Search the highest reward of every image of a split, the 100 points of `maskgym score`.

    A killed search goes on when the same command is given again. More --evaluations go on from the best masks known; a
    new agent in --from buys another round. What is stored is only ever raised.
    """

    ratio: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Shares of the patches that are hidden."""
    evaluations: int = 4000
    """Forwards of the network an image."""
    from_agents: Annotated[tuple[str, ...], tyro.conf.arg(name="from")] = ()
    """Agents whose masks the search starts from, too, as a3c:runs/a3c."""
    out: Path | None = None
    """The file to write; empty = one in the cache folder, where `maskgym score` finds it."""
    search: Search = field(default_factory=Search)

    def __call__(self) -> None:
        """Search, save, tell what doubling brought."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Table

        from maskgym.benchmark import par as pars
        from maskgym.benchmark.contestants import seat
        from maskgym.benchmark.par_search import open_par, raise_par
        from maskgym.benchmark.points import count_images

        if self.evaluations < 20:
            raise BadInput(f"evaluations {self.evaluations} are too few to search with: give 20 or more")
        self.search.check()
        task = self.task()
        images, ratios = count_images(task, self.images), check_ratios(self.ratio, task)
        for spec in self.from_agents:
            for ratio in ratios:
                seat(spec, task, ratio, 0)
        path = self.out or pars.usual_path(task)
        console = Console()
        table = Table(title=f"par of {images} images of {self.env}, {self.split}", title_justify="left", box=None)
        for heading in ("ratio", "hidden", "random", "par", "evaluations", "doubling brought", "seconds"):
            table.add_column(heading, justify="right", no_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
        bar = Progress(*columns, TextColumn("reward {task.fields[reward]:.4f}"), TimeRemainingColumn(), console=console)
        with pars.alone(path):
            par = open_par(task, images, path)
            par.save(path)
            with bar:
                for ratio in ratios:
                    began = time.monotonic()
                    job = bar.add_task(f"ratio {ratio:g}", total=None, reward=0.0)

                    def heard(done: int, left: int, reward: float, job: object = job) -> None:
                        at = bar.tasks[job].completed + done  # type: ignore[call-overload]
                        bar.update(job, completed=at, total=at + left, reward=reward)  # type: ignore[arg-type]

                    found = raise_par(task, par, path, ratio, self.evaluations, self.from_agents, self.search, heard)
                    bar.update(job, completed=1, total=1, reward=float(found.reward.mean()))
                    gain, points = found.doubling()
                    cells = (f"{found.random.mean():.4f}", f"{found.reward.mean():.4f}", str(found.evaluations))
                    brought = f"{gain:+.2%}, {points:+.2f} points"
                    hidden = f"{int(found.mask[0].sum())} of {task.patches.count}"
                    table.add_row(f"{ratio:g}", hidden, *cells, brought, f"{time.monotonic() - began:.0f}")
        console.print(table)
        console.print(f"wrote {path}", soft_wrap=True, highlight=False, markup=False)
