"""`slopes`: a few steps up the slope of the reward of a relaxed mask, then a climb by swaps. White-box."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskgym.climbing import Found, climb, normal
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking import rng
from maskgym.masking.relax import relax
from maskgym.meter import takes_soft_masks
from maskgym.searcher import Searcher, SearchSettings


@dataclass(frozen=True)
class SlopesSettings(SearchSettings):
    """Settings of `slopes`."""

    queries: int = 48
    """Queries an image, those of the start included; a forward is one, a backward two more."""
    steps: int = 4
    """Steps up the slope, three queries each; fewer where the queries do not last."""
    rate: float = 0.5
    """Learning rate of Adam on the scores."""
    soft: float = 0.5
    """Softness of the relaxed mask at first: a patch is hidden by sigmoid((z - t) / softness)."""
    hard: float = 0.2
    """Softness at last."""

    def __post_init__(self) -> None:
        if self.steps < 1 or min(self.rate, self.soft, self.hard) <= 0:
            raise BadInput(f"{self}: steps, rate, soft and hard must be positive")


class Slopes(Searcher):
    """Hide the mask that the reward's own slope leads to, and a climb by swaps after it.

    The start's scores, standardised, become a relaxed mask whose shares sum to K, and the reward is differentiated with
    respect to them through the frozen network. A slope says less of a visible patch (correlation with the true value of
    flipping it 0.5) than of a hidden one (0.8), so after a few steps the rest of the queries goes to swaps, as in
    `survey`.
    """

    name = "slopes"
    paper = "baseline"
    needs = "reconstructor, gradients"
    least = 7  # one step, and the least of a climb

    Settings = SlopesSettings

    def attach(self, student: nn.Module | None, teacher: nn.Module | None = None) -> None:
        """Take the networks; one without gradients for masks is refused here."""
        network = student if teacher is None else teacher
        if network is not None and not takes_soft_masks(network):
            name = type(getattr(network, "network", network)).__name__
            raise BadInput(f"slopes needs gradients for masks, and {name} drops hidden patches: take survey, or a UNet")
        super().attach(student, teacher)

    def improve(self, game: Game, images: Tensor, scores: Tensor, seeds: Tensor, queries: int) -> Iterator[Found]:
        """Go up the slope, then climb."""
        s = self.settings
        each = 3 * game.cost
        steps = min(s.steps, (queries - 4 * game.cost) // each)
        start = scores - scores.mean(1, keepdim=True)
        climbed = (start / start.std(1, keepdim=True).clamp(min=1e-9)).requires_grad_(True)
        optimizer = torch.optim.Adam([climbed], s.rate, betas=(0.9, 0.99), eps=1e-15)  # whatever the reward's scale
        for step in range(1, steps + 1):
            softness = s.soft * (s.hard / s.soft) ** (step / steps)
            noise = 0.3 * softness * normal(rng.keys(seeds ^ (step << 32), scores.shape[1]))
            with torch.enable_grad():
                reward = game.soft_reward(images, relax(climbed + noise, game.budget, softness))
                (climbed.grad,) = torch.autograd.grad(-reward.sum(), climbed)
            optimizer.step()
        for found in climb(game, images, climbed.detach(), queries - each * steps, seeds):
            yield found._replace(queries=found.queries + each * steps)
