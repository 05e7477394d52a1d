"""Points, the ruler of the benchmark: 0 is a random mask, 100 is par, above is possible and news."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from maskgym.errors import BadInput

if TYPE_CHECKING:
    from maskgym.envs.task import Task


def points(agent: np.ndarray, random: np.ndarray, par: np.ndarray) -> float:
    """Points of rewards (S, n) or (n,), given what random masks and par get on the same n images.

    The ratio of means, not the mean of ratios: where par stands barely above random masks, an image's own points are
    noise divided by almost nothing, and a few such images would decide the average. This way an image counts by what
    there is to win on it.

    >>> points(np.array([0.2, 0.4]), np.array([0.1, 0.1]), np.array([0.3, 0.5]))
    66.66666666666667
    """
    random, par = (np.broadcast_to(np.asarray(values, float), np.shape(agent)) for values in (random, par))
    gap = float((par - random).mean())
    return 100.0 * float((agent - random).mean()) / gap if gap > 0 else float("nan")


def points_of_each(agent: np.ndarray, random: np.ndarray, par: np.ndarray) -> np.ndarray:
    """Points image by image; NaN where par is not above random masks."""
    random, par = np.asarray(random, float), np.asarray(par, float)
    gap = par - random
    return np.where(gap > 0, 100.0 * (agent - random) / np.where(gap > 0, gap, 1.0), np.nan)


def agreement(mask: np.ndarray, par: np.ndarray) -> np.ndarray:
    """Share of par's hidden patches that masks (..., N) hide, too; random masks reach K / N."""
    return (mask & par).sum(-1) / np.maximum(par.sum(-1), 1)


def count_images(task: Task, images: int) -> int:
    """How many images of the split are meant: 0 = all; more than there are is refused."""
    there = len(task.images)
    if not 0 <= images <= there:
        raise BadInput(f"images {images} asked for, but the {task.settings.split} split has {there}: 0 takes all")
    return images or there
