"""Contrastive teaching, for comparison: two views of an image are brought together, and nothing is hidden.

The losses are a few lines and stand here, because the package that has them, lightly, imports torchvision.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LOSSES = ("nt-xent", "byol")  # by their names in --loss
TEMPERATURE = 0.1
_SMALLEST = 0.5  # side of a view over that of the image
_BRIGHTER, _SHIFTED, _NOISE = 0.4, 0.4, 0.1  # intensities are changed by up to so much, in deviations of the image


def nt_xent(first: Tensor, second: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Tell each view's partner from all other views of the batch (SimCLR, eq. 1).

    Args:
        first: (B, F), of one view of each image.
        second: (B, F), of the other.
        temperature: divides the cosines.
    """
    count = len(first)
    every = F.normalize(torch.cat([first, second]).float(), dim=1)  # (2B, F)
    cosines = every @ every.T / temperature
    itself = torch.eye(2 * count, dtype=torch.bool, device=every.device)
    partner = torch.arange(2 * count, device=every.device).roll(count)
    return F.cross_entropy(cosines.masked_fill(itself, -torch.inf), partner)


def byol(predicted: Tensor, target: Tensor) -> Tensor:
    """Squared distance of the prediction's direction from the target's, which gives no gradient (BYOL, eq. 2).

    Args:
        predicted: (B, F), from one view.
        target: (B, F), of the slow network from the other view.
    """
    return (2 - 2 * F.cosine_similarity(predicted.float(), target.detach().float(), dim=1)).mean()


def view(images: Tensor) -> Tensor:
    """Show a random part of each image (B, C, *size) at full size, in another contrast and with noise.

    A part has half of the image's sides or more. Flips are the loader's.
    """
    batch, dims = len(images), images.dim() - 2
    near: dict = {"device": images.device, "dtype": images.dtype}
    scale = _SMALLEST + (1 - _SMALLEST) * torch.rand(batch, dims, **near)
    shift = (2 * torch.rand(batch, dims, **near) - 1) * (1 - scale)
    where = torch.cat([torch.diag_embed(scale), shift[..., None]], 2)  # (B, dims, dims + 1)
    shown = F.grid_sample(images, F.affine_grid(where, list(images.shape), align_corners=False), align_corners=False)
    each = (batch, images.shape[1], *[1] * dims)
    contrast = 1 + _BRIGHTER * (2 * torch.rand(each, **near) - 1)
    brightness = _SHIFTED * (2 * torch.rand(each, **near) - 1)
    return shown * contrast + brightness + _NOISE * torch.rand(each, **near) * torch.randn_like(shown)


def told_apart(first: Tensor, second: Tensor) -> float:
    """Share of the images whose view finds its partner among the second views of all, (B, F) each."""
    cosines = F.normalize(first.float(), dim=1) @ F.normalize(second.float(), dim=1).T
    return float((cosines.argmax(1) == torch.arange(len(first), device=first.device)).float().mean())
