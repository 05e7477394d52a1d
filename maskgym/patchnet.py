"""The trunk that turns an image or a volume into one feature vector per patch; policies and rankers put heads on it."""

from __future__ import annotations

from itertools import pairwise
from math import gcd, prod
from typing import Any

from torch import Tensor, nn

from maskgym.dimensions import CONV
from maskgym.masking.patches import Patches


class PatchNet(nn.Module):
    """Strided convolutions down to one cell per patch, then dilated ones that let patches see their surroundings.

    There is no batch norm: reinforcement learning hands a network small batches that repeat the same image, so its
    statistics are noise; and a batch norm gives one answer while acting and another while learning, so that the
    probabilities an actor-critic compares would come from two policies. With the images z-scored and the weights drawn
    after He et al. (2015), activations keep their scale through the few layers there are.

    Args:
        channels: of the images.
        patches: the grid; a patch side of 2^k * m is reached by k halvings and, where m > 1, one step of m.
        width: features per patch.
        dilations: one 3x3 convolution at patch resolution for each; (1, 2, 4, 1) sees 8 patches in every direction.

    >>> import torch
    >>> PatchNet(1, Patches((64, 64), (8, 8)))(torch.zeros(2, 1, 64, 64)).shape
    torch.Size([2, 48, 8, 8])
    """

    def __init__(self, channels: int, patches: Patches, width: int = 48, dilations: tuple[int, ...] = (1, 2, 4, 1)):
        super().__init__()
        self.patches, self.width = patches, width
        conv = CONV[patches.dims]
        sizes = strides(patches.patch)
        widths = (channels, *[width] * len(sizes))
        layers: list[nn.Module] = []
        for (inside, outside), (kernel, stride, padding) in zip(pairwise(widths), sizes, strict=True):
            layers += [conv(inside, outside, kernel, stride, padding), nn.ReLU(inplace=True)]
        for dilation in dilations:
            layers += [conv(width, width, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """Turn z-scored images (B, C, *size) into features (B, width, *grid)."""
        return self.layers(images)


def strides(patch: tuple[int, ...]) -> list[tuple[int | tuple[int, ...], tuple[int, ...], int]]:
    """Say kernel, stride and padding of each convolution that together bring a patch down to one cell, axis by axis.

    Halvings overlap (kernel 3, padding 1); the rest that two does not divide is one step whose kernel is its stride. A
    patch that cannot be halved gets a first convolution all the same, because the rest alone would see no neighbours.
    """
    rest, halvings = list(patch), []
    while any(side % 2 == 0 for side in rest):
        halvings.append(tuple(2 if side % 2 == 0 else 1 for side in rest))
        rest = [side // 2 if side % 2 == 0 else side for side in rest]
    layers: list[Any] = [(3, stride, 1) for stride in halvings or [(1,) * len(patch)]]
    return layers + ([(tuple(rest), tuple(rest), 0)] if prod(rest) > 1 else [])


class ResidualPatchNet(nn.Module):
    """`PatchNet` with group norms, GELU and residual steps, for learners whose gradients share one large part.

    A policy that is told only the rewards of masks gets much the same gradient for every image at first, because some
    places are worth hiding in all of them. In the plain trunk that common part drives ReLUs dead and within 2,000 masks
    leaves one mask for all images; here the trunk keeps what it knows of the image. Group norm looks at one image
    alone, so it has none of the trouble of batch norm that `PatchNet` speaks of.

    Args:
        channels: of the images.
        patches: the grid.
        width: features per patch.
        dilations: one residual 3x3 convolution at patch resolution for each.

    >>> import torch
    >>> ResidualPatchNet(1, Patches((32, 32, 32), (8, 8, 8)))(torch.zeros(2, 1, 32, 32, 32)).shape
    torch.Size([2, 48, 4, 4, 4])
    """

    def __init__(self, channels: int, patches: Patches, width: int = 48, dilations: tuple[int, ...] = (1, 2, 4, 1)):
        super().__init__()
        self.patches, self.width = patches, width
        conv = CONV[patches.dims]
        groups = gcd(8, width)
        layers: list[nn.Module] = []
        inside = channels
        for kernel, stride, padding in strides(patches.patch):
            layers += [conv(inside, width, kernel, stride, padding), nn.GroupNorm(groups, width), nn.GELU()]
            inside = width
        self.stem = nn.Sequential(*layers)
        self.steps = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(groups, width), nn.GELU(), conv(width, width, 3, padding=dilation, dilation=dilation)
            )
            for dilation in dilations
        )

    def forward(self, images: Tensor) -> Tensor:
        """Turn z-scored images (B, C, *size) into features (B, width, *grid)."""
        features = self.stem(images)
        for step in self.steps:
            features = features + step(features)
        return features


class FoldedPatchNet(nn.Module):
    """A residual trunk for policies: pixels become channels at twice the grid, where it is cheap to keep them all.

    A stem that halves the resolution in its first convolutions spends most of its time on few channels and many pixels.
    Here blocks of pixels are folded into channels first, two blocks along each axis of a patch, and everything is
    computed on these or on whole patches, where convolutions are matrix products of a size that processors like. The
    steps are residual and their branches start at half their scale, so that one norm before each half of the trunk is
    enough.

    Args:
        channels: of the images.
        patches: the grid; an axis of which a patch has an odd number of pixels is folded whole.
        width: features per patch; half as many in the finer half.
        fine: residual 3x3 convolutions at half a patch.
        dilations: one residual 3x3 convolution at patch resolution for each.

    >>> import torch
    >>> FoldedPatchNet(1, Patches((64, 64), (8, 8)))(torch.zeros(2, 1, 64, 64)).shape
    torch.Size([2, 128, 8, 8])
    """

    def __init__(
        self,
        channels: int,
        patches: Patches,
        width: int = 128,
        fine: int = 2,
        dilations: tuple[int, ...] = (1, 2, 4, 1),
    ):
        super().__init__()
        self.patches, self.width = patches, width
        conv, half = CONV[patches.dims], max(1, width // 2)
        stride = tuple(1 if side % 2 else 2 for side in patches.patch)
        self.blocks = Patches(
            patches.size, tuple(side // step for side, step in zip(patches.patch, stride, strict=True))
        )
        self.stem = conv(channels * prod(self.blocks.patch), half, 3, padding=1)
        self.fine = nn.ModuleList(nn.Sequential(nn.ReLU(), conv(half, half, 3, padding=1)) for _ in range(fine))
        self.down = nn.Sequential(
            nn.GroupNorm(gcd(8, half), half), nn.ReLU(), conv(half, width, 3, stride=stride, padding=1)
        )
        self.steps = nn.ModuleList(
            nn.Sequential(nn.ReLU(), conv(width, width, 3, padding=dilation, dilation=dilation))
            for dilation in dilations
        )
        self.last = nn.Sequential(nn.GroupNorm(gcd(8, width), width), nn.ReLU())
        for layer in (self.stem, self.down[-1], *(step[-1] for step in (*self.fine, *self.steps))):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        for step in (*self.fine, *self.steps):
            step[-1].weight.data.mul_(0.5)

    def forward(self, images: Tensor) -> Tensor:
        """Turn z-scored images (B, C, *size) into features (B, width, *grid)."""
        blocks = self.blocks.split(images).transpose(1, 2)  # (B, C * pixels of a block, blocks), channels innermost
        features = self.stem(blocks.unflatten(2, self.blocks.grid))
        for step in self.fine:
            features = features + step(features)
        features = self.down(features)
        for step in self.steps:
            features = features + step(features)
        return self.last(features)
