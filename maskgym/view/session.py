"""What the page may ask, and the answers as plain dictionaries."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from maskgym.errors import BadInput
from maskgym.learner import Learner
from maskgym.registry import agent_class, names
from maskgym.view.round import Round

RATIOS = tuple(round(0.05 * n, 2) for n in range(1, 20))
_EPISODES = 8  # of the query game that are kept; more than anybody has pages open


@dataclass
class Episode:
    """One episode of the query game."""

    round: Round
    env: Any
    index: int
    steps: int = 0
    over: bool = False


class Session:
    """The games of one page; a game is an environment on a data set.

    Args:
        games: what each is called, and how its environment is made at a ratio with so many queries, 0 = one mask.
        agents: specs of agents that play besides those that need no training.
        ratio: that the page begins with.
        queries: of an episode of the query game.
        several: does the page begin with the query game?
        par: a par file of one's own; none = the par that ships.
    """

    def __init__(
        self,
        games: dict[str, Callable[[float, int], Any]],
        agents: tuple[str, ...] = (),
        ratio: float = 0.75,
        queries: int = 16,
        several: bool = False,
        par: Path | None = None,
    ):
        self.games, self.given, self.ratio, self.queries, self.several = games, agents, ratio, queries, several
        self._episodes: dict[str, Episode] = {}
        self._rounds: dict[tuple[str, float], Round] = {}
        self._par = par
        self._lock = Lock()  # requests come in threads, the games are played one at a time

    @cached_property
    def players(self) -> tuple[str, ...]:
        """Those given, and all installed ones that can play untrained."""
        able = [name for name in names() if _plays_untrained(name)]
        return tuple(dict.fromkeys((*self.given, *able)))

    def about(self) -> dict[str, Any]:
        """What there is to choose from."""
        return {
            "games": list(self.games),
            "agents": list(self.players),
            "ratios": RATIOS,
            "ratio": self.ratio,
            "queries": self.queries,
            "several": self.several,
        }

    def image(self, game: str, ratio: float, index: int, plane: int | None = None) -> dict[str, Any]:
        """Show one image, its par and what random masks get on it."""
        with self._lock:
            one = self._round(game, ratio)
            return one.show(index % len(one.task.images), plane)

    def score(self, game: str, ratio: float, index: int, mask: list[int], plane: int = 0) -> dict[str, Any]:
        """Say what hiding these patches comes to."""
        with self._lock:
            one = self._round(game, ratio)
            return one.outcome(index, one.mask(mask), plane)

    def play(self, game: str, ratio: float, index: int, agent: str, plane: int = 0) -> dict[str, Any]:
        """Say what an agent, or par, hides and what that comes to."""
        if agent not in (*self.players, "par"):
            raise BadInput(f"agent {agent!r} is not on this page: start it with --agent {agent}")
        with self._lock:
            one = self._round(game, ratio)
            return one.outcome(index, one.masked_by(index, agent), plane)

    def begin(self, game: str, ratio: float, index: int) -> dict[str, Any]:
        """Begin an episode of the query game on this image."""
        with self._lock:
            one = self._round(game, ratio)
            env = self.games[game](ratio, self.queries)
            _, info = env.reset(seed=0, options={"index": index})
            name = secrets.token_hex(8)
            self._episodes[name] = Episode(one, env, index)
            while len(self._episodes) > _EPISODES:
                del self._episodes[next(iter(self._episodes))]
            return {"episode": name, "baseline": float(info["baseline"]), "left": self.queries}

    def query(self, episode: str, mask: list[int], plane: int = 0) -> dict[str, Any]:
        """Play one step of an episode."""
        with self._lock:
            if episode not in self._episodes:
                raise BadInput("this episode is gone: begin another")
            one = self._episodes[episode]
            if one.over:
                raise BadInput("this episode is over: begin another")
            _, gain, one.over, _, info = one.env.step(one.round.mask(mask).numpy().astype(np.int8))
            one.steps += 1
            told = one.round.outcome(one.index, torch.from_numpy(info["mask"]).flatten().bool(), plane)
            best = float(info["best"])
            more = {"best": best, "best_points": one.round.points(one.index, best), "left": self.queries - one.steps}
            return {**told, **more, "gain": float(gain), "over": one.over}

    def _round(self, game: str, ratio: float) -> Round:
        if game not in self.games:
            raise BadInput(f"there is no game {game!r} on this page")
        if ratio not in RATIOS:
            raise BadInput(f"ratio {ratio} is none of this page's")
        if (game, ratio) not in self._rounds:
            self._rounds[game, ratio] = Round(self.games[game](ratio, 0), self._par)
        return self._rounds[game, ratio]


def _plays_untrained(name: str) -> bool:
    try:
        return not issubclass(agent_class(name), Learner)
    except BadInput:  # somebody's broken package
        return False
