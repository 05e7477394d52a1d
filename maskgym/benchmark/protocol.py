"""The protocol: who plays what, how often, after which training, and in which track it counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from maskgym.agent_spec import AgentSpec
from maskgym.benchmark.results import MODES

FEWEST_SEEDS = 5  # for a claim
TRACKS = {"image": 0, "query-16": 16, "query-64": 64, "query-256": 256}  # queries an image, at most
OPEN = "open"  # more than any track allows
WHITE_BOX = ", white-box"


@dataclass(frozen=True)
class Protocol:
    """What is scored: all that decides the figures, but for the game."""

    agents: tuple[str, ...]
    ratios: tuple[float, ...]
    seeds: int
    images: int
    """How many of the split."""
    steps: int = 20_000
    """Env steps that a learner is trained for."""
    train_at: Literal["env", "each"] = "env"
    """env: learners are trained once, at the environment's ratio. each: once for each ratio, at that ratio."""
    env: str = ""
    """The environment's id."""
    keywords: dict[str, Any] = field(default_factory=dict)
    """Of the environment, but for split and ratio."""
    hard_share: float = 1.0
    """Share of the hidden patches that agents choose; the rest is hidden at random."""


class Cell(NamedTuple):
    """One run of an agent at one ratio, played in one way."""

    agent: str
    seed: int
    ratio: float
    mode: str


def cells(protocol: Protocol) -> Iterator[Cell]:
    """Go through all cells, the runs of one result together."""
    for agent in protocol.agents:
        for ratio in protocol.ratios:
            for mode in MODES:
                for seed in range(runs(agent, protocol.seeds)):
                    yield Cell(agent, seed, ratio, mode)


def runs(agent: str, seeds: int) -> int:
    """How many runs an agent has: a saved one is one run, however often it plays."""
    return 1 if is_saved(agent) and "{seed}" not in agent else seeds


def is_saved(agent: str) -> bool:
    """Does a spec name a folder?"""
    return bool(AgentSpec.read(agent).folder)


def track(queries: float, white_box: bool) -> str:
    """Name the track of an agent by the most queries it asked for an image, and whether it saw gradients."""
    name = next((name for name, most in TRACKS.items() if queries <= most), OPEN)
    return name + (WHITE_BOX if white_box else "")


def in_order(tracks: set[str]) -> list[str]:
    """Sort tracks by what they allow."""
    order = [name + suffix for name in (*TRACKS, OPEN) for suffix in ("", WHITE_BOX)]
    return sorted(tracks, key=order.index)
