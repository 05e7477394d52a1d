"""How agents are found by name: through the entry-point group `maskgym.agents`, ours and a stranger's alike."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from maskgym.agent import Agent, GameSpec
from maskgym.agent_settings import read_settings
from maskgym.agent_spec import AgentSpec, name_of
from maskgym.errors import BadInput

GROUP = "maskgym.agents"


def names() -> list[str]:
    """Name every installed agent."""
    return sorted(_found())


def agent_class(name: str) -> type[Agent]:
    """Find an agent's class by its name."""
    found = _found()
    if name not in found:
        near = get_close_matches(name, found, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"installed are {', '.join(sorted(found))}"
        raise BadInput(f"unknown agent {name!r}: {hint}")
    try:
        loaded: type[Agent] = found[name].load()
    except (ImportError, AttributeError) as error:
        where = found[name].value
        raise BadInput(
            f"agent {name!r} cannot be loaded from {where} ({error}): repair or remove its package"
        ) from error
    return loaded


def within(spec: str) -> list[str]:
    """List the specs of all agents in a spec: itself, the one it starts from, the one that starts from, and so on.

    >>> within("survey?start=mirror?start=a3c:runs/a3c&queries=16")
    ['survey?start=mirror?start=a3c:runs/a3c&queries=16', 'mirror?start=a3c:runs/a3c', 'a3c:runs/a3c']
    """
    known = _found()
    values = AgentSpec.read(spec).settings.values()
    return [spec, *(part for value in values if name_of(value) in known for part in within(value))]


def make_agent(
    spec: str, env: Any = None, *, game_spec: GameSpec | None = None, seed: int | None = None, **settings: Any
) -> Agent:
    """Make an agent for an environment (or a game): `make_agent("loss-map", env, masks=8)`.

    Args:
        spec: a name, `NAME:FOLDER` to load a saved one, either with settings after a `?` as in "loss-map?masks=8"; of
            a saved one only what its class lets differ at play, as in "foresight:runs/f?queries=64".
        env: an environment of maskgym, single, vector or wrapped; its game is lent, and what is asked of it counted.
        game_spec: the game, where there is no environment.
        seed: of the agent's own random keys; 0, or the saved one's, where it is not given.
        settings: fields of the agent's Settings.
    """
    name, folder, written = AgentSpec.read(spec)
    cls = agent_class(name)
    task = None if env is None else _task(env)
    if task is not None:
        game_spec = game_spec_of(task)
    if game_spec is None:
        raise BadInput(f"agent {name!r} must know the game: hand in an environment or a game_spec")
    agent = (
        cls.load(folder, game_spec, **{**written, **settings})
        if folder
        else cls(game_spec, read_settings(name, cls.Settings, {**written, **settings}), seed or 0)
    )
    agent.seed = agent.seed if seed is None else seed
    if task is not None:
        agent.lend(task.lent)
    return agent.to(game_spec.device)


def game_spec_of(task: Any) -> GameSpec:
    """Describe the game of an environment's task."""
    return GameSpec(task.patches, task.channels, task.game.ratio, str(task.device))


def _task(env: Any) -> Any:
    face = getattr(env, "unwrapped", env)
    while face is not None and not hasattr(face, "task"):
        face = getattr(face, "env", None)  # PettingZoo's and SB3's faces are put in front of another one
    if face is None:
        raise BadInput(f"{env!r} is no environment of maskgym: make one with gym.make('maskgym:MaskMIM-v0')")
    return face.task


def _found() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
