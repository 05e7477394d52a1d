"""The 8-bit view that agents get of a z-scored image, and the way back: 0 is grey 128, one deviation is 32 greys."""

from __future__ import annotations

import torch
from torch import Tensor

_CENTRE, _DEVIATION = 128.0, 32.0  # -4 to +4 deviations; what lies outside is clipped in the view, never in the game


def to_observation(images: Tensor) -> Tensor:
    """View (B, C, *size) floats as (B, *size, C) uint8."""
    middle = images.new_full((), _CENTRE + 0.5)  # made where the images are: nothing is copied to a GPU
    return torch.add(middle, images.movedim(1, -1), alpha=_DEVIATION).clamp_(0, 255).to(torch.uint8)


def from_observation(observations: Tensor) -> Tensor:
    """Bring (B, *size, C) uint8 back to (B, C, *size) float32, exact to half a grey."""
    return observations.movedim(-1, 1).to(torch.float32).sub(_CENTRE).div_(_DEVIATION)
