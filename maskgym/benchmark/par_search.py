"""Setting par: search image by image, from several starts, saving as it goes; what is known can only be raised."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from maskgym.benchmark import par as pars
from maskgym.benchmark.evaluate import play
from maskgym.benchmark.par import Par, Table, key
from maskgym.benchmark.players import seat
from maskgym.benchmark.search import Found, Search, random_masks, search
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking import rng

if TYPE_CHECKING:
    from maskgym.envs.task import Task

_SAVE_EVERY = 5.0  # seconds
_AT_ONCE = {"cpu": 32, "cuda": 256}  # images searched side by side
_SEED = 0x9A12

Progress = Callable[[int, int, float], None]  # queries since the last call, still to do, mean reward so far


def open_par(task: Task, images: int, path: Path, fresh: bool = False) -> Par:
    """Open the file to go on with, or start one from the par that ships."""
    if path.exists() and not fresh:
        par = pars.read(path)
        if reason := pars.refusal(par, task):
            raise BadInput(f"{path} {reason}: choose another --out, or start over with --fresh")
    else:
        par = pars.start(task, images)
        for known in pars.all_shipped(task):
            par.tables |= {name: table.head(images) for name, table in known.tables.items()}
    par.extend(task, images)
    return par


def raise_par(
    task: Task,
    par: Par,
    path: Path,
    ratio: float,
    images: int,
    queries: int,
    agents: Sequence[str] = (),
    settings: Search | None = None,
    progress: Progress | None = None,
    bf16: bool = False,
) -> Table:
    """Search until each of the first images has had so many queries, and save every few seconds.

    A search that was killed is taken up where it was saved. More queries go on from the best masks known; an agent
    that was not among the starts yet brings so many queries more; images that the file does not know are added.

    With bf16 the search ranks masks by a network in bfloat16. What is stored is played in float32 in any case.
    """
    game = task.game_at(ratio)
    ranking = halved(game) if bf16 else game
    random, by_loss = _zero(game, task, images)
    table = par.tables.get(key(ratio))
    have = 0 if table is None else len(table)
    if have < images:
        more = _first(game, task, np.arange(have, images), random, by_loss)
        table = more if table is None else table.extended(more)
    assert table is not None
    par.tables[key(ratio)] = table
    new = [spec for spec in agents if spec not in table.sources]
    due = np.arange(len(table)) < images
    goal = np.where(due, np.maximum(table.goal, queries + (table.spent if new else 0)), table.goal).astype(np.int32)
    half = np.where(2 * table.spent >= goal, table.reward, np.nan).astype(np.float32)
    table.half, table.goal = np.where(goal > table.goal, half, table.half), goal
    table.sources += new
    theirs = [_masks_of(spec, task, ratio, images) for spec in agents]
    for mask in theirs:
        _keep(table, np.arange(images), mask, _rewards(game, task, np.arange(images), mask))
    par.save(path)
    saved = time.monotonic()
    for index in _chunks(table, images, _AT_ONCE[task.device.type]):
        done, told = table.spent[index].copy(), 0
        starts = np.stack([table.mask[index], *(mask[index] for mask in theirs), by_loss[index]])
        # What was spent belongs to the seed: a search taken up again must not try the same moves.
        seeds = rng.keys(torch.from_numpy(index + (_SEED << 32)) + (int(done.max()) << 20), 1)[:, 0]

        def note(found: Found, last: bool = False, index: np.ndarray = index, done: np.ndarray = done) -> None:
            nonlocal saved, told
            table.spent[index] = done + found.queries
            crossed = index[(2 * table.spent[index] >= table.goal[index]) & np.isnan(table.half[index])]
            due = time.monotonic() - saved > _SAVE_EVERY
            if due or last or len(crossed):
                mask = found.mask.cpu().numpy()
                _keep(table, index, mask, _rewards(game, task, index, mask))
                table.half[crossed] = table.reward[crossed]
            if progress is not None:
                still = int((table.goal - table.spent)[:images].sum())
                progress((found.queries - told) * len(index), still, float(table.reward[:images].mean()))
                told = found.queries
            if due:
                par.save(path)
                saved = time.monotonic()

        left = int((table.goal[index] - done).min())
        start = torch.from_numpy(starts[:left]).to(task.device)
        note(search(ranking, task.fetch(index), start, left, seeds.to(task.device), settings, note), last=True)
        table.spent[index] = table.goal[index]
    par.save(path)
    return table.head(images)


def halved(game: Game) -> Game:
    """The same game with its networks in bfloat16: rewards to 0.1 %, much sooner on processors that multiply it."""
    half = copy(game)
    half.reconstructor = _Half(game.reconstructor)
    half.reference = None if game.reference is None else _Half(game.reference)
    return half


class _Half(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = deepcopy(network).to(torch.bfloat16)

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        return self.network(images.bfloat16(), mask)


def _first(game: Game, task: Task, index: np.ndarray, random: np.ndarray, by_loss: np.ndarray) -> Table:
    """The table of images `index` before any search: the loss map's masks."""
    none, mask = np.zeros(len(index), np.int32), by_loss[index]
    unknown = np.full(len(index), np.nan, np.float32)
    return Table(mask.copy(), _rewards(game, task, index, mask), random[index], unknown, none, none.copy())


