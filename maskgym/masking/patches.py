"""The regular grid of patches over images or volumes: cutting, averaging, spreading. 2D and 3D are one code."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from torch import Tensor, lerp, var_mean

from maskgym.dimensions import AVG_POOL
from maskgym.errors import BadInput


@dataclass(frozen=True)
class Patches:
    """How an image of `size` falls into patches; everything geometric that the rest of the house needs.

    >>> Patches((128, 128), (8, 8)).grid
    (16, 16)
    """

    size: tuple[int, ...]  # of the image: (H, W) or (D, H, W)
    patch: tuple[int, ...]  # of one patch, as many axes

    def __post_init__(self) -> None:
        if len(self.size) not in (2, 3) or len(self.patch) != len(self.size):
            raise BadInput(f"image size {self.size} and patch size {self.patch} must both have 2 or both 3 axes")
        if min(self.patch) < 1 or any(side % step for side, step in zip(self.size, self.patch, strict=True)):
            raise BadInput(f"patch_size {self.patch} does not divide image_size {self.size}: choose one that does")

    @property
    def grid(self) -> tuple[int, ...]:
        """Patches along each axis."""
        return tuple(side // step for side, step in zip(self.size, self.patch, strict=True))

    @property
    def count(self) -> int:
        """N, the number of patches."""
        return prod(self.grid)

    @property
    def dims(self) -> int:
        """2 for images, 3 for volumes."""
        return len(self.size)

    def split(self, images: Tensor) -> Tensor:
        """Cut (B, C, *size) into (B, N, C * pixels of a patch)."""
        batch, channels = images.shape[:2]
        cut = images.reshape(batch, channels, *self._interleaved)
        axes = range(2, 2 + 2 * self.dims)
        cut = cut.permute(0, *axes[0::2], 1, *axes[1::2])
        return cut.reshape(batch, self.count, channels * prod(self.patch))

    def join(self, pieces: Tensor) -> Tensor:
        """Put (B, N, C * pixels of a patch) together again to (B, C, *size)."""
        batch = pieces.shape[0]
        cut = pieces.reshape(batch, *self.grid, -1, *self.patch)
        first, second = range(1, 1 + self.dims), range(2 + self.dims, 2 + 2 * self.dims)
        order = [axis for pair in zip(first, second, strict=True) for axis in pair]
        return cut.permute(0, 1 + self.dims, *order).reshape(batch, -1, *self.size)

    def mean(self, pixels: Tensor) -> Tensor:
        """Average (B, *size) over each patch to (B, *grid)."""
        return AVG_POOL[self.dims](pixels[:, None], self.patch)[:, 0]

    def normalise(self, images: Tensor) -> Tensor:
        """Bring every patch of (B, C, *size) to mean 0 and variance 1 over its pixels and channels."""
        pieces = self.split(images)
        variance, mean = var_mean(pieces, dim=-1, keepdim=True, correction=0)
        return self.join((pieces - mean) / (variance + 1e-6).sqrt())

    def any(self, pixels: Tensor) -> Tensor:
        """Say for each patch of (B, *size) bool whether any of its pixels is set: (B, *grid) bool."""
        return pixels.reshape(pixels.shape[0], *self._interleaved).amax(tuple(range(2, 2 * self.dims + 1, 2)))

    def spread(self, mask: Tensor) -> Tensor:
        """Blow a mask (B, *grid) up to pixels, (B, 1, *size)."""
        batch = mask.shape[0]
        return self._rows(mask).expand(batch, 1, *self._interleaved[:-2], self.size[-1]).reshape(batch, 1, *self.size)

    def blend(self, images: Tensor, other: Tensor, share: Tensor) -> Tensor:
        """Mix (B, C, *size) with one value a channel, (B, C, 1, ...), by float shares of each patch (B, *grid).

        Exact at 0 (all of the image) and 1. The shares are never blown up to pixels: half the time of doing so.
        """
        cut = images.reshape(*images.shape[:2], *self._interleaved[:-2], self.size[-1])
        other = other.reshape(*images.shape[:2], *[1] * (cut.dim() - 2))
        return lerp(cut, other, self._rows(share)).reshape(images.shape)

    def _rows(self, mask: Tensor) -> Tensor:
        """Blow (B, *grid) up along the last axis only: (B, 1, cells, 1, ..., pixels), to be broadcast."""
        rows = mask.repeat_interleave(self.patch[-1], -1)
        return rows.reshape(len(mask), 1, *(side for cells in self.grid[:-1] for side in (cells, 1)), self.size[-1])

    @property
    def _interleaved(self) -> tuple[int, ...]:
        """Cells and patch side of each axis in turn: the shape in which patches stand apart."""
        return tuple(side for pair in zip(self.grid, self.patch, strict=True) for side in pair)
