"""`search`: the long tail of `survey`. After a hundred queries, several masks side by side, crossed with each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from maskgym.benchmark.search import Search, search
from maskgym.climbing import Found, climb
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.searcher import Searcher, SearchSettings

_CLIMBED = 100  # queries after which a single climb slows down


@dataclass(frozen=True)
class LongSettings(SearchSettings):
    """Settings of `search`."""

    queries: int = 500
    """Queries an image, those of the start included."""
    chains: int = 8
    """Masks of an image that are improved side by side after the climb."""

    def __post_init__(self) -> None:
        if self.chains < 1:
            raise BadInput(f"chains {self.chains} must be at least 1")


class SwapSearch(Searcher):
    """Hide the mask that a long search over masks of this very image found.

    The first hundred queries are those of `survey`. Then several masks are improved side by side, by swaps, by setting
    a disc of one into another, and by hiding whole discs, which no swap finds. What it reaches is how far a policy
    could go; par is made so.
    """

    name = "search"
    paper = "baseline"

    Settings = LongSettings

    def improve(self, game: Game, images: Tensor, scores: Tensor, seeds: Tensor, queries: int) -> Iterator[Found]:
        """Climb, then search on from where the climb came to."""
        found = None
        for found in climb(game, images, scores, min(queries, _CLIMBED), seeds, self.trusted):
            yield found
        assert found is not None
        masks, climbed = (queries - found.queries) // game.cost, found.queries
        if masks < self.settings.chains:
            return
        rounds: list[Found] = []
        search(
            game,
            images,
            found.mask[None],
            masks,
            seeds,
            Search(chains=self.settings.chains),
            progress=lambda one: rounds.append(Found(climbed + one.queries * game.cost, one.mask, one.reward)),
        )
        yield from rounds
