"""Agents that do not learn: random, smooth noise, contiguous blocks, the centre, variance, intensity, gradient."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

import torch
from torch import Tensor
from torch.nn import functional as F

from maskgym.agent import Agent
from maskgym.climbing import cells_of, normal
from maskgym.errors import BadInput

_WIDEST = 8.0  # patches; a wider field is a slope across the grid


class Random(Agent):
    """Every patch is as good as any other: MAE's and SimMIM's masks, and the zero of every table.

    >>> from maskgym import make_agent
    >>> from maskgym.agent import GameSpec
    >>> from maskgym.masking.patches import Patches
    >>> agent = make_agent("random", game_spec=GameSpec(Patches((64, 64), (8, 8))))
    >>> int(agent.to_mask(agent.score(torch.zeros(1, 1, 64, 64))).sum())
    48
    """

    name = "random"
    paper = "MAE, SimMIM"

    def score(self, images: Tensor) -> Tensor:
        """Shuffle the patches."""
        return _shuffled(self, len(images))


@dataclass(frozen=True)
class SmoothSettings:
    """Settings of `smooth`."""

    scale: float = 1.0
    """Deviation of the blur, in patches: how far patches are hidden together; towards 0 random masks."""

    def __post_init__(self) -> None:
        if not 0 < self.scale <= _WIDEST:
            raise BadInput(f"scale {self.scale} is outside (0, {_WIDEST}]: 1 hides neighbours together")


class Smooth(Agent):
    """Hide what a smooth random field is high on: random masks in which neighbours go together.

    White noise with a value for every patch is blurred by a Gaussian. It is drawn beyond the borders as well, so that
    the field is alike everywhere.
    """

    name = "smooth"
    paper = "baseline"

    Settings = SmoothSettings

    def score(self, images: Tensor) -> Tensor:
        """Score by the field."""
        scale = self.settings.scale
        beyond = ceil(3 * scale)
        sides = [cells + 2 * beyond for cells in self.patches.grid]
        field = normal(self.draw_keys(len(images), prod(sides))).view(-1, *sides)  # (B, *sides)
        for axis, (cells, side) in enumerate(zip(self.patches.grid, sides, strict=True), start=1):
            far = torch.arange(side, device=field.device) - torch.arange(cells, device=field.device)[:, None] - beyond
            blur = torch.exp(-far.square() / (2 * scale**2))  # (cells, side)
            field = (field.movedim(axis, -1) @ (blur / blur.square().sum(1, keepdim=True).sqrt()).T).movedim(-1, axis)
        return field


@dataclass(frozen=True)
class BlockSettings:
    """Settings of `block`."""

    blocks: int = 3
    """How many centres are drawn in each image."""


class Block(Agent):
    """Hide contiguous blocks, as BEiT and I-JEPA do: patches near a random centre first, then near the next one."""

    name = "block"
    paper = "BEiT, I-JEPA"

    Settings = BlockSettings

    def score(self, images: Tensor) -> Tensor:
        """Score by closeness to the nearest of the centres; ties are broken at random."""
        cells = cells_of(self.patches.grid, images.device).float()  # (N, dims)
        shuffled = _shuffled(self, len(images)).flatten(1)
        centres = cells[shuffled.topk(self.settings.blocks, dim=1).indices]  # (B, blocks, dims)
        far = torch.cdist(centres, cells.expand(len(images), -1, -1))  # (B, blocks, N)
        return (-far.amin(1)).view(-1, *self.patches.grid)


class Center(Agent):
    """Hide the middle of the picture: the context encoder's mask."""

    name = "center"
    paper = "Context encoders"

    def score(self, images: Tensor) -> Tensor:
        """Score by closeness to the middle, measured along the axis on which a patch is farthest."""
        cells = cells_of(self.patches.grid, images.device).float()
        middle = (torch.tensor(self.patches.grid, device=cells.device) - 1) / 2
        far = ((cells - middle).abs() / (middle + 0.5)).amax(1)
        return (-far).view(1, *self.patches.grid).expand(len(images), *self.patches.grid)


class Variance(Agent):
    """Hide what is busy: the variance of the pixels in a patch."""

    name = "variance"
    paper = "baseline"

    def score(self, images: Tensor) -> Tensor:
        """Score by the variance, averaged over channels."""
        return (_mean(self, images.square()) - _mean(self, images).square()).mean(1)


class Intensity(Agent):
    """Hide what is bright: the mean of the pixels in a patch."""

    name = "intensity"
    paper = "baseline"

    def score(self, images: Tensor) -> Tensor:
        """Score by the mean over pixels and channels."""
        return _mean(self, images).mean(1)


class Gradient(Agent):
    """Hide edges: the mean squared step from a pixel to the next along each axis."""

    name = "gradient"
    paper = "baseline"

    def score(self, images: Tensor) -> Tensor:
        """Score by the squared differences, summed over axes."""
        total = torch.zeros_like(images)
        for axis in range(2, images.dim()):
            step = images.diff(dim=axis).square()
            last = [0, 0] * (images.dim() - 1 - axis)
            total += F.pad(step, (*last, 0, 1))
        return _mean(self, total).mean(1)


def _shuffled(agent: Agent, batch: int) -> Tensor:
    """Random ranks (B, *grid) as floats, all different."""
    ranks = agent.draw_keys(batch).argsort(1).to(torch.float32)
    return ranks.view(batch, *agent.patches.grid)


def _mean(agent: Agent, images: Tensor) -> Tensor:
    """Average each channel over each patch: (B, C, *grid)."""
    flat = agent.patches.mean(images.flatten(0, 1))
    return flat.view(*images.shape[:2], *agent.patches.grid)
