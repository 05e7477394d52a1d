"""Looking at a student: its loss on images it was not taught, and pictures of what it makes of hidden patches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from maskgym import drawing
from maskgym.drawing import Panel
from maskgym.game import Game
from maskgym.masking import rng
from maskgym.masking.patches import Patches
from maskgym.masking.select import budget, select
from maskgym.networks import baselines

_PIECE = 8  # images at once


def random_masks(count: int, patches: Patches, ratio: float = 0.75, seed: int = 0) -> Tensor:
    """Give image i of a split the same random mask in every evaluation: (count, *grid) bool."""
    keys = rng.keys(torch.arange(count) + (seed << 32), patches.count)
    return select(keys, budget(ratio, patches.count), keys, hard_share=0.0).view(-1, *patches.grid)


def held_out(game: Game, images: Tensor, mask: Tensor) -> dict[str, float]:
    """Mean squared error on hidden patches of images (n, C, *size): the network's, and what a network must beat."""
    with watching(game.reconstructor), torch.no_grad():
        parts = [slice(i, i + _PIECE) for i in range(0, len(images), _PIECE)]
        loss = torch.cat([game.evaluate(images[part], mask[part]).patch_loss for part in parts])
    hidden = mask.sum()
    errors = {"network": float((loss * mask).sum() / hidden)}
    if game.target == "raw":
        fills = {"patch mean": baselines.patch_mean, "blurred": baselines.blurred}
        costs = {name: (fill(images, mask, game.patches) - images).square().mean(1) for name, fill in fills.items()}
    else:
        costs = {"patch mean": game.patches.normalise(images).square().mean(1)}
    return errors | {name: float((game.patches.mean(cost) * mask).sum() / hidden) for name, cost in costs.items()}


def draw(game: Game, images: Tensor, mask: Tensor) -> np.ndarray:
    """Draw image, what is left of it, what is rebuilt in its place, and the error, a row an image: (H, W, 3) uint8."""
    patches = game.patches
    with watching(game.reconstructor), torch.no_grad():
        rebuilt = game.rebuild(images, mask).float()
    if game.target == "normalised":
        rebuilt = from_normalised(rebuilt, images, patches)
    visible = game.hide(images, mask)
    whole = torch.where(patches.spread(mask), rebuilt, images)
    headings = ("image", "visible", "reconstruction", "error, 0 to 1")
    rows = []
    for one in zip(images, visible, whole, strict=True):
        image, left, made = (drawing.middle(part.float().cpu().numpy()) for part in one)  # (C, H, W)
        between = drawing.window(image)
        error = drawing.heat(np.square(made - image).mean(0), 1.0)
        shown = [*(drawing.grey(part, between) for part in (image, left, made)), error]
        rows.append([Panel(picture, heading) for picture, heading in zip(shown, headings, strict=True)])
    return np.asarray(drawing.sheet(rows))


def from_normalised(answer: Tensor, images: Tensor, patches: Patches) -> Tensor:
    """Bring patches of mean 0 and variance 1 back to the brightness and contrast that the image has there."""
    pieces = patches.split(images)
    variance, mean = torch.var_mean(pieces, dim=-1, keepdim=True, correction=0)
    return patches.join(patches.split(answer) * (variance + 1e-6).sqrt() + mean)


@contextmanager
def watching(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode for a while."""
    learning = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in learning:
            module.training = True
