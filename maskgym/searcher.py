"""What a searching agent is: it starts from another agent's scores and improves the mask by asking the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from maskgym.agent import GameSpec
from maskgym.climbing import Found
from maskgym.composed import RANDOM, Composed
from maskgym.errors import BadInput
from maskgym.game import Game


@dataclass(frozen=True)
class SearchSettings:
    """Settings that all searching agents share."""

    start: str = RANDOM
    """Whose mask is improved: random, or any agent, as variance or a3c:runs/a3c."""
    queries: int = 64
    """Queries an image, those of the start included."""
    piece: int = 0
    """Images that go through the network at once; 0 = as the game has it."""


class Searcher(Composed):
    """Base of agents that search: override `improve`.

    They are anytime: `anytime` gives the best masks after every query, and a smaller budget is the same search, stopped
    earlier.
    """

    needs = "reconstructor"
    at_play = ("queries", "piece")
    least: ClassVar[int] = 4  # queries under which the search makes no sense

    Settings = SearchSettings

    def __init__(self, game_spec: GameSpec, settings: Any = None, seed: int = 0):
        super().__init__(game_spec, settings, seed)
        queries, piece = self.settings.queries, self.settings.piece
        if queries < self.least or piece < 0:
            raise BadInput(
                f"{self.name} with queries={queries}, piece={piece}: give {self.least} queries or more, piece 0"
            )

    def score(self, images: Tensor) -> Tensor:
        """Score the patches of the best mask above all others."""
        found = None
        for found in self.anytime(images):  # noqa: B007 (the last one counts)
            pass
        assert found is not None
        return found.mask.float().view(-1, *self.patches.grid)

    def anytime(self, images: Tensor) -> Iterator[Found]:
        """Search on z-scored images (B, C, *size); gives the best masks so far after every query."""
        keys = self.draw_keys(len(images), self.patches.count + 1)
        self._asked.per_image(len(images))
        if self._starts:
            scores = self._starts[0].score(images).detach().flatten(1).float()
        else:
            scores = (keys[:, 1:].double() / 2**63).float()
        asked = self._asked.per_image(len(images))
        if self.settings.queries - asked < self.least:
            raise BadInput(
                f"{self.settings.start!r} asks {asked} queries itself: give {self.name} {asked + self.least} or more"
            )
        with self.lent_game(self.settings.piece or None) as game:
            for found in self.improve(game, images, scores, keys[:, 0], self.settings.queries - asked):
                yield found._replace(queries=found.queries + asked)

    def improve(self, game: Game, images: Tensor, scores: Tensor, seeds: Tensor, queries: int) -> Iterator[Found]:
        """Search from scores (B, N), as random as the (B,) int64 seeds say, by so many queries an image."""
        raise TypeError(f"agent {type(self).__name__} does not say how it searches: override improve(...)")

    @property
    def trusted(self) -> bool:
        """Whether the start knows something."""
        return bool(self._starts)


def best_after(agent: Searcher, images: Tensor, budgets: tuple[int, ...]) -> dict[int, Tensor]:
    """Give the best masks (B, N) after each of several budgets, from one search as long as the agent's own."""
    masks: dict[int, Tensor] = {}
    for found in agent.anytime(images):
        masks |= {budget: found.mask for budget in budgets if found.queries <= budget}
    return masks
