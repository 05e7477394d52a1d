"""`search`: try masks on the reconstructor itself and keep the best. The maker of par, and the upper baseline."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from maskgym.agent import Agent
from maskgym.benchmark.search import Search, random_masks, search
from maskgym.errors import BadInput
from maskgym.game import Game


@dataclass(frozen=True)
class SearchSettings:
    """Settings of `search`."""

    queries: int = 500
    """Forwards of the reconstructor an image."""
    chains: int = 8
    """Masks of an image that are improved side by side."""
    first: int = 16
    """Random masks, counted among the queries, whose loss map is the start of the search; at most an eighth of them."""
    piece: int = 0
    """Images that go through the network at once; 0 = all."""

    def __post_init__(self) -> None:
        if self.queries < 8 or min(self.chains, self.first) < 1 or self.piece < 0:
            raise BadInput(f"{self}: take 8 queries or more, positive chains and first, and piece 0 or more")


class SwapSearch(Agent):
    """Hide the mask that a search over masks of this very image found, by the joint reward and nothing else.

    It sees what no policy sees, the reward of every mask it tries, for hundreds of queries an image. What it reaches is
    how far a policy could go. Its order within the mask is that of the loss map.
    """

    name = "search"
    paper = "baseline"
    needs = "reconstructor"

    Settings = SearchSettings

    def score(self, images: Tensor) -> Tensor:
        """Score the patches of the best mask above all others."""
        settings = self.settings
        seeds = self.draw_keys(len(images), 1)[:, 0]
        first = min(settings.first, settings.queries // 8)
        with self.lent_network() as network:
            game = Game(network, self.patches, self.game_spec.ratio, piece=settings.piece or None)
            hidden = random_masks(game, seeds, first)  # (M, B, N)
            losses = torch.stack(
                [game.evaluate(images, mask.view(-1, *self.patches.grid)).patch_loss.flatten(1) for mask in hidden]
            )
            loss_map = (losses * hidden).sum(0) / hidden.sum(0).clamp(min=1)  # (B, N)
            start = torch.zeros_like(hidden[0]).scatter_(1, loss_map.topk(game.budget, 1).indices, True)
            how = Search(chains=settings.chains)
            found = search(game, images, start[None], settings.queries - first, seeds, how)
        scores = found.mask.float() + 0.5 * loss_map / (1 + loss_map)
        return scores.view(-1, *self.patches.grid)
