"""The rules of the game, once and for batches of tensors: spend the budget, hide, rebuild, pay.

Every face of the environment plays this game, with a batch of one or of many; so does pre-training, with a
reconstructor that learns.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskgym.errors import BadInput
from maskgym.masking.layout import channels_last
from maskgym.masking.patches import Patches
from maskgym.masking.select import budget, select


class Outcome(NamedTuple):
    """What one round of the game gave."""

    mask: Tensor  # (B, *grid) bool, True = hidden: what was really hidden
    patch_loss: Tensor  # (B, *grid) float32: mean squared error of each patch
    reward: Tensor  # (B,) float32: mean of the patch loss over all patches


class Game:
    """One game on images of one size under one reconstructor.

    Args:
        reconstructor: called as network(filled images, mask) -> images; frozen or learning, the game does not care.
        patches: the grid.
        ratio: share of the patches that is hidden; K = floor(ratio * N).
        hint_share: share of K taken by chance instead of by the agent's wish.
        piece: on a CPU, how many images go through the network at once; None = all.
        target: "raw": the network gives pixels. "normalised": it gives, and is paid by, patches of mean 0, variance 1.
    """

    def __init__(
        self,
        reconstructor: nn.Module,
        patches: Patches,
        ratio: float = 0.75,
        hint_share: float = 0.0,
        piece: int | None = None,
        target: Literal["raw", "normalised"] = "raw",
    ):
        if not 0.0 <= hint_share <= 1.0:
            raise BadInput(f"hint_share {hint_share} is outside [0, 1]: 0 leaves all to the agent, 1 all to chance")
        self.reconstructor = reconstructor
        self.patches = patches
        self.budget = budget(ratio, patches.count)
        self.ratio = ratio
        self.hint_share = hint_share
        self.piece = piece
        self.target = target

    def play(self, images: Tensor, scores: Tensor, keys: Tensor) -> Outcome:
        """Play one round: scores (or a wanted mask) (B, N), chance (B, N) int64 keys, on images (B, C, *size)."""
        return self.evaluate(images, self.select(scores, keys))

    def select(self, scores: Tensor, keys: Tensor) -> Tensor:
        """Turn what an agent asks for into the mask that is really hidden: exactly K patches, (B, *grid) bool."""
        hidden = select(scores.flatten(1), self.budget, keys, hard_share=1.0 - self.hint_share)
        return hidden.view(-1, *self.patches.grid)

    def evaluate(self, images: Tensor, mask: Tensor) -> Outcome:
        """Hide, rebuild, and price every patch."""
        losses = [self._evaluate(images[part], mask[part]) for part in self._pieces(len(images))]
        loss = losses[0] if len(losses) == 1 else torch.cat(losses)
        return Outcome(mask, loss, loss.flatten(1).mean(1))

    def rebuild(self, images: Tensor, mask: Tensor) -> Tensor:
        """Show what the reconstructor makes of what the mask leaves, (B, C, *size).

        Not a part of `Outcome`: to keep all pieces of a batch takes time, and only pictures need them.
        """
        return torch.cat([self._rebuild(images[part], mask[part]) for part in self._pieces(len(images))])

    def _pieces(self, count: int) -> list[slice]:
        piece = self.piece or count
        return [slice(i, i + piece) for i in range(0, count, piece)]

    def _rebuild(self, images: Tensor, mask: Tensor) -> Tensor:
        return self.reconstructor(channels_last(self.hide(images, mask)), mask)

    def _evaluate(self, images: Tensor, mask: Tensor) -> Tensor:
        """One piece, from hiding to patch loss, while it is still in the cache."""
        wanted = images if self.target == "raw" else self.patches.normalise(images)
        error = F.mse_loss(self._rebuild(images, mask).float(), wanted, reduction="none")
        error = error[:, 0] if error.shape[1] == 1 else error.mean(1)
        return self.patches.mean(error)

    def hide(self, images: Tensor, mask: Tensor) -> Tensor:
        """Replace hidden pixels by the image's own mean, channel by channel (0 in a z-scored image)."""
        fill = images.mean(tuple(range(2, images.dim())), keepdim=True)
        return torch.where(self.patches.spread(mask), fill, images)
