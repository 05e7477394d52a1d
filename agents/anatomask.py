"""AnatoMask: a teacher rebuilds the image under a random mask; what it rebuilt worst is hidden again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from maskgym.agent import Agent
from maskgym.errors import BadInput
from maskgym.masking.select import select


@dataclass(frozen=True)
class AnatoMaskSettings:
    """Settings of `anatomask`."""

    share: float = 0.5
    """Share of the hidden patches that is chosen by loss, the rest is random; where the paper's schedule ends."""
    target: Literal["raw", "normalised"] = "raw"
    """"raw": the network gives pixels. "normalised": it was trained to give patches of mean 0 and variance 1."""
    significance: Literal["high", "low"] = "high"
    """Which of them are hidden: those rebuilt worst, or, as in an ablation of the paper, those rebuilt best."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise BadInput(f"share {self.share} is outside [0, 1]: 0 leaves all random, the paper ends at 0.5")


class AnatoMask(Agent):
    """Hide the patches that the network rebuilt worst under one random mask, and fill up at random.

    The network is the EMA teacher in pre-training and the frozen reconstructor in an environment, by whose reward
    patches are then ranked. Only the K patches that the random mask hid have one; a mask made of nothing but losses
    would be that random mask again. So the worst `share` of K are scored and all other patches are left random; a
    schedule up to `share` may choose fewer.
    """

    name = "anatomask"
    paper = "AnatoMask"
    needs = "reconstructor"

    Settings = AnatoMaskSettings

    def score(self, images: Tensor) -> Tensor:
        """Score the worst patches of one random mask by their reward, all others below."""
        keys = self.draw_keys(len(images))
        hidden = select(keys, self.game_spec.budget, keys, hard_share=0.0)  # (B, N)
        with self.lent_game() as game:
            game.target = self.settings.target
            worth = game.evaluate(images, hidden.view(-1, *self.patches.grid)).patch_reward.flatten(1)
        worth = worth if self.settings.significance == "high" else -worth
        below = worth.amin(1, keepdim=True) - 1
        worth = torch.where(hidden, worth, below)
        chosen = select(worth, round(self.settings.share * self.game_spec.budget), keys)
        return torch.where(chosen, worth, below).view(-1, *self.patches.grid)
