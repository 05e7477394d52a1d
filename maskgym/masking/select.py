"""Which patches are hidden: exactly K of them, the top scores first and the rest at random. One rule, used by all."""

from __future__ import annotations

from math import floor

import torch
from torch import Tensor

from maskgym.errors import BadInput
from maskgym.masking.rng import again, gumbel


def budget(ratio: float, count: int) -> int:
    """K = floor(ratio * N), at least one patch hidden and one visible."""
    if not 0.0 < ratio < 1.0:
        raise BadInput(f"ratio {ratio} is outside (0, 1): choose for example 0.75")
    exact = floor(ratio * count + 1e-9)  # 0.1 * 30 is 3, whatever the binary says
    if not 0 < exact < count:
        raise BadInput(f"ratio {ratio} of {count} patches hides {exact}: at least one must be hidden and one visible")
    return exact


def soften(scores: Tensor, temperature: float, keys: Tensor) -> Tensor:
    """Let chance have a say: in order, these are patches drawn without replacement by exp(score / temperature).

    Args:
        scores: (B, N), higher = sooner; those of an image are brought to deviation 1.
        temperature: 0 = the scores' own order; the higher, the closer to random.
        keys: (B, N) int64 random keys.
    """
    own = scores.double()
    own = (own - own.mean(1, keepdim=True)) / own.std(1, keepdim=True).clamp(min=1e-9)
    return own + temperature * gumbel(keys)


def select(scores: Tensor, hidden: int, keys: Tensor, hard_share: float = 1.0) -> Tensor:
    """Hide exactly `hidden` patches of each sample: round(h * K) by highest score, the rest at random among all others.

    Equal scores are taken in random order, so boolean scores are a requested mask: of too many some are dropped at
    random, to too few some are added at random.

    Args:
        scores: (B, N), any real dtype or bool, higher = sooner.
        hidden: K.
        keys: (B, N) int64 random keys (see `masking.rng`), the only source of randomness.
        hard_share: h, the share of K taken by score; 0 is plain random masking.

    Returns:
        (B, N) bool, True = hidden.
    """
    hard = round(hard_share * hidden)
    mask = torch.zeros_like(keys, dtype=torch.bool)
    if hard and scores.dtype == torch.bool:  # one sort suffices: requested first, among equals the smaller key
        order = (scores.long() << 62) - (keys >> 1)
        mask.scatter_(1, order.topk(hard, dim=1, sorted=False).indices, True)
    elif hard:
        shuffled = keys.argsort(dim=1)
        ranked = scores.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)[:, :hard]
        mask.scatter_(1, shuffled.gather(1, ranked), True)
    if hard < hidden:
        rest = again(keys).masked_fill(mask, -1).topk(hidden - hard, dim=1).indices
        mask.scatter_(1, rest, True)
    return mask
