"""`foresight`: learn what flipping each patch of a mask would bring, and climb with that in mind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from maskgym.agent import GameSpec
from maskgym.climbing import Found, cells_of, climb, credit
from maskgym.dimensions import CONV
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.learner import Learner, Played, Proposal
from maskgym.masking.patches import Patches
from maskgym.masking.select import soften
from maskgym.patchnet import ResidualPatchNet
from maskgym.searcher import Searcher, SearchSettings
from maskgym.seeding import seeded

_REACH = 0.6  # as in the climb: how far from a flip its consequences are credited to it, in patches


@dataclass(frozen=True)
class ForesightSettings(SearchSettings):
    """Settings of `foresight`."""

    queries: int = 16
    """Queries an image at play, those of the start included."""
    width: int = 48
    """Features per patch."""
    images: int = 8
    """Images an update."""
    masks: int = 4
    """Masks of each image, each of them compared with each other one."""
    noise: float = 0.7
    """Weight of the Gumbel noise that the start's scores, of deviation 1, are perturbed with while learning."""
    lr: float = 1e-3
    """Learning rate of Adam at the start; it falls to zero along a cosine."""

    def __post_init__(self) -> None:
        if min(self.width, self.images) < 1 or self.masks < 2 or min(self.lr, self.noise) <= 0:
            raise BadInput(f"{self}: width, images, lr and noise must be positive, masks at least 2")


class Foresight(Searcher, Learner):
    """Hide the mask to which a climb by swaps leads that knows beforehand what most flips are worth.

    A network sees the image, a mask and what every patch of it came to, and says of every patch what flipping it would
    bring: the value of an action in the game of several queries. It learns from rewards alone. Several masks of an
    image are drawn around the start's; every ordered pair of them is a state and a set of flips, credited with the
    change of the patch rewards around each flip. At play its values, and the start's own order, stand for the estimates
    that `survey` has to ask for: the swaps begin at once.
    """

    name = "foresight"
    paper = "baseline"

    Settings = ForesightSettings

    def __init__(self, game_spec: GameSpec, settings: Any = None, seed: int = 0):
        super().__init__(game_spec, settings, seed)
        with seeded(seed):
            self.values = FlipValues(game_spec.channels, game_spec.patches, self.settings.width).to(game_spec.device)
        cells = cells_of(game_spec.patches.grid, torch.device(game_spec.device)).float()
        nearness = torch.exp(-torch.cdist(cells, cells).square() / (2 * _REACH**2)) + 1e-6
        self.nearness: Tensor
        self.register_buffer("nearness", nearness, persistent=False)

    def improve(self, game: Game, images: Tensor, scores: Tensor, seeds: Tensor, queries: int) -> Iterator[Found]:
        """Climb, foreseeing."""

        def worth(mask: Tensor, patch: Tensor) -> Tensor:
            value = self.values(images, mask, patch)
            return torch.where(mask, -value, value)

        return climb(game, images, scores, queries, seeds, trusted=True, foresee=worth)

    def propose(self, images: Tensor, masks: int) -> Proposal:
        """Propose masks around the start's."""
        scores = torch.zeros(len(images), self.patches.count, device=images.device)
        if self._starts:
            scores = self._starts[0].score(images).detach().flatten(1)
        keys = self.draw_keys(len(images) * masks)
        noisy = soften(scores.repeat_interleave(masks, 0), self.settings.noise, keys).unflatten(0, (-1, masks))
        top = noisy.topk(self.game_spec.budget, 2).indices
        return Proposal(torch.zeros_like(noisy, dtype=torch.bool).scatter_(2, top, True))

    def loss(self, images: Tensor, proposal: Proposal, played: Played) -> dict[str, Tensor]:
        """Compare what was foreseen of the flips between every two masks of an image with what they brought."""
        mask, patch = played.mask, played.patch_reward  # (I, M, N) both
        many = mask.shape[1]
        seen = images.repeat_interleave(many, 0)
        value = self.values(seen, mask.flatten(0, 1), patch.flatten(0, 1)).view_as(patch)
        flipped = mask[:, :, None] ^ mask[:, None]  # (I, M, M, N): from the first mask to the second
        change = patch[:, None] - patch[:, :, None]
        brought = credit(change.flatten(0, 2), flipped.flatten(0, 2), self.nearness).view_as(change)
        times = flipped.sum().clamp(min=1)
        power = brought.square().sum() / times
        error = ((value[:, :, None] - brought).square() * flipped).sum() / times
        share = error / power.clamp(min=1e-12)
        return {"loss": share, "explained": 1 - share.detach(), "reward": played.reward.mean()}


class FlipValues(nn.Module):
    """One number a patch: what flipping it would bring to a mask whose patch rewards are known."""

    def __init__(self, channels: int, patches: Patches, width: int):
        super().__init__()
        self.patches = patches
        self.trunk = ResidualPatchNet(channels + 3, patches, width)
        self.head = CONV[patches.dims](width, 2, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor, mask: Tensor, patch: Tensor) -> Tensor:
        """Give the values (B, N) for images (B, C, *size), masks (B, N) bool and their patch rewards (B, N)."""
        root = patch.sign() * patch.abs().sqrt()
        told = torch.stack([mask.float(), root], 1).flatten(0, 1).view(-1, *self.patches.grid)
        told = self.patches.spread(told).view(len(images), 2, *self.patches.size)
        shown = images * (1 - told[:, :1])  # what the frozen network could see
        hide, show = self.head(self.trunk(torch.cat([images, shown[:, :1], told], 1))).flatten(2).unbind(1)
        return torch.where(mask, show, hide)
