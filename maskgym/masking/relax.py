"""Masks between hidden and visible: shares that sum to K, so that a reward can be differentiated."""

from __future__ import annotations

import torch
from torch import Tensor

_BISECTIONS = 30


def relax(scores: Tensor, hidden: int, softness: float) -> Tensor:
    """Hide patches by shares between 0 and 1 that sum to K: sigmoid((z - t) / T), t found by bisection.

    t depends on the scores; its slope follows from the sum being constant: dt/dz_i = m_i (1 - m_i) / sum m (1 - m).

    Args:
        scores: (B, N).
        hidden: K.
        softness: T; towards 0 the mask of the top K.

    Returns:
        (B, N) in [0, 1], differentiable.
    """
    with torch.no_grad():
        low = scores.amin(1, keepdim=True) - 10 * softness
        high = scores.amax(1, keepdim=True) + 10 * softness
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            many = torch.sigmoid((scores - middle) / softness).sum(1, keepdim=True) > hidden
            low, high = torch.where(many, middle, low), torch.where(many, high, middle)
        threshold = (low + high) / 2
        share = torch.sigmoid((scores - threshold) / softness)
        slope = share * (1 - share)
        slope = slope / slope.sum(1, keepdim=True).clamp(min=1e-9)
    threshold = threshold + (slope * (scores - scores.detach())).sum(1, keepdim=True)
    return torch.sigmoid((scores - threshold) / softness)
