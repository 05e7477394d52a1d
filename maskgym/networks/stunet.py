"""STU-Net: a residual encoder that is pre-trained sparsely and fine-tuned densely, with a decoder for each.

Sparse by masked arithmetic: after every convolution hidden positions are zero, and norms look at the visible positions
of their own sample, so that hidden patches tell nothing and samples of a batch do not mix.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskgym.dimensions import CONV, CONV_TRANSPOSE
from maskgym.errors import BadInput

SIZES = {  # channels of the stages and residual blocks in each
    "stunet-s": ((16, 32, 64, 128, 256), 1),
    "stunet-b": ((32, 64, 128, 256, 512), 1),
    "stunet-l": ((64, 128, 256, 512, 1024), 2),
}


class VisibleNorm(nn.Module):
    """Instance norm over the visible positions of each sample; over all of them where no mask is given."""

    def __init__(self, width: int, eps: float = 1e-5):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Norm (B, C, *size); visible (B, 1, *size), 1 = visible, the rest comes out as 0."""
        if visible is None:
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        axes = tuple(range(2, x.dim()))
        count = visible.sum(axes, keepdim=True).clamp(min=1)
        mean = (x * visible).sum(axes, keepdim=True) / count
        centred = (x - mean) * visible
        variance = centred.square().sum(axes, keepdim=True) / count
        shape = (1, -1, *[1] * len(axes))
        scaled = centred * (variance + self.eps).rsqrt() * self.weight.view(shape)
        return (scaled + self.bias.view(shape)) * visible


class Block(nn.Module):
    """Two convolutions with norms and a way round them."""

    def __init__(self, inside: int, outside: int, dims: int, stride: int = 1):
        super().__init__()
        conv = CONV[dims]
        self.first = conv(inside, outside, 3, stride, 1, bias=False)
        self.first_norm = VisibleNorm(outside)
        self.second = conv(outside, outside, 3, 1, 1, bias=False)
        self.second_norm = VisibleNorm(outside)
        self.around = conv(inside, outside, 1, stride) if inside != outside or stride > 1 else nn.Identity()

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Work on (B, C, *size); visible as the norm takes it, at the resolution of the output."""
        y = F.leaky_relu(self.first_norm(_shown(self.first(x), visible), visible), 0.01)
        y = self.second_norm(_shown(self.second(y), visible), visible)
        return F.leaky_relu(y + _shown(self.around(x), visible), 0.01)


class Encoder(nn.Module):
    """Stages of residual blocks, each but the first begins with a halving."""

    def __init__(self, channels: int, dims: int, widths: tuple[int, ...], depth: int):
        super().__init__()
        inside = (channels, *widths[:-1])
        self.stages = nn.ModuleList(
            nn.ModuleList([Block(a, b, dims, 1 if stage == 0 else 2)] + [Block(b, b, dims) for _ in range(depth - 1)])
            for stage, (a, b) in enumerate(zip(inside, widths, strict=True))
        )

    def forward(self, images: Tensor, visible: list[Tensor] | None = None) -> list[Tensor]:
        """Give the features of every stage; visible: of every stage, or none for the dense network."""
        x, features = _shown(images, None if visible is None else visible[0]), []
        for stage, blocks in enumerate(self.stages):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, None if visible is None else visible[stage])
            features.append(x)
        return features


class STUNet(nn.Module):
    """The pre-training form: sparse encoder, hidden places filled with a learned token at every scale, light decoder.

    Args:
        channels: of the images.
        dims: 2 for images, 3 for volumes.
        widths: channels of the stages; a patch must survive all halvings between them.
        depth: residual blocks in a stage.
        decoder: channels at the decoder's deepest scale, halved with each scale; 0 = those of the encoder halved.
    """

    def __init__(
        self,
        channels: int = 1,
        dims: int = 2,
        widths: tuple[int, ...] = SIZES["stunet-b"][0],
        depth: int = 1,
        decoder: int = 0,
    ):
        super().__init__()
        self.settings: dict[str, Any] = {
            "channels": channels,
            "dims": dims,
            "widths": list(widths),
            "depth": depth,
            "decoder": decoder,
        }
        self.encoder = Encoder(channels, dims, tuple(widths), depth)
        deepest = decoder or max(8, widths[-1] // 2)
        scales = [max(8, deepest // 2**step) for step in range(len(widths))]  # from the deepest up
        conv = CONV[dims]
        shapes = [(1, width, *[1] * dims) for width in reversed(widths)]
        self.hidden = nn.ParameterList(nn.Parameter(0.02 * torch.randn(shape)) for shape in shapes)
        self.dense = nn.ModuleList(
            conv(width, scale, 1) if step == 0 else conv(width, scale, 3, padding=1)
            for step, (width, scale) in enumerate(zip(reversed(widths), scales, strict=True))
        )
        self.up = nn.ModuleList(
            nn.Sequential(CONV_TRANSPOSE[dims](a, b, 2, 2), conv(b, b, 3, padding=1), nn.LeakyReLU(0.01, inplace=True))
            for a, b in pairwise(scales)
        )
        self.head = conv(scales[-1], channels, 1)

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """Rebuild (B, C, *size) from the visible patches; mask (B, *grid) bool, True = hidden."""
        visible = _at_every_stage(mask, tuple(images.shape[2:]), len(self.encoder.stages), images.dtype)
        features = self.encoder(images, visible)
        x: Tensor | None = None
        for step, dense in enumerate(self.dense):
            seen, shown = features[-1 - step], visible[-1 - step]
            filled = dense(seen + self.hidden[step].to(seen.dtype) * (1 - shown))
            x = filled if x is None else self.up[step - 1](x) + filled
        assert x is not None
        return self.head(x)


class STUNetSegmenter(nn.Module):
    """The fine-tuning form: the same encoder, dense, and a U-Net's decoder."""

    def __init__(self, channels: int, outputs: int, dims: int, widths: tuple[int, ...], depth: int = 1):
        super().__init__()
        self.encoder = Encoder(channels, dims, tuple(widths), depth)
        steps = list(pairwise(reversed(widths)))
        self.up = nn.ModuleList(CONV_TRANSPOSE[dims](a, b, 2, 2) for a, b in steps)
        self.merge = nn.ModuleList(Block(2 * b, b, dims) for _, b in steps)
        self.head = CONV[dims](widths[0], outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits (B, outputs, *size)."""
        *skips, x = self.encoder(images)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = merge(torch.cat([up(x), skip], 1))
        return self.head(x)


def _shown(x: Tensor, visible: Tensor | None) -> Tensor:
    return x if visible is None else x * visible


def _at_every_stage(mask: Tensor, size: tuple[int, ...], stages: int, dtype: torch.dtype) -> list[Tensor]:
    """Blow the mask up to what is visible at each stage, (B, 1, *size / 2^stage) of 0 and 1, finest first."""
    deepest = 2 ** (stages - 1)
    if any(side % (cells * deepest) for side, cells in zip(size, mask.shape[1:], strict=True)):
        patch = tuple(side // cells for side, cells in zip(size, mask.shape[1:], strict=True))
        raise BadInput(
            f"patches of {patch} do not survive {stages - 1} halvings: choose a patch size that is a multiple of "
            f"{deepest}, or fewer stages (widths)"
        )
    shown = (~mask).to(dtype)[:, None]
    return [F.interpolate(shown, size=[side // 2**stage for side in size]) for stage in range(stages)]
