"""The rules of the game, once and for batches of tensors: select the mask, hide, rebuild, reward.

Every face of the environment plays this game, with a batch of one or of many; so does pre-training, with a
reconstructor that learns.
"""

from __future__ import annotations

from copy import copy
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskgym.errors import BadInput
from maskgym.masking import rng
from maskgym.masking.layout import channels_last
from maskgym.masking.patches import Patches
from maskgym.masking.select import budget, select
from maskgym.meter import Meter, Metered, takes_soft_masks
from maskgym.rewards import Losses, Reward, make_reward


class Outcome(NamedTuple):
    """What one round of the game gave; with M masks an image, every (B, ...) is (B, M, ...)."""

    mask: Tensor  # (B, *grid) bool, True = hidden: what was really hidden
    patch_loss: Tensor  # (B, *grid) float32: mean squared error of each patch under the reconstructor
    reward: Tensor  # (B,) float32: mean of the patch reward over all patches
    patch_reward: Tensor  # (B, *grid) float32: of each patch; the patch loss itself where the reward is "loss"


class Images(Protocol):
    """Images (B, C, *size): a tensor, or what brings slices of one when they are needed."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: Any, /) -> Tensor: ...


class Game:
    """One game on images of one size under one reconstructor.

    Args:
        reconstructor: called as network(filled images, mask) -> images; frozen or learning, the game does not care.
        patches: the grid.
        ratio: share of the patches that is hidden; K = floor(ratio * N).
        hint_share: share of K hidden at random instead of by the agent's scores.
        piece: on a CPU, how many images go through the network at once; None = all.
        target: "raw": the network gives pixels. "normalised": it gives, and is measured by, patches of mean 0,
            variance 1.
        reward: what a mask is worth, a function of the patch losses; see `maskgym.rewards`.
        reference: the second network, of the rewards that compare two.
    """

    def __init__(
        self,
        reconstructor: nn.Module,
        patches: Patches,
        ratio: float = 0.75,
        hint_share: float = 0.0,
        piece: int | None = None,
        target: Literal["raw", "normalised"] = "raw",
        reward: Reward | str = "loss",
        reference: nn.Module | None = None,
    ):
        if not 0.0 <= hint_share <= 1.0:
            raise BadInput(f"hint_share {hint_share} is outside [0, 1]: 0 leaves all to the agent, 1 nothing")
        self.reconstructor = reconstructor
        self.patches = patches
        self.budget = budget(ratio, patches.count)
        self.ratio = ratio
        self.hint_share = hint_share
        self.piece = piece
        self.target = target
        self.reward = make_reward(reward) if isinstance(reward, str) else reward
        if self.reward.compares and reference is None:
            raise BadInput(f"reward {self.reward} compares two networks: name the second one by reference=")
        self.reference = reference if self.reward.compares else None
        self.random_loss = float("nan")  # mean patch loss under random masks, for rewards that calibrate

    @property
    def cost(self) -> int:
        """Queries that evaluating one mask of one image costs: a forward of each network."""
        return 1 if self.reference is None else 2

    def play(self, images: Images, scores: Tensor, keys: Tensor) -> Outcome:
        """Play one round on images (B, C, *size): scores or a requested mask (B, N), random (B, N) int64 keys."""
        return self.evaluate(images, self.select(scores, keys))

    def select(self, scores: Tensor, keys: Tensor) -> Tensor:
        """Turn what an agent asks for into the mask that is really hidden: exactly K patches, (B, *grid) bool."""
        hidden = select(scores.flatten(1), self.budget, keys, hard_share=1.0 - self.hint_share)
        return hidden.view(-1, *self.patches.grid)

    def evaluate(self, images: Images, mask: Tensor) -> Outcome:
        """Hide, rebuild, and reward every patch.

        Args:
            images: (B, C, *size), or whatever gives them slice by slice.
            mask: bool, True = hidden: (B, *grid), or (B, M, N) for M masks of each image in one batch.
        """
        rows, many = self._rows(mask)
        loss = self._each(images, rows, self.reconstructor)
        reference = None if self.reference is None else self._each(images, rows, self.reference)
        reward = self.reward(Losses(loss, reference, rows, self.random_loss))
        outcome = Outcome(rows, loss, reward.flatten(1).mean(1), reward)
        return Outcome(*(part.unflatten(0, many) for part in outcome)) if many else outcome

    def soft_reward(self, images: Tensor, relaxed: Tensor) -> Tensor:
        """Reward masks between 0 and 1, (B, N) or (B, M, N), differentiably: (B,) or (B, M).

        A half-hidden patch is half filled, and the network is told so. At 0 and 1 it is the reward of the mask.
        """
        return self._soft(images, relaxed).reward

    def soft_patch_reward(self, images: Tensor, relaxed: Tensor) -> Tensor:
        """Reward every patch under masks between 0 and 1, (B, N) or (B, M, N): (B, *grid) or (B, M, *grid)."""
        return self._soft(images, relaxed).patch_reward

    def rebuild(self, images: Tensor, mask: Tensor) -> Tensor:
        """Show what the reconstructor makes of what the mask leaves, (B, C, *size).

        Not a part of `Outcome`: to keep all pieces of a batch takes time, and only pictures need them.
        """
        network = self.reconstructor
        return torch.cat([self._rebuild(images[part], mask[part], network) for part in self._pieces(len(images))])

    def at(self, ratio: float, piece: int | None = None) -> Game:
        """The same game at another ratio, all of it left to the agent.

        Where the reward calibrates, the loss under random masks is that of the other ratio until `calibrate` is called.
        """
        game = copy(self)
        game.ratio, game.budget, game.hint_share = ratio, budget(ratio, self.patches.count), 0.0
        game.piece = piece or self.piece
        return game

    def metered(self, meter: Meter) -> Game:
        """The same game to be lent to an agent: whatever it asks of the networks is counted."""
        game = copy(self)
        game.reconstructor = Metered(self.reconstructor, meter)
        game.reference = None if self.reference is None else Metered(self.reference, meter)
        return game

    @torch.no_grad()
    def calibrate(self, images: Tensor) -> None:
        """Measure the loss under one random mask of each of (B, C, *size) images, if the reward needs it."""
        if self.reward.calibrates:
            keys = rng.keys(torch.arange(len(images), device=images.device), self.patches.count)
            mask = select(keys, self.budget, keys, hard_share=0.0).view(-1, *self.patches.grid)
            self.random_loss = float(self._each(images, mask, self.reconstructor).mean())

    def hide(self, images: Tensor, mask: Tensor) -> Tensor:
        """Replace hidden pixels by the image's own mean, channel by channel (0 in a z-scored image)."""
        fill = images.mean(tuple(range(2, images.dim())), keepdim=True)
        return self.patches.blend(images, fill, mask.to(images.dtype))

    def _soft(self, images: Tensor, relaxed: Tensor) -> Outcome:
        for network in (self.reconstructor, *([] if self.reference is None else [self.reference])):
            if not takes_soft_masks(network):
                name = type(getattr(network, "network", network)).__name__
                raise BadInput(f"{name} has no gradients for masks, it drops hidden patches: take a UNet")
        return self.evaluate(images, relaxed if relaxed.dim() > 2 else relaxed.view(-1, *self.patches.grid))

    def _rows(self, mask: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """Bring masks to (rows, *grid); (B, M) where each image has many, else nothing."""
        grid, count = self.patches.grid, self.patches.count
        if tuple(mask.shape[1:]) == grid:
            return mask, ()
        if mask.dim() == 3 and mask.shape[2] == count:
            return mask.reshape(-1, *grid), tuple(mask.shape[:2])
        raise BadInput(f"masks of shape {tuple(mask.shape)} do not fit: give (B, {', '.join(map(str, grid))}) "
                       f"or (B, M, {count})")  # fmt: skip

    def _pieces(self, count: int) -> list[slice]:
        piece = self.piece or count
        return [slice(i, i + piece) for i in range(0, count, piece)]

    def _each(self, images: Images, mask: Tensor, network: nn.Module) -> Tensor:
        """Patch losses under masks (R, *grid) of images (B, C, *size), each shown R / B times: (R, *grid) float32."""
        times = len(mask) // max(1, len(images))
        losses = []
        for part in self._pieces(len(mask)):
            shown = images[part] if times < 2 else images[torch.arange(len(mask), device=mask.device)[part] // times]
            losses.append(self._evaluate(shown, mask[part], network))
        return losses[0] if len(losses) == 1 else torch.cat(losses)

    def _rebuild(self, images: Tensor, mask: Tensor, network: nn.Module) -> Tensor:
        return network(channels_last(self.hide(images, mask)), mask)

    def _evaluate(self, images: Tensor, mask: Tensor, network: nn.Module) -> Tensor:
        """One piece, from hiding to patch loss, while it is still in the cache."""
        target = images if self.target == "raw" else self.patches.normalise(images)
        error = F.mse_loss(self._rebuild(images, mask, network).float(), target, reduction="none")
        error = error[:, 0] if error.shape[1] == 1 else error.mean(1)
        return self.patches.mean(error)
