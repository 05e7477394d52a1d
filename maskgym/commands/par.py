"""`maskgym par`: search the hardest mask of every image."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from maskgym.benchmark.search import Search
from maskgym.commands.options import FILE
from maskgym.commands.which_game import WhichGame, check_ratios
from maskgym.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Par(WhichGame):
    """Search for the hardest mask of every image of a split: the 100 points of `maskgym score --par FILE`.

    A stopped search goes on when the same command is given again. More --queries continue from the best masks so far,
    more --images are added to the file, and a new agent in --from adds as many queries again. A stored reward only
    ever rises.
    """

    out: Annotated[Path, FILE]
    """The file to write or to continue; a new one starts from the par that ships, where there is one."""
    ratio: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Shares of the patches that are hidden."""
    queries: int = 4000
    """Masks tried on each image."""
    from_agents: Annotated[tuple[str, ...], tyro.conf.arg(name="from", metavar="AGENT")] = ()
    """Agents whose masks the search also starts from, as a3c:runs/a3c."""
    fresh: bool = False
    """Delete what is in --out and start over."""
    bf16: bool = False
    """Rank masks by a network in bfloat16, which some processors run faster; what is stored is float32."""
    search: Search = field(default_factory=Search)

    def __call__(self) -> None:
        """Search, save, tell what doubling brought."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Table

        from maskgym.benchmark import par as pars
        from maskgym.benchmark.par_search import open_par, raise_par
        from maskgym.benchmark.players import seat
        from maskgym.benchmark.points import count_images

        if self.queries < 20:
            raise BadInput(f"queries {self.queries} are too few to search with: give 20 or more")
        self.search.check()
        task = self.task()
        images, ratios = count_images(task, self.images), check_ratios(self.ratio, task)
        for spec in self.from_agents:
            for ratio in ratios:
                seat(spec, task, ratio, 0)
        console = Console()
        table = Table(title=f"par of {images} images of {self.env}, {self.split}", title_justify="left", box=None)
        for heading in ("ratio", "hidden", "random", "par", "queries", "doubling", "hash", "seconds"):
            table.add_column(heading, justify="right", no_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
        bar = Progress(*columns, TextColumn("reward {task.fields[reward]:.4f}"), TimeRemainingColumn(), console=console)
        with pars.alone(self.out):
            par = open_par(task, images, self.out, self.fresh)
            par.save(self.out)
            with bar:
                for ratio in ratios:
                    began = time.monotonic()
                    job = bar.add_task(f"ratio {ratio:g}", total=None, reward=0.0)

                    def progress(done: int, left: int, reward: float, job: object = job) -> None:
                        at = bar.tasks[job].completed + done  # type: ignore[call-overload]
                        bar.update(job, completed=at, total=at + left, reward=reward)  # type: ignore[arg-type]

                    how = (self.queries, self.from_agents, self.search, progress, self.bf16)
                    found = raise_par(task, par, self.out, ratio, images, *how)
                    bar.update(job, completed=1, total=1, reward=float(found.reward.mean()))
                    gain, _ = found.doubling()
                    cells = (f"{found.random.mean():.4f}", f"{found.reward.mean():.4f}", str(found.queries))
                    hidden = f"{int(found.mask[0].sum())} of {task.patches.count}"
                    seconds = f"{time.monotonic() - began:.0f}"
                    table.add_row(f"{ratio:g}", hidden, *cells, f"{gain:+.2%}", found.digest, seconds)
        console.print(table)
        console.print(f"wrote {self.out}", soft_wrap=True, highlight=False, markup=False)
