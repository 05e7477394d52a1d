"""A U-Net as nnU-Net plans it: two convolutions a stage with instance norm and leaky ReLU, strided on the way down."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from maskgym.dimensions import CONV, CONV_TRANSPOSE, INSTANCE_NORM


class NnUNet(nn.Module):
    """Encoder and decoder with skips, one halving between two stages.

    Args:
        dims: 2 for images, 3 for volumes.
        inside: channels of the images.
        outside: channels of the answer.
        widths: channels of the stages.
    """

    def __init__(self, dims: int, inside: int, outside: int, widths: tuple[int, ...]):
        super().__init__()
        self.encoder = nn.ModuleList(
            _stage(a, b, dims, stride=2 if place else 1) for place, (a, b) in enumerate(pairwise((inside, *widths)))
        )
        steps = list(pairwise(reversed(widths)))  # from the deepest up
        self.up = nn.ModuleList(CONV_TRANSPOSE[dims](a, b, 2, 2) for a, b in steps)
        self.merge = nn.ModuleList(_stage(2 * b, b, dims) for _, b in steps)
        self.head = CONV[dims](widths[0], outside, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Turn (B, inside, *size) into (B, outside, *size)."""
        x, skips = images, []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips[:-1]), strict=True):
            x = merge(torch.cat([up(x), skip], 1))
        return self.head(x)


def _stage(inside: int, outside: int, dims: int, stride: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, step in ((inside, stride), (outside, 1)):
        layers += [
            CONV[dims](width, outside, 3, step, 1),
            INSTANCE_NORM[dims](outside, affine=True),
            nn.LeakyReLU(0.01, inplace=True),
        ]
    return nn.Sequential(*layers)
