"""Points, the ruler of the benchmark: 0 is chance, 100 is par, above is possible and news; and playing for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from maskgym.agent import Agent
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking import rng

if TYPE_CHECKING:
    from maskgym.envs.task import Task

_BATCH = 64
_CHANCE = 0x9E77  # of the game, where an agent asks for too many or too few patches


class Played(NamedTuple):
    """How an agent did on the first n images of a split, in their order."""

    reward: np.ndarray  # (n,) float64
    mask: np.ndarray  # (n, N) bool, True = hidden
    lesion_cover: np.ndarray  # (n,) float64 share of the lesion patches hidden; NaN where an image has none
    seconds: np.ndarray  # (n,) float64 the agent thought about an image, the batch's time over its size
    patch_loss: np.ndarray | None  # (n, N) float32; None where it was not kept


def points(agent: np.ndarray, random: np.ndarray, par: np.ndarray) -> float:
    """Points of rewards (S, n) or (n,), given what chance and par get on the same n images.

    The ratio of means, not the mean of ratios: where par stands barely above chance, an image's own points are noise
    divided by almost nothing, and a few such images would decide the average. This way an image counts by what there
    is to win on it.
    """
    random, par = np.broadcast_to(random, np.shape(agent)), np.broadcast_to(par, np.shape(agent))
    gap = float((par - random).mean())
    return 100.0 * float((agent - random).mean()) / gap if gap > 0 else float("nan")


def points_of_each(agent: np.ndarray, random: np.ndarray, par: np.ndarray) -> np.ndarray:
    """Points image by image; NaN where par is not above chance."""
    gap = np.asarray(par - random, float)
    return np.where(gap > 0, 100.0 * (agent - random) / np.where(gap > 0, gap, 1.0), np.nan)


def game_at(task: Task, ratio: float) -> Game:
    """The task's game at another ratio, all left to the agent."""
    return task.game_at(ratio)


def count_images(task: Task, images: int) -> int:
    """How many images of the split are meant: 0 = all; more than there are is refused."""
    there = len(task.images)
    if not 0 <= images <= there:
        raise BadInput(f"images {images} asked for, but the {task.settings.split} split has {there}: 0 takes all")
    return images or there


def play(
    agent: Agent,
    task: Task,
    ratio: float,
    *,
    sampled: bool = False,
    images: int = 0,
    seed: int = 0,
    heard: Callable[[int], None] | None = None,
) -> Played:
    """Let an agent play the first images of a split in their order, each once.

    The agent sees what the environment shows, 8-bit views. It is asked for masks; the game hides exactly K patches
    whatever it asks for.

    Args:
        agent: made for the board of `task` at `ratio`, and attached.
        task: images, network, patches.
        ratio: share hidden.
        sampled: let it explore, as while learning; else its best.
        images: how many; 0 = all.
        seed: of the game's chance, which matters only to agents that ask for too many or too few.
        heard: is told how many images are done.
    """
    game, count = game_at(task, ratio), count_images(task, images)
    parts: list[tuple[np.ndarray, ...]] = []
    for first in range(0, count, _BATCH):
        index = np.arange(first, min(first + _BATCH, count))
        shown = task.fetch(index)
        views = task.observe(shown)
        started = time.perf_counter()
        wish = agent.act(views, sample=sampled)
        _wait(task)
        thought = (time.perf_counter() - started) / len(index)
        keys = rng.keys(torch.from_numpy(index + ((seed ^ _CHANCE) << 32)).to(task.device), task.patches.count)
        with torch.inference_mode():
            outcome = game.play(shown, wish.to(task.device).flatten(1), keys)
        mask = outcome.mask.cpu().numpy()
        cover = task.lesion_cover(index, mask)
        parts.append(
            (
                outcome.reward.double().cpu().numpy(),
                mask.reshape(len(index), -1),
                np.full(len(index), np.nan) if cover is None else cover,
                np.full(len(index), thought),
                outcome.patch_reward.flatten(1).cpu().numpy(),
            )
        )
        if heard is not None:
            heard(len(index))
    return Played(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def agreement(mask: np.ndarray, par: np.ndarray) -> np.ndarray:
    """Share of par's hidden patches that masks (n, N) hide, too: (n,)."""
    return (mask & par).sum(-1) / np.maximum(par.sum(-1), 1)


def _wait(task: Task) -> None:
    if task.device.type == "cuda":
        torch.cuda.synchronize(task.device)
