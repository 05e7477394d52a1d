"""`survey`: flip all patches in a few queries, far ones together, and swap what came out best."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from maskgym.climbing import Found, climb
from maskgym.game import Game
from maskgym.searcher import Searcher


class Survey(Searcher):
    """Hide the mask to which a climb by swaps leads from any start: `survey?start=a3c:runs/a3c&queries=64`.

    First the patches whose place the start is least sure of are flipped, some cells apart, so that four queries (in 3D
    eight) tell what each flip is worth by the changes around it. Then swaps are tried: the number of them grows with
    success and shrinks without, and the longer ago a flip was measured, the more freely it is tried again.
    """

    name = "survey"
    paper = "baseline"

    def improve(self, game: Game, images: Tensor, scores: Tensor, seeds: Tensor, queries: int) -> Iterator[Found]:
        """Climb."""
        return climb(game, images, scores, queries, seeds, self.trusted)
