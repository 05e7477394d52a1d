"""A policy trained through the frozen network: the reward's own slope says which patches to hide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from maskgym.agent import GameSpec
from maskgym.dimensions import CONV
from maskgym.errors import BadInput
from maskgym.learner import Learner, Played, Proposal
from maskgym.masking.patches import Patches
from maskgym.masking.relax import relax
from maskgym.patchnet import FoldedPatchNet
from maskgym.seeding import seeded


@dataclass(frozen=True)
class PathwiseSettings:
    """Settings of `pathwise`."""

    softness: float = 0.5
    """T, how soft a relaxed mask is: a patch is hidden by sigmoid((z - t) / T)."""
    noise: float = 1.0
    """Weight of the Gumbel noise by which scores are perturbed while learning."""
    width: int = 128
    """Features per patch."""
    images: int = 32
    """Images an update."""
    masks: int = 1
    """Masks of each image."""
    lr: float = 1e-3
    """Learning rate of Adam at the start; it falls to zero along a cosine."""
    temperature: float = 1.5
    """Deviation that the scores of an image are brought to."""

    def __post_init__(self) -> None:
        if min(self.width, self.images, self.masks) < 1 or min(self.softness, self.lr, self.temperature) <= 0:
            raise BadInput(f"{self}: width, images, masks, softness, lr and temperature must be positive")
        if self.noise < 0:
            raise BadInput(f"noise {self.noise} is negative: 0 turns it off")


class Pathwise(Learner):
    """Score by a policy that followed the slope of the reward through the frozen network while it learned.

    The network is differentiable, so in training a mask is relaxed: patches are hidden by a share between 0 and 1, the
    shares sum to K, and the reward is differentiated down to the policy's weights. At play it sees the image only.
    """

    name = "pathwise"
    paper = "Gumbel-softmax top K"
    allowed = "gradients"

    Settings = PathwiseSettings

    def __init__(self, game_spec: GameSpec, settings: Any = None, seed: int = 0):
        super().__init__(game_spec, settings, seed)
        with seeded(seed):
            self.policy = Scorer(game_spec.channels, game_spec.patches, self.settings).to(game_spec.device)

    def score(self, images: Tensor) -> Tensor:
        """Score by the policy."""
        with torch.no_grad():
            return self.policy(images).view(-1, *self.patches.grid)

    def sample(self, images: Tensor, index: Tensor | None = None) -> Tensor:
        """Score by the policy and Gumbel noise."""
        return self._perturbed(self.score(images).flatten(1)).view(-1, *self.patches.grid)

    def propose(self, images: Tensor, masks: int) -> Proposal:
        """Propose relaxed masks of perturbed scores."""
        scores = self._perturbed(self.policy(images).repeat_interleave(masks, 0))
        return Proposal(relax(scores, self.game_spec.budget, self.settings.softness).unflatten(0, (-1, masks)))

    def loss(self, images: Tensor, proposal: Proposal, played: Played) -> dict[str, Tensor]:
        """Climb the reward, in units of its mean, so that one rate does for all games."""
        return {"loss": -(played.reward / played.reward.detach().mean()).mean()}

    def _perturbed(self, scores: Tensor) -> Tensor:
        uniform = (self.draw_keys(len(scores)).double() / 2**63).clamp(1e-9, 1 - 1e-7)
        return scores + self.settings.noise * -torch.log(-torch.log(uniform)).to(scores.dtype)


class Scorer(nn.Module):
    """A trunk and a head with one number a patch."""

    def __init__(self, channels: int, patches: Patches, settings: PathwiseSettings):
        super().__init__()
        self.temperature = settings.temperature
        self.trunk = FoldedPatchNet(channels, patches, settings.width)
        self.head = CONV[patches.dims](settings.width, 1, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (B, C, *size) into scores (B, N), all of one deviation."""
        scores = self.head(self.trunk(images)).flatten(1).float()  # rounded ones would tie
        scores = scores - scores.mean(1, keepdim=True)
        return self.temperature * scores / (scores.std(1, keepdim=True) + 0.1)
