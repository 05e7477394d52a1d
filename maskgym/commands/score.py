"""`maskgym score`: let agents play a split and score them in points."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from maskgym.commands.which_game import WhichGame, check_ratios
from maskgym.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Score(WhichGame):
    """Score agents in points: 0 is chance, 100 is par.

    An AGENT is a name (`hpm`), a saved one (`a3c:runs/a3c`, or `a3c:runs/a3c-{seed}` for one a seed), or a name with
    settings (`loss-map?masks=8`). Learners that are not loaded are trained first, once a seed, at the ratio of the
    environment; the same policy is scored at all ratios. A killed run goes on when the same command is given again.
    """

    agents: Positional[tuple[str, ...]]
    """Who plays; random and variance stand in every table."""
    out: Path
    """Folder for score.md, .csv, .json, .png and what a killed run goes on from."""
    ratio: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Shares of the patches that are hidden."""
    seeds: int = 5
    """Runs of every agent that is not a saved one; a learner is trained once for each."""
    steps: int = 20_000
    """Masks a learner is trained for."""
    num_envs: int = 32
    """Games side by side in training."""
    repeat: int = 4
    """Games in training that show the same image."""
    par: Path | None = None
    """A par file; empty = the user's own or the shipped one."""

    def __call__(self) -> None:
        """Check, train, play, write."""
        from rich.console import Console

        from maskgym.benchmark import plots as chart
        from maskgym.benchmark import table
        from maskgym.benchmark.contestants import check
        from maskgym.benchmark.par import find
        from maskgym.benchmark.points import count_images
        from maskgym.benchmark.score import Plan

        if not self.agents:
            raise BadInput("no agent is named: `maskgym agents` lists them")
        if min(self.seeds, self.steps, self.num_envs, self.repeat) < 1 or self.num_envs % self.repeat:
            told = f"seeds {self.seeds}, steps {self.steps}, num_envs {self.num_envs}, repeat {self.repeat}"
            raise BadInput(f"{told}: all must be positive, and repeat must divide num_envs")
        task = self.task()
        ratios, images = check_ratios(self.ratio, task), count_images(task, self.images)
        found = {ratio: find(task, ratio, images, self.par) for ratio in ratios}
        specs = check(self.agents, task, ratios, self.seeds)
        training = tuple(sorted({**self.keywords(), "num_envs": self.num_envs, "repeat": self.repeat}.items()))
        plan = Plan(specs, ratios, self.seeds, images, self.steps, training)
        played = self._play(plan, task)
        pars = {ratio: (par, path.name) for ratio, (par, path) in found.items()}
        scores = table.summarise(plan, played, pars, self._about(plan, task))
        table.write(scores, plan, played, pars, self.out)
        chart.draw(scores, self.out / "score.png")
        console = Console()
        for ratio in ratios:
            _print(console, scores, ratio)
        console.print(table.NOTE, style="dim")
        console.print(f"wrote {self.out}/score.md, .csv, .json, .png", highlight=False, markup=False, soft_wrap=True)

    def _play(self, plan: Any, task: Any) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        from maskgym.benchmark.score import cells, score

        def make_games() -> Any:
            import gymnasium as gym

            keywords = {**dict(plan.training), "split": "train", "output": "torch"}
            return gym.make_vec(f"maskgym:{self.env.removeprefix('maskgym:')}", **keywords)

        columns = (TextColumn("{task.description:48.48}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
            whole = bar.add_task("scoring", total=sum(plan.images for _ in cells(plan)))
            lesson = bar.add_task("training", total=plan.steps, visible=False)

            def heard(cell: Any, images: int) -> None:
                bar.update(lesson, visible=False)
                what = f"{cell.spec}, seed {cell.seed}, ratio {cell.ratio:g}, {cell.mode}"
                bar.update(whole, advance=images, description=what)

            def report(spec: str, seed: int, done: int, figures: dict[str, float]) -> None:
                bar.update(whole, description=f"training {spec}, seed {seed}")
                told = ", ".join(f"{name} {value:.4g}" for name, value in list(figures.items())[:2])
                bar.update(lesson, completed=min(done, plan.steps), visible=True, description=told or "training")

            return score(plan, task, self.out, make_games, heard, report)

    def _about(self, plan: Any, task: Any) -> dict[str, Any]:
        from maskgym.benchmark.par import describe
        from maskgym.masking.select import budget

        return {
            **describe(task),
            "env": self.env,
            "images": plan.images,
            "patches": task.patches.count,
            "hidden": {f"{ratio:g}": budget(ratio, task.patches.count) for ratio in plan.ratios},
            "seeds": plan.seeds,
            "steps": plan.steps,
            "command": f"maskgym {' '.join(sys.argv[1:])}",
        }


def _print(console: Any, scores: Any, ratio: float) -> None:
    from rich.table import Table

    from maskgym.benchmark.table import caption, narrow

    headings, rows = narrow(scores, ratio)
    shown = Table(box=None, padding=(0, 1))
    for heading in headings:
        shown.add_column(heading, justify="left" if heading == "agent" else "right", no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    console.print(caption(scores, ratio), style="bold", highlight=False)
    console.print(shown)
    console.print()
