"""How a batch lies in memory."""

from __future__ import annotations

import torch
from torch import Tensor

_FORMAT = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(images: Tensor) -> Tensor:
    """Lay (B, C, *size) out with channels innermost, as convolutions like it."""
    return images.contiguous(memory_format=_FORMAT[images.dim()])
