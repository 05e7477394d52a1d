"""Setting par: search image by image, from several starts, saving as it goes; what is known can only be raised."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from maskgym.benchmark import par as pars
from maskgym.benchmark.par import Par, Table, key
from maskgym.benchmark.points import game_at, play
from maskgym.benchmark.search import Found, Search, random_masks, search
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking import rng

if TYPE_CHECKING:
    from maskgym.envs.task import Task

_SAVE_EVERY = 5.0  # seconds
_AT_ONCE = {"cpu": 32, "cuda": 256}  # images searched side by side
_SEED = 0x9A12

Heard = Callable[[int, int, float], None]  # evaluations done since the last call, still to do, mean reward so far


def open_par(task: Task, images: int, path: Path) -> Par:
    """Open the file to go on with, or start one from what is known already."""
    if path.exists():
        par = pars.read(path)
        if reason := pars.refusal(par, task, images):
            raise BadInput(f"{path} {reason}: choose another --out")
        return par
    fresh = pars.start(task, images)
    for known in pars.fitting(task, images):
        for name, table in known.tables.items():
            table = table.head(images)
            if name not in fresh.tables or table.reward.mean() > fresh.tables[name].reward.mean():
                fresh.tables[name] = table
    return fresh


def raise_par(
    task: Task,
    par: Par,
    path: Path,
    ratio: float,
    evaluations: int,
    agents: Sequence[str] = (),
    settings: Search | None = None,
    heard: Heard | None = None,
) -> Table:
    """Search until every image has had so many evaluations, and save every few seconds.

    A search that was killed is taken up where it was saved. More evaluations go on from the best masks known; an agent
    that was not among the starts before buys another round.
    """
    game, images = game_at(task, ratio), len(par.look)
    random, by_loss = _zero(game, task, images)
    table = par.tables.get(key(ratio)) or _first(game, task, images, random, by_loss)
    par.tables[key(ratio)] = table
    new = [spec for spec in agents if spec not in table.sources]
    if new or evaluations > table.asked:
        table.goal = np.where(bool(new), table.spent + evaluations, max(evaluations, table.asked)).astype(np.int32)
        table.goal = np.broadcast_to(table.goal, images).copy()
        table.half = np.where(2 * table.spent >= table.goal, table.reward, np.nan).astype(np.float32)
        table.asked, table.sources = max(evaluations, table.asked), table.sources + new
    theirs = [_masks_of(spec, task, ratio, images) for spec in agents]
    for mask in theirs:
        _keep(table, np.arange(images), mask, _rewards(game, task, mask))
    par.save(path)
    saved = time.monotonic()
    for index in _chunks(table, _AT_ONCE[task.device.type]):
        before, heard_of = table.spent[index].copy(), 0
        starts = np.stack([table.mask[index], *(mask[index] for mask in theirs), by_loss[index]])
        # What was spent before belongs to the seed: a search taken up again must not try the same moves.
        seeds = rng.keys(torch.from_numpy(index + (_SEED << 32)) + (int(before.max()) << 20), 1)[:, 0]

        def note(found: Found, index: np.ndarray = index, before: np.ndarray = before) -> None:
            nonlocal saved, heard_of
            table.spent[index] = before + found.spent
            _keep(table, index, found.mask.cpu().numpy(), found.reward.cpu().numpy())
            crossed = index[(2 * table.spent[index] >= table.goal[index]) & np.isnan(table.half[index])]
            table.half[crossed] = table.reward[crossed]
            if heard is not None:
                still = int((table.goal - table.spent).sum())
                heard((found.spent - heard_of) * len(index), still, float(table.reward.mean()))
                heard_of = found.spent
            if time.monotonic() - saved > _SAVE_EVERY:
                par.save(path)
                saved = time.monotonic()

        left = int((table.goal[index] - before).min())
        pictures = task.fetch(index)
        wanted = torch.from_numpy(starts[:left]).to(task.device)
        note(search(game, pictures, wanted, left, seeds.to(task.device), settings, note))
        table.spent[index] = table.goal[index]
    par.save(path)
    return table


def _first(game: Game, task: Task, images: int, random: np.ndarray, by_loss: np.ndarray) -> Table:
    """The table before any search: the loss map's mask."""
    zeros = np.zeros(images, np.int32)
    unknown = np.full(images, np.nan, np.float32)
    return Table(by_loss.copy(), _rewards(game, task, by_loss), random, unknown, zeros, zeros.copy())


def _zero(game: Game, task: Task, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean reward (n,) of each image's random masks, and the mask (n, N) of its highest mean losses under them."""
    rewards, masks = [], []
    for index in _batches(images, task):
        pictures = task.fetch(index)
        drawn = random_masks(game, torch.from_numpy(index + (1 << 32)).to(task.device), pars.RANDOM_MASKS)
        with torch.inference_mode():
            losses = torch.stack([_evaluate(game, pictures, mask) for mask in drawn])  # (R, B, N)
        mean = (losses * drawn).sum(0) / drawn.sum(0).clamp(min=1)
        hidden = mean.topk(game.budget, 1).indices
        rewards.append(losses.mean((0, 2)).cpu().numpy())
        masks.append(torch.zeros_like(drawn[0]).scatter_(1, hidden, True).cpu().numpy())
    return np.concatenate(rewards).astype(np.float32), np.concatenate(masks)


def _rewards(game: Game, task: Task, mask: np.ndarray) -> np.ndarray:
    """Rewards (n,) of masks (n, N)."""
    with torch.inference_mode():
        parts = [
            _evaluate(game, task.fetch(index), torch.from_numpy(mask[index]).to(task.device)).mean(1).cpu().numpy()
            for index in _batches(len(mask), task)
        ]
    return np.concatenate(parts).astype(np.float32)


def _evaluate(game: Game, images: Tensor, mask: Tensor) -> Tensor:
    return game.evaluate(images, mask.view(-1, *game.patches.grid)).patch_reward.flatten(1)


def _masks_of(spec: str, task: Task, ratio: float, images: int) -> np.ndarray:
    from maskgym.benchmark.contestants import seat

    return play(seat(spec, task, ratio, seed=0), task, ratio, images=images).mask


def _keep(table: Table, index: np.ndarray, mask: np.ndarray, reward: np.ndarray) -> None:
    """Take masks (b, N) of the images `index` that pay more than the ones known."""
    better = reward > table.reward[index]
    table.mask[index[better]] = mask[better]
    table.reward[index[better]] = reward[better]


def _batches(images: int, task: Task) -> list[np.ndarray]:
    return np.split(np.arange(images), range(_AT_ONCE[task.device.type], images, _AT_ONCE[task.device.type]))


def _chunks(table: Table, size: int) -> list[np.ndarray]:
    """Images that are not done, those with equally much left together."""
    left = table.goal - table.spent
    chunks = []
    for amount in np.unique(left[left > 0]):
        index = np.flatnonzero(left == amount)
        chunks += [index[i : i + size] for i in range(0, len(index), size)]
    return chunks