def _zero(game: Game, task: Task, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean reward (n,) of each image's random masks, and the mask (n, N) of its highest mean rewards under them."""
    rewards, masks = [], []
    for index in _batches(np.arange(images), task):
        pictures = task.fetch(index)
        drawn = random_masks(game, torch.from_numpy(index + (1 << 32)).to(task.device), pars.RANDOM_MASKS)
        with torch.inference_mode():
            each = torch.stack([_evaluate(game, pictures, mask) for mask in drawn])  # (R, B, N)
        mean = (each * drawn).sum(0) / drawn.sum(0).clamp(min=1)
        hidden = mean.topk(game.budget, 1).indices
        rewards.append(each.mean((0, 2)).cpu().numpy())
        masks.append(torch.zeros_like(drawn[0]).scatter_(1, hidden, True).cpu().numpy())
    return np.concatenate(rewards).astype(np.float32), np.concatenate(masks)


def _rewards(game: Game, task: Task, index: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Rewards (b,) of masks (b, N) of the images `index` (b,)."""
    with torch.inference_mode():
        parts = [
            _evaluate(game, task.fetch(index[rows]), torch.from_numpy(mask[rows]).to(task.device)).mean(1).cpu().numpy()
            for rows in _batches(np.arange(len(index)), task)
        ]
    return np.concatenate(parts).astype(np.float32)


def _evaluate(game: Game, images: Tensor, mask: Tensor) -> Tensor:
    return game.evaluate(images, mask.view(-1, *game.patches.grid)).patch_reward.flatten(1)


def _masks_of(spec: str, task: Task, ratio: float, images: int) -> np.ndarray:
    return play(seat(spec, task, ratio, seed=0), task, ratio, images=images).mask[0]


def _keep(table: Table, index: np.ndarray, mask: np.ndarray, reward: np.ndarray) -> None:
    """Take masks (b, N) of the images `index` that bring more than the ones known."""
    better = reward > table.reward[index]
    table.mask[index[better]] = mask[better]
    table.reward[index[better]] = reward[better]


def _batches(index: np.ndarray, task: Task) -> list[np.ndarray]:
    size = _AT_ONCE[task.device.type]
    return np.split(index, range(size, len(index), size))


def _chunks(table: Table, images: int, size: int) -> list[np.ndarray]:
    """Those of the first images that are not done, the ones with equally much left together."""
    left = (table.goal - table.spent)[:images]
    chunks = []
    for amount in np.unique(left[left > 0]):
        index = np.flatnonzero(left == amount)
        chunks += [index[i : i + size] for i in range(0, len(index), size)]
    return chunks
