"""`maskgym train ...`: train an agent against an environment."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro

from maskgym.agent import Agent
from maskgym.agent_spec import AgentSpec, name_of
from maskgym.benchmark import manifest, par
from maskgym.benchmark.evaluate import play
from maskgym.benchmark.points import count_images, points
from maskgym.commands.which_game import Game
from maskgym.envs.rendering import panel
from maskgym.envs.task import Settings, Task
from maskgym.errors import BadInput
from maskgym.learner import Learner, OwnLoop
from maskgym.registry import agent_class, game_spec_of, make_agent
from maskgym.training.board import Log, check_log
from maskgym.training.devices import native_precision
from maskgym.training.folder import Folder
from maskgym.training.trainer import Trainer, TrainerSettings
from maskgym.training.watch import Evaluation

_JUDGED, _SHOWN = 64, 6  # images of the val split


@dataclass(frozen=True)
class Train(Game):
    """Train an agent; the same command given again goes on where it was stopped."""

    agent: Annotated[str, tyro.conf.Positional]
    """Which agent, as a3c, or with settings "a3c?width=48&lr=1e-3"; `maskgym agents` lists them."""
    out: Path
    """Folder of the run: checkpoints, TensorBoard, metrics.csv, the agent itself, which NAME:FOLDER loads."""
    ratio: float = 0.75
    """Share of the patches that is hidden."""
    piece: int = 0
    """Images that go through the frozen network at once on a CPU; 0 = measured once and remembered."""
    steps: int = 200_000
    """Env steps in all: one is one mask of one image."""
    workers: int = 2
    """Processes that train side by side; agents with a training loop of their own use one."""
    mode: Literal["auto", "asynchronous", "synchronous"] = "auto"
    """asynchronous: workers that do not wait for each other (A3C). synchronous: one process with the batches of all
    workers in one (A2C). auto: asynchronous on a CPU, synchronous on a GPU, where processes' kernels queue up."""
    fresh: bool = False
    """Delete the run that is in --out and start over."""
    seed: int = 0
    """Seed of the weights and of all randomness."""
    save_every: int = 10_000
    """Env steps between two checkpoints."""
    eval_every: int = 10_000
    """Env steps between two evaluations on the val split; 0 = only at the end."""
    on_worker_failure: Literal["go-on", "stop"] = "go-on"
    """What happens to the other workers when one fails."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """In which networks compute while training; "auto": bf16 where the processor has it. Scores are made in 32 bits."""
    compile: bool = False
    """Compile the networks with torch.compile, in one process: a minute at the start, and faster updates after it."""
    log: Log = "tensorboard"
    """Where curves go besides TensorBoard; wandb and mlflow stay offline unless their own variables say otherwise."""
    quiet: bool = False
    """Print no progress."""

    def __call__(self) -> int:
        """Train, and say how to go on."""
        cls = self._learner()
        check_log(self.log)
        keywords = self.keywords() | {"ratio": self.ratio, "piece": self.piece}
        torch.set_num_threads(1)  # processes run side by side
        val = Task(Settings.of({**keywords, "split": "val"}))
        agent: Any = make_agent(self.agent, game_spec=game_spec_of(val), seed=self.seed)
        own_loop = issubclass(cls, OwnLoop)
        precision: Any = native_precision(val.device) if self.precision == "auto" else self.precision
        settings = TrainerSettings(
            self.steps,
            self.workers,
            self.synchronous,
            self.save_every,
            self.eval_every,
            self.on_worker_failure,
            precision,
            self.compile,
        )
        folder = Folder(self.out, self._about(agent, keywords, precision), self.fresh)
        manifest.write(self.out, val, self.env, agents={self.agent: manifest.code_of(self.agent)}, seeds=[self.seed])
        if own_loop and (there := folder.reached()):
            if there >= self.steps:
                return self._told(there)
            print(f"maskgym: {agent.name} has a loop of its own, which cannot be resumed: starting over")
        if self.device != "cpu" and self.mode == "auto" and not own_loop:
            print("maskgym: one process plays all batches: on a GPU kernels of several would wait for each other")
        make_env = Games(self.env.removeprefix("maskgym:"), keywords, not own_loop)
        done = Trainer(agent, make_env, settings, folder, Evaluator(val, self.ratio), self.quiet, self.log)()
        if done < self.steps:
            print(f"interrupted after {done} env steps; all is saved: the same command goes on")
            return 130
        return self._told(done)

    @property
    def synchronous(self) -> bool:
        """Is it one process with the batches of all workers in one?"""
        return self.device != "cpu" if self.mode == "auto" else self.mode == "synchronous"

    def _told(self, done: int) -> int:
        name = name_of(self.agent)
        score, board = shlex.quote(f"{name}:{self.out}"), shlex.quote(str(self.out))
        print(f"trained for {done} env steps: `maskgym score {score}`, `tensorboard --logdir {board}`")
        return 0

    def _learner(self) -> type[Learner]:
        """Refuse what cannot be trained."""
        name, saved, _ = AgentSpec.read(self.agent)
        cls = agent_class(name)
        if saved:
            raise BadInput(f"{self.agent!r} is a saved agent: name one to be trained")
        if not issubclass(cls, Learner):
            raise BadInput(f"agent {name!r} does not learn: there is nothing to train")
        cores = os.cpu_count() or 1
        if self.workers > cores and not self.synchronous and not issubclass(cls, OwnLoop):
            print(f"maskgym: {self.workers} workers on {cores} cores will wait for each other: {cores} are enough")
        return cls

    def _about(self, agent: Agent, keywords: dict[str, Any], precision: str) -> dict[str, Any]:
        """What a run is made from: a resumed run must be made from the same."""
        about = {
            "agent": agent.name,
            "settings": asdict(agent.settings),
            "env": {"id": self.env.removeprefix("maskgym:"), **keywords},
            "steps": self.steps,
            "seed": self.seed,
            "synchronous": self.synchronous,
            "precision": precision,
        }
        return about | ({"workers": self.workers} if self.synchronous else {})


@dataclass(frozen=True)
class Games:
    """Makes vector environments of the train split; made of strings and numbers, so that workers can be handed it."""

    name: str
    keywords: dict[str, Any]
    choosing: bool = False  # does the trainer choose the images itself?

    def __call__(self, num_envs: int) -> Any:
        """Make one of so many games, one that does not show the next image by itself where the trainer does."""
        import gymnasium as gym

        more: dict[str, Any] = {"autoreset_mode": "Disabled"} if self.choosing else {}
        return gym.make_vec(f"maskgym:{self.name}", num_envs=num_envs, output="torch", **more, **self.keywords)


@dataclass
class Evaluator:
    """Says how good an agent is on the first images of the val split: points where par is known, else in percent."""

    task: Task
    ratio: float
    images: int = field(init=False)
    random: np.ndarray = field(init=False)
    par: np.ndarray | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.images = count_images(self.task, min(_JUDGED, len(self.task.images)))
        random = make_agent("random", game_spec=game_spec_of(self.task), seed=0)
        plays = [play(random, self.task, self.ratio, images=self.images, seed=i).reward for i in range(8)]
        self.random = np.mean(plays, 0)
        try:
            table = par.shipped(self.task, self.ratio, self.images).table
            self.par, self.random = table.reward, table.random
        except BadInput:
            self.par = None  # none ships for this game

    def __call__(self, agent: Agent) -> Evaluation:
        """Let it play its best; one that asks the network is lent it."""
        agent.lend(self.task.lent_at(self.ratio))
        played = play(agent, self.task, self.ratio, images=self.images)
        above = {"above random": 100.0 * float(played.reward.mean() / self.random.mean() - 1.0)}
        if self.par is not None:
            above = {"points": points(played.reward, self.random, self.par), **above}
        return Evaluation(above, self._picture(played.mask[0]))

    def _picture(self, mask: np.ndarray) -> np.ndarray:
        """A few images, what is hidden of them, and what the network makes of the rest."""
        game, rows = self.task.game_at(self.ratio), []
        for i in range(min(_SHOWN, self.images)):
            image = self.task.fetch(np.array([i]))
            hidden = torch.from_numpy(mask[i : i + 1]).to(image.device).view(1, *self.task.patches.grid)
            with torch.no_grad():
                rows.append(panel(self.task, image, game.evaluate(image, hidden)))
        return np.concatenate(rows, 0)
