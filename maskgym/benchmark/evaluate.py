"""Evaluating: every agent plays every image under every seed, a small file for each run, so that a killed one goes on.

A file is named after everything its figures depend on: the game, the agent's code and weights, the version of maskgym.
Change one of them, and it is played again.
"""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from maskgym.agent import Agent
from maskgym.benchmark import manifest, par
from maskgym.benchmark.players import explores, folders, must_train, seat, slug, train, trained_at
from maskgym.benchmark.points import count_images
from maskgym.benchmark.protocol import Cell, Protocol, cells
from maskgym.benchmark.results import MODES, Result, decode, join
from maskgym.errors import BadInput
from maskgym.files import write_text
from maskgym.masking import rng

if TYPE_CHECKING:
    from maskgym.envs.task import Task

_FORMAT = 2  # raise when cells change their meaning
_BATCH = 64
_RULES = 0x9E77  # of the random patches that the game adds or drops where an agent asks for too few or too many

Played = Callable[[Cell], None]  # hears which run is done


def play(
    agent: Agent,
    task: Task,
    ratio: float,
    *,
    sampled: bool = False,
    images: int = 0,
    seed: int = 0,
    hard_share: float = 1.0,
) -> Result:
    """Let an agent play the first images of a split in their order, each once: a result of one run.

    The agent sees what the environment shows, 8-bit views. It is asked for masks; the game hides exactly K patches
    whatever it asks for. What it asks of the network it was lent is counted.

    Args:
        agent: made for the task's game at `ratio`, and attached.
        task: images, network, patches.
        ratio: share hidden.
        sampled: let it explore, as while learning; else its best.
        images: how many; 0 = all.
        seed: of the game's own random patches, which matter only to agents that ask for too many or too few.
        hard_share: share of the hidden patches that is taken by the agent's scores; the rest is hidden at random.
    """
    game, count = task.game_at(ratio), count_images(task, images)
    how: dict[str, Any] = {"sample": sampled} | ({} if hard_share == 1 else {"hard_share": hard_share})
    if not how.keys() <= inspect.signature(agent.act).parameters.keys():  # one with an `act` of its own
        raise BadInput(f"{agent.name} chooses masks, not scores: score it without --hard-share {hard_share:g}")
    parts: list[tuple[np.ndarray, ...]] = []
    backward = task.meter.backward
    for first in range(0, count, _BATCH):
        index = np.arange(first, min(first + _BATCH, count))
        shown = task.fetch(index)
        views = task.observe(shown)
        task.meter.per_image(len(index))  # from here on it counts for these images
        started = time.perf_counter()
        requested = agent.act(views, **how)
        if task.device.type == "cuda":
            torch.cuda.synchronize(task.device)
        seconds = (time.perf_counter() - started) / len(index)
        queries = task.meter.per_image(len(index))
        keys = rng.keys(torch.from_numpy(index + ((seed ^ _RULES) << 32)).to(task.device), task.patches.count)
        with torch.inference_mode():
            outcome = game.play(shown, requested.to(task.device).flatten(1), keys)
        mask = outcome.mask.cpu().numpy()
        cover = task.lesion_cover(index, mask)
        parts.append(
            (
                outcome.reward.double().cpu().numpy(),
                mask.reshape(len(index), -1),
                np.full(len(index), np.nan) if cover is None else cover,
                np.full(len(index), seconds),
                np.full(len(index), queries),
                outcome.patch_reward.flatten(1).cpu().numpy(),
            )
        )
    reward, hidden, cover, taken, asked, patch_reward = (
        np.concatenate(column)[None] for column in zip(*parts, strict=True)
    )
    white_box = task.meter.backward > backward
    mode = MODES[1] if sampled else MODES[0]
    return Result(agent.name, ratio, mode, (seed,), reward, hidden, cover, taken, asked, white_box, patch_reward)


def evaluate(
    protocol: Protocol, task: Task, out: Path, pars: Mapping[float, par.NamedPar], played: Played | None = None
) -> list[Result]:
    """Play what was not played already, and give a result for each agent, ratio and way to play.

    Learners must have been trained (`players.train`), or are trained now.
    """
    results: list[Result] = []
    codes = {spec: manifest.code_of(spec) for spec in protocol.agents}
    game = (par.describe(task), manifest.images_hash(task, protocol.images))
    try:
        (out / "cells").mkdir(parents=True, exist_ok=True)
        for (agent, _, _), together in groupby(cells(protocol), key=lambda cell: (cell.agent, cell.ratio, cell.mode)):
            made_by = (game, codes[agent])
            results.append(join([_run(protocol, task, out, cell, made_by, pars, results, played) for cell in together]))
    except OSError as error:
        raise BadInput(f"cannot write to {out}: {error.strerror or error}; choose another --out") from error
    return results


def _run(
    protocol: Protocol,
    task: Task,
    out: Path,
    cell: Cell,
    made_by: tuple[Any, dict[str, Any]],
    pars: Mapping[float, par.NamedPar],
    results: list[Result],
    played: Played | None,
) -> Result:
    """One run, made by a game and an agent's code: from its file, or played now."""
    game, code = made_by
    learner = must_train(cell.agent)
    spec = train(protocol, task, cell.agent, cell.seed, cell.ratio, out, quiet=True) if learner else cell.agent
    about: dict[str, Any] = dict(code)
    if saved := folders(spec, cell.seed):
        about["weights"] = "+".join(manifest.folder_hash(folder) for folder in saved)
        about["trained_at"] = trained_at(spec, cell.seed)
        about["steps"] = protocol.steps if learner else None
    hard_share = protocol.hard_share
    depends = (_FORMAT, game, protocol.images, list(cell), about, pars[cell.ratio].table.digest, hard_share)
    name = f"{slug(cell.agent)}-seed-{cell.seed}-ratio-{cell.ratio:g}-{cell.mode}-{manifest.digest(depends)}.json"
    path = out / "cells" / name
    known = _read(path)
    if known is None:
        agent = seat(spec, task, cell.ratio, cell.seed)
        sampled = cell.mode == MODES[1]
        if sampled and not explores(agent):  # it plays as ever
            best = next(
                one for one in results if (one.agent, one.ratio, one.mode) == (cell.agent, cell.ratio, MODES[0])
            )
            found = _row(best, best.seeds.index(cell.seed))
        else:
            how: dict[str, Any] = {"sampled": sampled, "seed": cell.seed, "hard_share": hard_share}
            found = play(agent, task, cell.ratio, images=protocol.images, **how)
        known = replace(found, agent=cell.agent, mode=cell.mode, manifest=about)
        write_text(path, json.dumps(known.encode()))
    if played is not None:
        played(cell)
    return known


def _row(result: Result, row: int) -> Result:
    names = ("reward", "mask", "lesion_cover", "seconds", "queries")
    return replace(result, seeds=(result.seeds[row],), **{name: getattr(result, name)[row : row + 1] for name in names})


def _read(path: Path) -> Result | None:
    try:
        return decode(json.loads(path.read_text()))
    except (OSError, ValueError, AttributeError):
        return None
