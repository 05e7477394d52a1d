"""`maskgym score`: let agents play a split and score them in points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from maskgym.commands.which_game import WhichGame, check_ratios
from maskgym.errors import BadInput

if TYPE_CHECKING:
    from maskgym.benchmark.protocol import Protocol
    from maskgym.benchmark.results import Result
    from maskgym.benchmark.tables import Scores
    from maskgym.envs.task import Task


@dataclass(frozen=True, kw_only=True)
class Score(WhichGame):
    """Score agents in points: 0 is a random mask, 100 is par.

    An AGENT is a name (`hpm`), a saved one (`a3c:runs/a3c`, or `a3c:runs/a3c-{seed}`, one for each seed), or a name
    with settings (`loss-map?masks=8`). Learners that are not loaded are trained first, once for each seed. The same
    command given again goes on where it was stopped; only what changed (an agent's code, its weights, the game) is
    played again.
    """

    agents: Positional[tuple[str, ...]]
    """Who plays; random and variance are always added."""
    env: str = ""
    """A registered id, see `maskgym envs`; empty = the game that the saved agents were trained in, else MaskMIM-v0."""
    out: Path = Path("runs/score")
    """Folder for score.md, .csv, .json, .png, results.json and what a stopped scoring goes on from."""
    ratio: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Shares of the patches that are hidden."""
    seeds: int = 5
    """Runs of every agent that is not a saved one; a learner is trained once for each."""
    steps: int = 20_000
    """Env steps that a learner is trained for."""
    train_at: Literal["env", "each"] = "env"
    """env: train at the environment's ratio, 0.75, and score the same policy at every ratio; each: train at each."""
    hard_share: float = 1.0
    """Share of the hidden patches that is taken by score; the rest is hidden at random, as in pre-training."""
    par: Path | None = None
    """A par file of your own; left out: the par that ships."""
    fresh: bool = False
    """Start over: play and train everything again."""

    def __call__(self) -> None:
        """Check, train, play, write."""
        from rich.console import Console

        from maskgym.benchmark import manifest, plots, results, tables
        from maskgym.benchmark.par import find
        from maskgym.benchmark.players import check, with_heuristics
        from maskgym.benchmark.points import count_images
        from maskgym.benchmark.protocol import Protocol
        from maskgym.envs.task import Settings, Task
        from maskgym.training.folder import Folder

        if not self.agents:
            raise BadInput("no agent is named: `maskgym agents` lists them")
        if min(self.seeds, self.steps) < 1:
            raise BadInput(f"seeds {self.seeds} and steps {self.steps} must be at least 1")
        if not 0 <= self.hard_share <= 1:
            raise BadInput(
                f"hard_share {self.hard_share:g} is outside [0, 1]: 1 leaves every patch to the agent's scores"
            )
        env, keywords = self.game()
        task = Task(Settings.of({**keywords, "split": self.split}))
        ratios, images = check_ratios(self.ratio, task), count_images(task, self.images)
        pars = {ratio: find(task, ratio, images, self.par) for ratio in ratios}
        specs = with_heuristics(self.agents)
        protocol = Protocol(
            specs, ratios, self.seeds, images, self.steps, self.train_at, env, keywords, self.hard_share
        )
        check(protocol, task)
        settings = {"env": {"id": env, **keywords}, "split": self.split, "images": images, "ratio": list(ratios)}
        settings |= {"steps": self.steps, "train_at": self.train_at, "par": str(self.par or "")}
        settings |= {"hard_share": self.hard_share}
        Folder(self.out, settings, self.fresh, ("cells", "agents", "score.*", results.NAME))
        found = self._play(protocol, task, pars)
        about: dict[str, Any] = {**manifest.machine(self.device), "game": manifest.game(task, env, images)}
        about |= {"seeds": self.seeds, "steps": self.steps, "train_at": self.train_at, "hard_share": self.hard_share}
        about |= {"par": {f"{ratio:g}": str(par) for ratio, par in pars.items()}}
        about |= {"agents": {one.agent: one.manifest for one in found}}
        scores = tables.summarise(found, pars, about)
        results.save(self.out / results.NAME, found, manifest=about, own_par=str(self.par or ""))
        tables.write(scores, found, pars, self.out)
        plots.bars(scores, self.out / "score.png")
        console = Console()
        for ratio in ratios:
            _print(console, scores, ratio)
        console.print(tables.NOTE, style="dim")
        files = f"wrote {self.out}/score.md, .csv, .json, .png and {results.NAME}"
        console.print(files, highlight=False, markup=False, soft_wrap=True)

    def game(self) -> tuple[str, dict[str, Any]]:
        """The environment's id and keywords: as named, or the saved agents' own."""
        from maskgym.benchmark.players import own_game
        from maskgym.envs.registry import IDS

        own = None if self.env else own_game(self.agents)
        env = str((own or {}).pop("id", self.env or "MaskMIM-v0")).removeprefix("maskgym:")
        keywords = replace(self, env=env).keywords()
        if own is None:
            return env, keywords
        usual = {**IDS[env], "reward": "loss"}
        named = {name: value for name, value in keywords.items() if value != usual.get(name)}
        return env, {**usual, **own, **named}

    def _play(self, protocol: Protocol, task: Task, pars: Any) -> list[Result]:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        from maskgym.benchmark.evaluate import evaluate
        from maskgym.benchmark.players import train, trainings
        from maskgym.benchmark.protocol import cells

        told = Console(stderr=True)
        for spec, seed, ratio in trainings(protocol):
            told.print(f"training {spec}, seed {seed}, for {protocol.steps} env steps", highlight=False, markup=False)
            train(protocol, task, spec, seed, ratio, self.out)
        columns = (TextColumn("{task.description:48.48}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
        with Progress(*columns, TimeRemainingColumn(), console=told, transient=True) as bar:
            whole = bar.add_task("scoring", total=sum(1 for _ in cells(protocol)))

            def played(cell: Any) -> None:
                what = f"{cell.agent}, seed {cell.seed}, ratio {cell.ratio:g}, {cell.mode}"
                bar.update(whole, advance=1, description=what)

            return evaluate(protocol, task, self.out, pars, played)


def _print(console: Any, scores: Scores, ratio: float) -> None:
    from rich.table import Table

    from maskgym.benchmark.tables import NARROW, caption, narrow, remarks

    console.print(caption(scores, ratio), style="bold", highlight=False, markup=False)
    shown = Table(box=None, padding=(0, 1, 0, 0))
    for heading in NARROW:
        name = heading == "agent"
        shown.add_column(heading, justify="left" if name else "right", no_wrap=not name, overflow="fold")
    for track, lines in narrow(scores, ratio).items():
        shown.add_row(f"[dim]{track}[/]")
        for line in lines:
            shown.add_row(*line)
    console.print(shown)
    for remark in remarks(scores, ratio):
        console.print(remark, style="yellow", highlight=False, markup=False)
    console.print()
