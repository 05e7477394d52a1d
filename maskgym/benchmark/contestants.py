"""Who plays in a benchmark: agents by their spec, checked before anything runs, trained where they learn."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskgym.agent import Agent
from maskgym.learner import Learner
from maskgym.registry import agent_class, game_spec_of, make_agent
from maskgym.training.update import train

if TYPE_CHECKING:
    from maskgym.envs.task import Task

BESIDE = ("random", "variance")  # heuristics that stand in every table


def seat(spec: str, task: Task, ratio: float, seed: int) -> Agent:
    """Make an agent for a task at another ratio than the task's own, ready to play.

    `{seed}` in a spec is replaced, so that "a3c:runs/a3c-{seed}" means one saved agent a seed.
    """
    game_spec = replace(game_spec_of(task), ratio=ratio)
    agent = make_agent(spec.replace("{seed}", str(seed)), game_spec=game_spec, seed=seed)
    agent.attach(task.game.reconstructor)
    return agent


def is_saved(spec: str) -> bool:
    """Does the spec name a folder?"""
    return ":" in spec.partition("?")[0]


def must_train(spec: str) -> bool:
    """Is it a learner that is not loaded from a folder?"""
    return issubclass(agent_class(_name(spec)), Learner) and not is_saved(spec)


def check(specs: tuple[str, ...], task: Task, ratios: tuple[float, ...], seeds: int) -> tuple[str, ...]:
    """Refuse a bad spec before anything is run; adds the heuristics that stand beside every learner."""
    names = {_name(spec) for spec in specs}
    everyone = tuple(dict.fromkeys((*specs, *(name for name in BESIDE if name not in names))))
    for spec in everyone:
        for seed in range(seeds) if "{seed}" in spec else (0,):
            for ratio in ratios:
                seat(spec, task, ratio, seed)
    return everyone


def explores(agent: Agent) -> bool:
    """Does it play otherwise when sampled?"""
    return type(agent).sample is not Agent.sample


def runs(spec: str, seeds: int) -> int:
    """How many runs an agent has: a saved one is one run, however often it plays."""
    return 1 if is_saved(spec) and "{seed}" not in spec else seeds


def trained(
    spec: str,
    seed: int,
    env: Callable[[], Any],
    steps: int,
    folder: Path,
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> str:
    """Train a learner and save it, unless that was done before; gives the spec of the saved one.

    Args:
        spec: name and settings.
        seed: of agent and training.
        env: makes the vector environment; called only if there is something to train.
        steps: masks to train for.
        folder: where trained agents are kept.
        report: hears steps done and figures.
    """
    where = folder / f"{slug(spec)}-seed-{seed}"
    if not (where / "agent.json").is_file():  # written last
        games = env()
        agent: Any = make_agent(spec, games, seed=seed)
        train(agent, games, steps, report)
        agent.save(where)
        games.close()
    return f"{_name(spec)}:{where}"


def slug(spec: str) -> str:
    """A spec as a file name, unmistakable."""
    plain = re.sub(r"[^\w.=-]+", "_", spec)[-40:]
    return plain if plain == spec else f"{plain}-{hashlib.sha256(spec.encode()).hexdigest()[:6]}"


def _name(spec: str) -> str:
    return spec.partition("?")[0].partition(":")[0]
