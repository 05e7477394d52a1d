"""`search`: try masks on the reconstructor itself and keep what pays. The maker of par, and the upper baseline."""

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

    evaluations: int = 500
    """Forwards of the reconstructor an image."""
    chains: int = 8
    """Masks of an image that are improved side by side."""
    looks: int = 16
    """Random masks, counted among the evaluations, whose loss map is the first start; at most an eighth of them."""
    piece: int = 0
    """Images that go through the network at once; 0 = all."""

    def __post_init__(self) -> None:
        if self.evaluations < 8 or min(self.chains, self.looks) < 1 or self.piece < 0:
            raise BadInput(f"{self}: take 8 evaluations or more, positive chains and looks, and piece 0")


class SwapSearch(Agent):
    """Hide the mask that a search over masks of this very image found, by the joint reward and nothing else.

    It sees what no policy sees, the price of every mask it tries, and pays for it in hundreds of forwards an image.
    What it reaches is how far a policy could go. Its order within the mask is that of the loss map.
    """

    name = "search"
    paper = "baseline"
    needs = "reconstructor"

    Settings = SearchSettings

    def score(self, images: Tensor) -> Tensor:
        """Score the patches of the best mask above all others."""
        settings = self.settings
        seeds = self.draw_keys(len(images), 1)[:, 0]
        looks = min(settings.looks, settings.evaluations // 8)
        with self.lent_network() as network:
            game = Game(network, self.patches, self.game_spec.ratio, piece=settings.piece or None)
            hidden = random_masks(game, seeds, looks)  # (M, B, N)
            losses = torch.stack(
                [game.evaluate(images, mask.view(-1, *self.patches.grid)).patch_loss.flatten(1) for mask in hidden]
            )
            loss_map = (losses * hidden).sum(0) / hidden.sum(0).clamp(min=1)  # (B, N)
            start = torch.zeros_like(hidden[0]).scatter_(1, loss_map.topk(game.budget, 1).indices, True)
            how = Search(chains=settings.chains)
            found = search(game, images, start[None], settings.evaluations - looks, seeds, how)
        scores = found.mask.float() + 0.5 * loss_map / (1 + loss_map)
        return scores.view(-1, *self.patches.grid)
