"""What a segmenter is taught by: cross-entropy and Dice together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def dice_ce(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy plus one minus the mean soft Dice of the classes, background included.

    Args:
        logits: (B, classes, *size).
        labels: (B, *size) int64.
    """
    # Class by class in memory: with the classes innermost, as channels-last networks leave them, it takes longer.
    logged = logits.contiguous().log_softmax(1)
    return F.nll_loss(logged, labels) + dice_loss(logged.exp(), labels)


def dice_loss(shares: Tensor, labels: Tensor) -> Tensor:
    """One minus the mean over classes of the soft Dice, pixels of the whole batch pooled.

    One pixel is added to both sides of each fraction, so that a class which is in no label is worth 1 where nothing is
    said to be it.

    Args:
        shares: (B, classes, *size), what each pixel is said to be.
        labels: (B, *size) int64.
    """
    truth = torch.zeros_like(shares).scatter_(1, labels[:, None], 1.0)
    axes = (0, *range(2, shares.dim()))
    both, all_of = (shares * truth).sum(axes), shares.sum(axes) + truth.sum(axes)
    return 1 - torch.mean((2 * both + 1) / (all_of + 1))
