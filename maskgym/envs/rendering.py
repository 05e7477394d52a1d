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
        rebuilt, error = _rebuilt(task, images, outcome.mask)
        parts[1:] = [veiled(task, image, outcome.mask), grey(rebuilt), heat(error)]
    return beside([enlarge(part) for part in parts])


def search_panel(
    task: Task,
    images: Tensor,
    last: Tensor | None = None,
    best: Tensor | None = None,
    tried: np.ndarray | None = None,
) -> np.ndarray:
    """Draw a search on the first image of a batch: image, last mask, best mask, error under it, rewards of all tried.

    Args:
        task: whose grid and network they are.
        images: (1, C, *size).
        last: (1, *grid) bool; None before the first step, when all but the image is blank.
        best: (1, *grid) bool.
        tried: (T,) the reward of every mask tried, NaN where none was yet.
    """
    image = grey(images)
    parts = [enlarge(part) for part in (image, *[np.zeros_like(image)] * 3)]
    height = parts[0].shape[0]
    parts.append(np.zeros((height, height, 3), np.uint8))
    if last is not None and best is not None and tried is not None:
        parts[1], parts[2] = (enlarge(veiled(task, image, mask)) for mask in (last, best))
        parts[3] = enlarge(heat(_rebuilt(task, images, best)[1]))
        parts[4] = _search_curve(tried, height)
    return beside(parts)


def veiled(task: Task, image: np.ndarray, mask: Tensor) -> np.ndarray:
    """Lay a colour over the hidden patches (1, *grid) of a picture (H, W, 3)."""
    hidden = _plane(task.patches.spread(mask[:1]))[..., :1].astype(np.float32)
    return (image * (1 - 0.65 * hidden) + _HIDDEN * 0.65 * hidden).astype(np.uint8)


def _rebuilt(task: Task, images: Tensor, mask: Tensor) -> tuple[Tensor, np.ndarray]:
    """Rebuild the first image; the picture and its squared error (H, W)."""
    with no_grad():
        rebuilt = task.game.rebuild(images[:1], mask[:1]).float()
    return rebuilt, _plane((rebuilt - images[:1]).square()).mean(-1)


def _search_curve(tried: np.ndarray, side: int) -> np.ndarray:
    """Draw rewards (T,) as dots from left to right and the best so far as a line: (side, side, 3) uint8."""
    picture = np.full((side, side, 3), 24, np.uint8)
    low, high = np.nanmin(tried), np.nanmax(tried)
    places = ((np.arange(len(tried)) + 0.5) / len(tried) * side).astype(int)
    levels = (side * (0.92 - 0.84 * (tried - low) / max(high - low, 1e-9))).round()
    top = side
    for i in np.flatnonzero(np.isfinite(levels)):
        level, right = int(levels[i]), places[i + 1] if i + 1 < len(places) else side
        fell, top = top, min(top, level)
        picture[top : top + 2, places[i] : right] = _HEAT[3]
        if i and fell > top:
            picture[top : fell + 2, places[i] : places[i] + 2] = _HEAT[3]
        picture[max(level - 2, 0) : level + 3, max(places[i] - 2, 0) : places[i] + 3] = 255
    return picture


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
    """Repeat pixels by a whole number, to about the height asked for."""
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
