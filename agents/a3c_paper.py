"""The masking actor-critic as AHM prints it, to be read beside the paper; `a3c` is what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskgym.agent import GameSpec
from maskgym.dimensions import BATCH_NORM, CONV
from maskgym.errors import BadInput
from maskgym.learner import Learner, Optimization, Played, Proposal
from maskgym.masking.patches import Patches
from maskgym.masking.select import select
from maskgym.patchnet import strides
from maskgym.seeding import seeded


@dataclass(frozen=True)
class A3CPaperSettings:
    """Settings of `a3c-paper`, as the paper has them."""

    width: int = 64
    """c, features per patch."""
    images: int = 4
    """Images an update."""
    masks: int = 1
    """Masks of each image."""
    lr: float = 3e-4
    """Learning rate of Adam, which falls by a tenth eight times (the paper: x 0.9 every 25 of 200 epochs)."""
    hint_share: float = 0.3
    """p, the share of the hidden patches chosen at random while learning."""

    def __post_init__(self) -> None:
        if min(self.width, self.images, self.masks) < 1 or self.lr <= 0 or not 0.0 <= self.hint_share <= 1.0:
            raise BadInput(f"{self}: width, images, masks and lr must be positive, hint_share in [0, 1]")


class A3CPaper(Learner):
    """Credit each patch with its own loss, less what the critic expected of it; every patch tosses a coin of its own.

    As in the paper the policy says of each patch with what probability it is hidden, a patch's reward is its own
    reconstruction loss, its advantage that loss minus the critic's guess, and 1 - p of the hidden patches are drawn
    from the policy, p of them at random. A hint was nobody's decision, so its coin is not pushed.
    """

    name = "a3c-paper"
    paper = "AHM"

    Settings = A3CPaperSettings

    def __init__(self, game_spec: GameSpec, settings: Any = None, seed: int = 0):
        super().__init__(game_spec, settings, seed)
        with seeded(seed):
            self.policy = ActorCritic(game_spec.channels, game_spec.patches, self.settings.width).to(game_spec.device)

    def optimization(self) -> Optimization:
        """Adam, and a rate that falls in steps."""
        return Optimization(lr=self.settings.lr, schedule="steps")

    def score(self, images: Tensor) -> Tensor:
        """Score by the logits, batch norms as in evaluation."""
        self.policy.eval()
        with torch.no_grad():
            return self.policy(images)[0].view(-1, *self.patches.grid)

    def sample(self, images: Tensor, index: Tensor | None = None) -> Tensor:
        """Score by logits and Gumbel noise."""
        return self._perturbed(self.score(images).flatten(1)).view(-1, *self.patches.grid)

    def propose(self, images: Tensor, masks: int) -> Proposal:
        """Draw masks; 1 - p of the hidden patches by the policy, p of them hints."""
        logits, values = self.policy(images)  # (I, N) both
        noisy = self._perturbed(logits.detach().repeat_interleave(masks, 0))
        keys, budget = self.draw_keys(len(noisy)), self.game_spec.budget
        hard = round((1.0 - self.settings.hint_share) * budget)
        mask = select(noisy, budget, keys, 1.0 - self.settings.hint_share)
        decided = torch.zeros_like(mask).scatter_(1, noisy.topk(hard, 1).indices, True)
        hint = mask & ~decided
        by_image = (-1, masks)
        kept = (logits, values, decided.unflatten(0, by_image), hint.unflatten(0, by_image))
        return Proposal(mask.unflatten(0, by_image), kept)

    def loss(self, images: Tensor, proposal: Proposal, played: Played) -> dict[str, Tensor]:
        """Push each coin by its own advantage; the critic learns what each patch will cost."""
        logits, values, decided, hint = proposal.kept
        advantage = self.advantage(played.patch_reward, values.detach())
        tossed = logits[:, None].expand_as(advantage)
        coins = F.binary_cross_entropy_with_logits(tossed, decided.to(logits.dtype), reduction="none")
        policy_loss = (advantage * coins * ~hint).mean()
        value_loss = (played.patch_reward.mean(1) - values).square().mean()
        return {"loss": policy_loss + value_loss, "policy loss": policy_loss, "value loss": value_loss}

    def advantage(self, earned: Tensor, values: Tensor) -> Tensor:
        """Say how much more than the critic's guess (I, N) each patch earned, (I, M, N)."""
        return earned - values[:, None]

    def _perturbed(self, logits: Tensor) -> Tensor:
        uniform = (self.draw_keys(len(logits)).double() / 2**63).clamp(1e-12, 1 - 1e-12)
        return logits + -torch.log(-torch.log(uniform)).to(logits.dtype)


class ActorCritic(nn.Module):
    """Table III: a trunk, and two heads of three blocks with one number a patch."""

    def __init__(self, channels: int, patches: Patches, width: int):
        super().__init__()
        dims = patches.dims
        layers = _block(dims, channels, width)
        for kernel, stride, padding in strides(patches.patch):  # as many halvings as the patch side asks for
            layers += _block(dims, width, width, kernel, stride, padding)
        self.trunk = nn.Sequential(*layers, *_block(dims, width, width))
        self.actor, self.critic = _head(dims, width), _head(dims, width)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Turn images (B, C, *size) into logits (B, N) and values (B, N)."""
        features = self.trunk(images)
        return self.actor(features).flatten(1).float(), self.critic(features).flatten(1).float()


def _head(dims: int, width: int) -> nn.Sequential:
    blocks = [layer for _ in range(3) for layer in _block(dims, width, width)]
    return nn.Sequential(*blocks, CONV[dims](width, 1, 3, 1, 1))


def _block(dims: int, inside: int, outside: int, kernel: Any = 3, stride: Any = 1, padding: int = 1) -> list[nn.Module]:
    return [CONV[dims](inside, outside, kernel, stride, padding), BATCH_NORM[dims](outside), nn.ReLU(inplace=True)]
