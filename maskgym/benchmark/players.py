"""Who plays: agents by their spec, checked and trained before anything is scored."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskgym.agent import Agent
from maskgym.agent_spec import AgentSpec, name_of
from maskgym.benchmark import manifest
from maskgym.benchmark.protocol import Protocol, is_saved, runs
from maskgym.errors import BadInput
from maskgym.learner import Learner, OwnLoop
from maskgym.registry import agent_class, game_spec_of, make_agent, within
from maskgym.training.folder import Folder
from maskgym.training.trainer import Trainer, TrainerSettings

if TYPE_CHECKING:
    from maskgym.envs.task import Task

BESIDE = ("random", "variance")  # heuristics that stand in every table
_GAME = ("ratio", "piece", "device", "split", "hint_share", "action_type")  # of an environment, not of its game


def seat(spec: str, task: Task, ratio: float, seed: int) -> Agent:
    """Make an agent for a task at another ratio than the task's own, ready to play; what it asks is metered.

    `{seed}` in a spec is replaced, so that "a3c:runs/a3c-{seed}" means one saved agent a seed.
    """
    game_spec = replace(game_spec_of(task), ratio=ratio)
    agent = make_agent(spec.replace("{seed}", str(seed)), game_spec=game_spec, seed=seed)
    agent.lend(task.lent_at(ratio))
    return agent


def must_train(spec: str) -> bool:
    """Is it a learner that is not loaded from a folder?"""
    return issubclass(agent_class(name_of(spec)), Learner) and not is_saved(spec)


def explores(agent: Agent) -> bool:
    """Does it play otherwise when sampled?"""
    return type(agent).sample is not Agent.sample


def with_heuristics(specs: Sequence[str]) -> tuple[str, ...]:
    """Add the heuristics that stand in every table."""
    names = {name_of(spec) for spec in specs}
    return tuple(dict.fromkeys((*specs, *(name for name in BESIDE if name not in names))))


def check(protocol: Protocol, task: Task) -> None:
    """Refuse a bad spec before anything is run."""
    for spec in protocol.agents:
        for seed in range(protocol.seeds if "{seed}" in spec else 1):
            for ratio in protocol.ratios:
                seat(spec, task, ratio, seed)


def own_game(specs: Sequence[str]) -> dict[str, Any] | None:
    """Find the game that saved agents were trained in, as id and keywords; None where no agent is a saved one.

    Agents that others start from are asked as well.
    """
    found: dict[str, dict[str, Any]] = {}
    for spec in filter(is_saved, [agent for whole in specs for agent in within(whole)]):
        told = settings_of(spec)
        if told is None:
            raise BadInput(f"{folder_of(spec)} does not say which game {name_of(spec)!r} was trained in: give --env")
        found[spec] = {name: value for name, value in told["env"].items() if name not in _GAME}
    games = list(found.values())
    for spec, game in found.items():
        if game != games[0]:
            first, other = (", ".join(f"{name}={value}" for name, value in one.items()) for one in (games[0], game))
            raise BadInput(f"{next(iter(found))} was trained in {first}, {spec} in {other}: give --env")
    return games[0] if games else None


def settings_of(spec: str, seed: int = 0) -> dict[str, Any] | None:
    """Read what the run of a saved agent was made from; None where its folder does not say."""
    try:
        told = json.loads((folder_of(spec, seed) / "settings.json").read_text())
        return told if isinstance(told["env"], dict) and isinstance(told["env"]["id"], str) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def trained_at(spec: str, seed: int = 0) -> float | None:
    """At which ratio a saved agent, or the one it starts from, was trained; None where no learner is in it."""
    learners = [one for one in within(spec) if is_saved(one) and issubclass(agent_class(name_of(one)), Learner)]
    try:
        return float(json.loads((folder_of(learners[0], seed) / "agent.json").read_text())["ratio"])
    except (IndexError, OSError, ValueError, KeyError, TypeError):
        return None


def train(protocol: Protocol, task: Task, spec: str, seed: int, ratio: float, out: Path, quiet: bool = False) -> str:
    """Train a learner as `maskgym train` does, in one process, unless that was done; gives the saved one's spec.

    A training that was cut off goes on from its last checkpoint.
    """
    ratio = ratio if protocol.train_at == "each" else task.settings.ratio
    code = manifest.code_of(spec)
    made_by = manifest.digest(code, protocol.steps, protocol.env, protocol.keywords, task.fingerprint, ratio)
    where = out / "agents" / f"{slug(spec)}-seed-{seed}-ratio-{ratio:g}-{made_by}"
    if not (where / manifest.NAME).is_file():  # written last
        game_spec = replace(game_spec_of(task), ratio=ratio)
        agent = make_agent(spec, game_spec=game_spec, seed=seed)
        assert isinstance(agent, Learner)
        agent.attach(task.game.reconstructor)
        keywords = {**protocol.keywords, "ratio": ratio}
        about = {"agent": agent.name, "settings": asdict(agent.settings), "env": {"id": protocol.env, **keywords}}
        folder = Folder(where, {**about, "steps": protocol.steps, "seed": seed})
        settings = TrainerSettings(steps=protocol.steps, workers=1, synchronous=True, eval_every=0)
        done = Trainer(
            agent, _Games(protocol.env, keywords, isinstance(agent, OwnLoop)), settings, folder, quiet=quiet
        )()
        if done < protocol.steps:
            raise KeyboardInterrupt
        manifest.write(where, task, protocol.env, agents={spec: code}, seeds=[seed])
    return f"{name_of(spec)}:{where}"


def trainings(protocol: Protocol) -> list[tuple[str, int, float]]:
    """All that is to be trained: spec, seed and ratio."""
    ratios = protocol.ratios if protocol.train_at == "each" else protocol.ratios[:1]
    learners = [spec for spec in protocol.agents if must_train(spec)]
    return [(spec, seed, ratio) for spec in learners for seed in range(runs(spec, protocol.seeds)) for ratio in ratios]


@dataclass(frozen=True)
class _Games:
    """Makes vector environments of the train split."""

    env: str
    keywords: dict[str, Any]
    own_loop: bool  # does the agent step them itself? Then a finished game is followed by the next

    def __call__(self, num_envs: int) -> Any:
        import gymnasium as gym

        more: dict[str, Any] = {} if self.own_loop else {"autoreset_mode": "Disabled"}
        name = f"maskgym:{self.env.removeprefix('maskgym:')}"
        return gym.make_vec(name, num_envs=num_envs, output="torch", **more, **self.keywords)


def folder_of(spec: str, seed: int | str = 0) -> Path:
    """The folder that a spec names."""
    return Path(AgentSpec.read(spec).folder.replace("{seed}", str(seed)))


def folders(spec: str, seed: int = 0) -> list[Path]:
    """All folders and files that a spec names: its own, and those in its settings, as in "survey?start=a3c:FOLDER"."""
    agents = within(spec)
    values = [value for agent in agents for value in AgentSpec.read(agent).settings.values()]
    saved = [folder_of(agent, seed) for agent in agents if is_saved(agent)]
    return saved + [Path(value) for value in values if value and value not in agents and Path(value).exists()]


def short(spec: str) -> str:
    """A spec without its folder and without the way to others.

    >>> short("foresight:runs/a?start=a3c:/data/runs/a3c-{seed}&queries=16")
    'foresight?start=a3c:a3c-{seed}&queries=16'
    """
    where, mark, options = spec.partition("?")
    return where.partition(":")[0] + mark + re.sub(r":[^&]*/", ":", options)


def labels(specs: Sequence[str], brief: bool = False) -> dict[str, str]:
    """Short names that tell specs apart, in their order; the folders of saved agents stand where they must.

    Args:
        specs: of one table.
        brief: name a start by its agent alone, and leave out all else that the specs of an agent share.

    >>> list(labels(["a3c:runs/long", "a3c:runs/wide"]).values())
    ['a3c:long', 'a3c:wide']
    >>> list(labels(["survey?start=a3c:runs/a&queries=64&piece=8", "survey?queries=256&piece=8"], brief=True).values())
    ['survey?start=a3c&queries=64', 'survey?queries=256']
    """
    told: dict[str, str] = {}
    for name in dict.fromkeys(name_of(spec) for spec in specs):
        whole = {spec: short(spec) for spec in specs if name_of(spec) == name}
        forms = [_abridged(whole), whole] if brief else [whole]
        tries = [own for form in forms for own in (form, _with_folders(form))]
        told |= next((own for own in tries if _differ(own)), {spec: spec for spec in whole})
    return {spec: told[spec] for spec in specs}


def _differ(names: dict[str, str]) -> bool:
    return len(set(names.values())) == len(names)


def _with_folders(names: dict[str, str]) -> dict[str, str]:
    folders = {spec: f"{name_of(spec)}:{folder_of(spec, '{seed}').name}" for spec in names if is_saved(spec)}
    return {spec: text.replace(name_of(spec), folders.get(spec, name_of(spec)), 1) for spec, text in names.items()}


def _abridged(names: dict[str, str]) -> dict[str, str]:
    """Names of one agent without the settings that all share, a start named by its agent alone."""
    settings = {spec: text.partition("?")[2].split("&") for spec, text in names.items()}
    shared = set.intersection(*map(set, settings.values()))
    kept = {spec: [one for one in own if one not in shared or "start=" in one] for spec, own in settings.items()}
    told = {spec: "&".join(re.sub(r"(start=[\w-]+):.*", r"\1", one) for one in own) for spec, own in kept.items()}
    return {spec: name_of(spec) + ("?" if text else "") + text for spec, text in told.items()}


def slug(spec: str) -> str:
    """A spec as a file name, unmistakable."""
    plain = re.sub(r"[^\w.=-]+", "_", spec)[-40:]
    return plain if plain == spec else f"{plain}-{hashlib.sha256(spec.encode()).hexdigest()[:6]}"
