"""A small, fast U-Net that fills hidden patches in, for images and volumes.

It is our own and not MONAI's for two reasons: it must load within a second (importing MONAI takes longer than that),
and its norms must fold into its convolutions when it is frozen (MONAI's U-Nets hide them behind activations).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskgym.dimensions import BATCH_NORM, CONV
from maskgym.errors import BadInput
from maskgym.masking.patches import Patches


class UNet(nn.Module):
    """Encoder and decoder with skips; the output is added to the input, so visible pixels cost it little.

    The picture is folded by `fold` before the first convolution (pixel unshuffle), which makes the network several
    times faster at equal width, and unfolded after the last one.

    Args:
        channels: of the images.
        dims: 2 for images, 3 for volumes.
        widths: channels of the levels.
        fold: side of the pixel blocks that become channels.
        outputs: channels of the answer; 0 = those of the images.
    """

    soft_masks = True  # a mask may lie between 0 and 1: it is a channel, nothing is dropped

    def __init__(
        self,
        channels: int = 1,
        dims: int = 2,
        widths: tuple[int, ...] = (48, 64, 96),
        fold: int = 4,
        outputs: int = 0,
    ):
        super().__init__()
        self.settings = {"channels": channels, "dims": dims, "widths": list(widths), "fold": fold}
        self.channels, self.dims, self.fold = channels, dims, fold
        conv = CONV[dims]
        self.stem = _block(channels * fold**dims + 1, widths[0], dims)
        self.down = nn.ModuleList(_block(a, b, dims, stride=2) for a, b in pairwise(widths))
        self.deep = nn.ModuleList(_block(b, b, dims) for b in widths[1:])
        self.up = nn.ModuleList(conv(b, a, 1) for a, b in pairwise(widths))
        self.merge = nn.ModuleList(_block(a, a, dims) for a in widths[:-1])
        self.head = conv(widths[0], (outputs or channels) * fold**dims, 1)

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """Rebuild (B, C, *size) images whose hidden patches are filled; mask (B, *grid), bool or float, 1 = hidden."""
        self._check(images)
        hidden = _hidden_share(mask, tuple(images.shape[2:]), self.fold).to(images.dtype)
        return images + self._answer(images, hidden)

    def _check(self, images: Tensor) -> None:
        if any(side % self.fold for side in images.shape[2:]):
            size = tuple(images.shape[2:])
            raise BadInput(f"image size {size} does not suit this U-Net: each side must be a multiple of {self.fold}")

    def _answer(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Give (B, outputs, *size); hidden (B, 1, *size / fold) is the share of each folded pixel that is hidden."""
        x = self.stem(torch.cat([_folded(images, self.fold), hidden], 1))
        skips = []
        for down, deep in zip(self.down, self.deep, strict=True):
            skips.append(x)
            x = deep(down(x))
        for up, merge, skip in zip(reversed(self.up), reversed(self.merge), reversed(skips), strict=True):
            # A 1x1 convolution commutes with nearest upsampling: first the cheap small one, then the copy.
            x = merge(skip + F.interpolate(up(x), size=skip.shape[2:], mode="nearest"))
        return _unfolded(self.head(x), self.fold)


class UNetSegmenter(UNet):
    """The same network as a segmenter: nothing is hidden, and the answer is one logit a class."""

    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]
        """Give logits (B, outputs, *size)."""
        self._check(images)
        size = (side // self.fold for side in images.shape[2:])
        return self._answer(images, images.new_zeros(len(images), 1, *size))


def _block(inside: int, outside: int, dims: int, stride: int = 1) -> nn.Sequential:
    conv = CONV[dims](inside, outside, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, BATCH_NORM[dims](outside), nn.ReLU(inplace=True))


def _hidden_share(mask: Tensor, size: tuple[int, ...], fold: int) -> Tensor:
    """Say of each folded pixel how much of it is hidden: (B, *grid) bool -> (B, 1, *size / fold)."""
    patch = tuple(side // cells for side, cells in zip(size, mask.shape[1:], strict=True))
    if not any(side % fold for side in patch):  # the usual case: patches are made of whole folded pixels
        small = Patches(tuple(side // fold for side in size), tuple(side // fold for side in patch))
        return small.spread(mask)
    pixels = Patches(size, patch).spread(mask).float()[:, 0]
    return Patches(size, (fold,) * len(size)).mean(pixels)[:, None]


def _folded(x: Tensor, by: int) -> Tensor:
    """Move by^dims neighbouring pixels into channels: (B, C, *size) -> (B, C * by^dims, *size / by)."""
    dims = x.dim() - 2
    batch, channels, *size = x.shape
    cut = x.reshape(batch, channels, *(n for side in size for n in (side // by, by)))
    order = (0, 1, *range(3, 3 + 2 * dims, 2), *range(2, 2 + 2 * dims, 2))
    return cut.permute(order).reshape(batch, channels * by**dims, *(side // by for side in size))


def _unfolded(x: Tensor, by: int) -> Tensor:
    """Undo `_folded`."""
    dims = x.dim() - 2
    batch, channels, *size = x.shape
    cut = x.reshape(batch, channels // by**dims, *(by,) * dims, *size)
    order = [0, 1, *(axis for i in range(dims) for axis in (2 + dims + i, 2 + i))]
    return cut.permute(order).reshape(batch, channels // by**dims, *(side * by for side in size))
