"""`maskgym train ...`: train an agent against an environment."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro

from maskgym.agent import Agent
from maskgym.benchmark import par
from maskgym.benchmark.points import count_images, play, points
from maskgym.commands.which_game import Game
from maskgym.envs.rendering import beside, enlarge, grey
from maskgym.envs.task import Settings, Task
from maskgym.errors import BadInput
from maskgym.registry import game_spec_of, make_agent
from maskgym.training.folder import Folder
from maskgym.training.learner import is_learner
from maskgym.training.run import Plan, Run
from maskgym.training.watch import Verdict

_JUDGED, _SHOWN = 64, 6  # images of the val split


def masks(text: str) -> int:
    """Read 200000 or 200_000."""
    try:
        return int(text.replace(",", ""))
    except ValueError:
        raise BadInput(f"{text!r} is no number of masks: write 200_000") from None


@dataclass(frozen=True)
class Train(Game):
    """Train an agent: checkpoints, TensorBoard, metrics.csv and the agent itself in one folder."""

    agent: Annotated[str, tyro.conf.Positional]
    """Name and settings, as a3c or "a3c?credit=own&lr=3e-4"."""
    out: Path
    """Folder of the run; score the agent with NAME:FOLDER."""
    ratio: float = 0.75
    """Share of the patches that is hidden."""
    piece: int = 0
    """Images that go through the frozen network at once on a CPU; 0 = measured once and remembered."""
    steps: str = "200_000"
    """Masks to be paid for in all."""
    workers: int = 2
    """Processes that train side by side; agents that cannot be trained so take one."""
    synchronous: bool = False
    """One process with all workers' batches in one (A2C) instead of workers that do not wait (A3C)."""
    resume: bool = False
    """Go on from the last checkpoint in --out."""
    seed: int = 0
    """Of weights and all chance."""
    save_every: str = "10_000"
    """Masks between two checkpoints."""
    judge_every: str = "10_000"
    """Masks between two looks at the val split; 0 = only at the end."""
    on_worker_death: Literal["go-on", "stop"] = "go-on"
    """What the other workers do when one dies."""
    quiet: bool = False
    """No line of progress."""

    def __call__(self) -> int:
        """Train, and say how to go on."""
        plan = Plan(
            masks(self.steps),
            self.workers,
            self.synchronous,
            masks(self.save_every),
            masks(self.judge_every),
            self.on_worker_death,
        )
        keywords = self.keywords() | {"ratio": self.ratio, "piece": self.piece}
        torch.set_num_threads(1)  # processes run side by side
        val = Task(Settings.of({**keywords, "split": "val"}))
        agent = make_agent(self.agent, game_spec=game_spec_of(val), seed=self.seed)
        self._check(agent)
        folder = Folder(self.out, self._about(agent, keywords), self.resume)
        make_env = Games(self.env.removeprefix("maskgym:"), keywords, is_learner(agent))
        if not is_learner(agent):
            agent.attach(val.game.reconstructor)
        paid = Run(agent, make_env, plan, folder, Judgement(val, self.ratio), self.quiet)()
        name = self.agent.partition("?")[0]
        if paid < plan.steps:
            print(f"interrupted after {paid} masks; all is saved: go on with --resume")
            return 130
        print(f"trained for {paid} masks: `maskgym score {name}:{self.out}`, `tensorboard --logdir {self.out}`")
        return 0

    def _check(self, agent: Agent) -> None:
        if not agent.learns:
            raise BadInput(f"agent {agent.name!r} does not learn: there is nothing to train")
        if ":" in self.agent.partition("?")[0]:
            raise BadInput(f"{self.agent!r} is a saved agent: name one to be trained, or --resume a run")
        cores = os.cpu_count() or 1
        if is_learner(agent):
            if self.workers > cores and not self.synchronous:
                print(f"maskgym: {self.workers} workers on {cores} cores will wait for each other: {cores} are enough")
        elif self.resume:
            raise BadInput(f"agent {agent.name!r} is trained in one go: train it anew in another --out")

    def _about(self, agent: Agent, keywords: dict[str, Any]) -> dict[str, Any]:
        """What a run is made from: a resumed run must be made from the same."""
        about = {
            "agent": agent.name,
            "settings": asdict(agent.settings),
            "env": {"id": self.env.removeprefix("maskgym:"), **keywords},
            "steps": masks(self.steps),
            "seed": self.seed,
            "synchronous": self.synchronous,
        }
        return about | ({"workers": self.workers} if self.synchronous else {})


@dataclass(frozen=True)
class Games:
    """Makes vector environments of the train split; made of strings and numbers, so that workers can be handed it."""

    name: str
    keywords: dict[str, Any]
    choosing: bool = False  # does the agent choose the images itself?

    def __call__(self, num_envs: int) -> Any:
        """Make one of so many games; where the agent chooses the images, one that does not show the next by itself."""
        import gymnasium as gym

        more: dict[str, Any] = {"autoreset_mode": "Disabled"} if self.choosing else {}
        return gym.make_vec(f"maskgym:{self.name}", num_envs=num_envs, output="torch", **more, **self.keywords)


@dataclass
class Judgement:
    """Says how good an agent is on the first images of the val split: points where par is known, else in percent."""

    task: Task
    ratio: float
    images: int = field(init=False)
    chance: np.ndarray = field(init=False)
    par: np.ndarray | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.images = count_images(self.task, min(_JUDGED, len(self.task.images)))
        random = make_agent("random", game_spec=game_spec_of(self.task), seed=0)
        plays = [play(random, self.task, self.ratio, images=self.images, seed=i).reward for i in range(8)]
        self.chance = np.mean(plays, 0)
        try:
            table, _ = par.find(self.task, self.ratio, self.images)
            self.par, self.chance = table.reward, table.random
        except BadInput:
            self.par = None  # not searched for yet: `maskgym par` does that

    def __call__(self, agent: Agent) -> Verdict:
        """Let it play its best."""
        played = play(agent, self.task, self.ratio, images=self.images)
        above = {"above random": 100.0 * float(played.reward.mean() / self.chance.mean() - 1.0)}
        if self.par is not None:
            above = {"points": points(played.reward, self.chance, self.par), **above}
        return Verdict(above, self._picture(played.mask))

    def _picture(self, mask: np.ndarray) -> np.ndarray:
        """A few images beside what is left of them."""
        rows = []
        for i in range(min(_SHOWN, self.images)):
            image = self.task.fetch(np.array([i]))
            hidden = torch.from_numpy(mask[i : i + 1]).to(image.device).view(1, *self.task.patches.grid)
            parts = [image, self.task.game.hide(image, hidden)]
            rows.append(beside([enlarge(grey(part.cpu()), 128) for part in parts]))
        return np.concatenate(rows, 0)
