"""What an agent is that stands on another one: a search starts from its mask, `mirror` asks it several times."""

from __future__ import annotations

from typing import Any

from torch import nn

from maskgym.agent import Agent, GameSpec
from maskgym.agent_spec import AgentSpec
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.learner import Learner
from maskgym.meter import Meter
from maskgym.registry import agent_class, make_agent

RANDOM = "random"  # the start that knows nothing


class Composed(Agent):
    """Base of agents that start from another one, which their setting `start` names."""

    def __init__(self, game_spec: GameSpec, settings: Any = None, seed: int = 0):
        super().__init__(game_spec, settings, seed)
        start = self.settings.start
        name, folder, _ = AgentSpec.read(start)
        if not folder and issubclass(agent_class(name), Learner):
            raise BadInput(f"{self.name} cannot start from {start!r}, which is untrained: give {name}:FOLDER")
        # In a list, so that it is not saved as ours: it is loaded again from where it was.
        self._starts = [] if start == RANDOM else [make_agent(start, game_spec=game_spec, seed=seed)]
        self._asked = Meter()  # what the start asks

    def attach(self, student: nn.Module | None, teacher: nn.Module | None = None) -> None:
        """Take the networks, for the start as well."""
        super().attach(student, teacher)
        for start in self._starts:
            start.attach(student, teacher)

    def lend(self, game: Game) -> None:
        """Take the game, for the start as well."""
        super().lend(game)
        for start in self._starts:
            start.lend(game.metered(self._asked))
