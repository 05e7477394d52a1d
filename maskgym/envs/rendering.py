"""Pictures of one round, or of one search: panels side by side, as `render` gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, no_grad

from maskgym import drawing
from maskgym.drawing import Panel

if TYPE_CHECKING:
    from maskgym.envs.task import Task
    from maskgym.game import Outcome

_SIDE = 208  # pixels of the curve of a search


def panel(task: Task, images: Tensor, outcome: Outcome | None = None) -> np.ndarray:
    """Draw the first image of a batch, (H, W, 3) uint8; before a step all but the image is blank.

    Volumes show their middle slice.
    """
    image = _grey(images)
    mask = rebuilt = error = np.zeros_like(image)
    if outcome is not None:
        mask = veiled(task, image, outcome.mask)
        rebuilt, error = _rebuilt(task, images, outcome.mask)
    headings = ("image", "mask", "reconstruction", "error")
    return drawing.row([Panel(*one) for one in zip((image, mask, rebuilt, error), headings, strict=True)])


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
    image = _grey(images)
    shown = [image, *[np.zeros_like(image)] * 4]
    if last is not None and best is not None and tried is not None:
        shown[1:4] = [veiled(task, image, last), veiled(task, image, best), _rebuilt(task, images, best)[1]]
        shown[4] = _search_curve(tried, round(_SIDE * image.shape[0] / image.shape[1]))
    headings = ("image", "mask tried last", "best mask", "error under the best", "rewards so far")
    return drawing.row([Panel(*one) for one in zip(shown, headings, strict=True)])


def veiled(task: Task, image: np.ndarray, mask: Tensor) -> np.ndarray:
    """Lay a colour over the hidden patches (1, *grid) of a picture (H, W, 3)."""
    return drawing.veil(image, drawing.middle(_numpy(task.patches.spread(mask[:1])))[0] > 0)


def _rebuilt(task: Task, images: Tensor, mask: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Rebuild the first image; two pictures, of it and of its squared error."""
    with no_grad():
        rebuilt = task.game.rebuild(images[:1], mask[:1]).float()
    error = drawing.middle(_numpy((rebuilt - images[:1]).square())).mean(0)
    between = drawing.window(drawing.middle(_numpy(images)))
    return drawing.grey(drawing.middle(_numpy(rebuilt)), between), drawing.heat(error)


def _search_curve(tried: np.ndarray, side: int) -> np.ndarray:
    """Draw rewards (T,) as dots from left to right and the best so far as a line: (side, _SIDE, 3) uint8."""
    picture = np.full((side, _SIDE, 3), 246, np.uint8)
    low, high = np.nanmin(tried), np.nanmax(tried)
    places = ((np.arange(len(tried)) + 0.5) / len(tried) * _SIDE).astype(int)
    levels = (side * (0.92 - 0.84 * (tried - low) / max(high - low, 1e-9))).round()
    top = side
    for i in np.flatnonzero(np.isfinite(levels)):
        level, right = int(levels[i]), places[i + 1] if i + 1 < len(places) else _SIDE
        fell, top = top, min(top, level)
        picture[top : top + 2, places[i] : right] = drawing.HIDDEN
        if i and fell > top:
            picture[top : fell + 2, places[i] : places[i] + 2] = drawing.HIDDEN
        picture[max(level - 2, 0) : level + 3, max(places[i] - 2, 0) : places[i] + 3] = drawing.INK
    return picture


def _grey(images: Tensor) -> np.ndarray:
    return drawing.grey(drawing.middle(_numpy(images)))


def _numpy(images: Tensor) -> np.ndarray:
    return np.asarray(images[0].float().cpu().numpy())
