"""Pictures of one round: image, mask, reconstruction and error side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, no_grad

if TYPE_CHECKING:
    from maskgym.envs.task import Task
    from maskgym.game import Outcome

_HEIGHT = 256  # a panel is enlarged by a whole number to about this many pixels
_GAP = 4
_HIDDEN = np.array([230, 90, 60], np.float32)  # the colour laid over hidden patches
# Black, purple, orange, yellow: dark to bright in equal steps, so that it also reads in grey.
_HEAT = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], np.float32)


def panel(task: Task, images: Tensor, outcome: Outcome | None = None) -> np.ndarray:
    """Draw the first image of a batch, (H, 4 W + gaps, 3) uint8; before a step all but the image is blank.

    Volumes show their middle slice.
    """
    image = grey(images)
    parts = [image, np.zeros_like(image), np.zeros_like(image), np.zeros_like(image)]
    if outcome is not None:
        mask = _plane(task.patches.spread(outcome.mask[:1]))[..., :1].astype(np.float32)
        with no_grad():
            rebuilt = task.game.rebuild(images[:1], outcome.mask[:1]).float()
        error = _plane((rebuilt - images[:1]).square()).mean(-1)
        parts[1] = (image * (1 - 0.65 * mask) + _HIDDEN * 0.65 * mask).astype(np.uint8)
        parts[2] = grey(rebuilt)
        parts[3] = heat(error)
    return beside([enlarge(part) for part in parts])


def grey(images: Tensor) -> np.ndarray:
    """Show the first of (B, C, *size) z-scored images as (H, W, 3) uint8: three channels as colours, else the first."""
    plane = _plane(images[:1].float())
    shown = plane if plane.shape[-1] == 3 else np.repeat(plane[..., :1], 3, -1)
    return np.clip(shown * 48 + 110, 0, 255).astype(np.uint8)


def heat(values: np.ndarray, top: float | None = None) -> np.ndarray:
    """Colour (H, W) values from 0 to `top` (default: their own 99.5th percentile): (H, W, 3) uint8."""
    top = float(np.quantile(values, 0.995)) if top is None else top
    place = np.clip(values / max(top, 1e-9), 0, 1) * (len(_HEAT) - 1)
    low = np.minimum(place.astype(int), len(_HEAT) - 2)
    part = (place - low)[..., None]
    return (_HEAT[low] * (1 - part) + _HEAT[low + 1] * part).astype(np.uint8)


def enlarge(picture: np.ndarray, height: int = _HEIGHT) -> np.ndarray:
    """Repeat pixels by a whole number, to about the wanted height."""
    times = max(1, round(height / picture.shape[0]))
    return picture.repeat(times, 0).repeat(times, 1)


def beside(pictures: list[np.ndarray]) -> np.ndarray:
    """Set pictures of one height side by side with a white gap."""
    gap = np.full((pictures[0].shape[0], _GAP, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (picture, gap)][:-1]
    return np.concatenate(row, 1)


def _plane(images: Tensor) -> np.ndarray:
    """Take the first image as (H, W, C), the middle slice of a volume."""
    image = images[0].cpu().numpy()
    image = image[:, image.shape[1] // 2] if image.ndim == 4 else image
    return np.moveaxis(image, 0, -1)
