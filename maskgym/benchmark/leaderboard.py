"""The leaderboard: entries anyone can check, because they hold the masks themselves.

An entry is one agent on one registered environment: its masks of every test image under every seed, what it is and by
what it was made. Checking plays the masks again; nobody's code or word has to be trusted. What masks cannot show,
queries and time, stands as the entry states it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskgym import markdown
from maskgym.benchmark import par, results, tables
from maskgym.benchmark.manifest import digest, images_hash
from maskgym.benchmark.players import short
from maskgym.benchmark.protocol import FEWEST_SEEDS
from maskgym.benchmark.results import MODES, Result
from maskgym.benchmark.tables import Scores
from maskgym.envs.registry import IDS
from maskgym.envs.task import Settings, Task
from maskgym.errors import BadInput

LARGEST = 8 << 20  # bytes of an entry
MOST_SEEDS = 100
_KIND = "maskgym leaderboard entry, form 1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+?=&:,()-]{0,59}")
_METHOD = re.compile(r"[^\x00-\x1f<>`|\[\]\\]{10,300}")  # one line without markup
_TOLERANCE = 1e-4  # of a reward, as a share of it: other machines round differently


@dataclass(frozen=True)
class Entry:
    """One agent on one environment."""

    name: str
    """Of the agent, as the page shows it."""
    method: str
    """One line about how it works."""
    env: str
    results: tuple[Result, ...]
    """One for each ratio, deterministic."""
    manifest: dict[str, Any]


def submit(folder: Path, agent: str, method: str, name: str, out: Path) -> Entry:
    """Write the entry of one agent from what `maskgym score` left."""
    found, about = results.read(folder)
    specs = list(dict.fromkeys(result.agent for result in found))
    agent = agent or (specs[0] if specs else "")
    own = [result for result in found if result.agent == agent and result.mode == MODES[0]]
    if not own:
        raise BadInput(f"{folder} holds no agent {agent!r}: it has {', '.join(specs)}")
    told = about["manifest"]
    if told.get("hard_share", 1.0) != 1:
        raise BadInput(f"{folder} was scored at hard share {told['hard_share']:g}: score again without --hard-share")
    if about.get("own_par"):
        raise BadInput(f"{folder} was scored against a par of your own: score again without --par")
    name = name or short(agent)
    entry = Entry(name, method, str(told["game"]["env"]), tuple(replace(result, agent=name) for result in own), told)
    check(entry)
    body: dict[str, Any] = {
        "kind": _KIND,
        "name": entry.name,
        "method": entry.method,
        "env": entry.env,
        "manifest": entry.manifest,
    }
    body |= {"results": [_rounded(result).encode() for result in entry.results]}
    results.write_out(out, json.dumps({**body, "digest": digest(body)}, separators=(",", ":")))
    return entry


def read(path: Path) -> Entry:
    """Read an entry; whatever is wrong with the file is one line."""
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise BadInput(f"{path} has {size} bytes: an entry has {LARGEST} at most")
        body = json.loads(path.read_text())
        if not isinstance(body, dict) or body.get("kind") != _KIND:
            raise ValueError("it is no entry of this form")
        if body.pop("digest", None) != digest(body):
            raise ValueError("its digest is of another content")
        found = tuple(results.decode(one) for one in body["results"])
        return Entry(str(body["name"]), str(body["method"]), str(body["env"]), found, dict(body["manifest"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, BadInput):
            raise
        reason = str(error.strerror if isinstance(error, OSError) else error)[:120]
        raise BadInput(f"{path} is no entry or was changed ({reason}): write it with `maskgym submit`") from error


def check(entry: Entry) -> tuple[Result, ...]:
    """Play all masks of an entry again and give what they bring; whatever does not reproduce is refused."""
    if not _NAME.fullmatch(entry.name) or not 10 <= len(entry.method) <= 300 or not entry.method.isprintable():
        raise BadInput(
            f"entry {entry.name[:60]!r}: give a plain name, and one line of 10 to 300 characters by --method"
        )
    if entry.env not in IDS:
        raise BadInput(f"entry {entry.name!r} plays {entry.env!r}: registered are {', '.join(IDS)}")
    game, own = entry.manifest.get("game"), task(entry.env)
    count = len(own.images)
    if few := [result.reward.shape[1] for result in entry.results if result.reward.shape[1] != count]:
        raise BadInput(f"entry {entry.name!r} has {few[0]} images, the test split {count}: score without --images")
    if (
        not isinstance(game, dict)
        or game.get("network") != own.fingerprint
        or game.get("split_hash") != images_hash(own, count)
    ):
        raise BadInput(f"entry {entry.name!r} plays other images or another network than {entry.env}: score it on that")
    if not entry.results or len({result.ratio for result in entry.results}) < len(entry.results):
        raise BadInput(f"entry {entry.name!r} must hold one result for each ratio")
    return tuple(_replay(entry.name, result, own) for result in entry.results)


def build(paths: Sequence[Path]) -> str:
    """Check all entries, and write the page: tables by track with intervals, and every agent against every other."""
    entries = [read(path) for path in paths]
    replayed = [(entry, result) for entry in entries for result in check(entry)]
    parts = []
    for env in sorted({entry.env for entry in entries}, key=list(IDS).index):
        for ratio in sorted({result.ratio for entry, result in replayed if entry.env == env}, reverse=True):
            there = [(entry, one) for entry, one in replayed if (entry.env, one.ratio) == (env, ratio)]
            names = [entry.name for entry, _ in there]
            if len(set(names)) < len(names):
                raise BadInput(f"two entries of {env} at ratio {ratio:g} have one name: {sorted(names)}")
            pars = {ratio: par.shipped(task(env), ratio, len(task(env).images))}
            about = {"game": {"env": env, "split": "test", "patches": task(env).patches.count}}
            scores = tables.summarise([result for _, result in there], pars, about)
            parts += _section(scores, ratio, {entry.name: entry for entry, _ in there})
    return "\n\n".join([*parts, tables.NOTE]) + "\n"


@cache
def task(env: str) -> Task:
    """The test split of a registered environment."""
    return Task(Settings.of({**IDS[env], "split": "test"}))


def _replay(name: str, result: Result, own: Task) -> Result:
    ratio, (runs, images) = result.ratio, result.reward.shape
    par.shipped(own, ratio, len(own.images))
    if result.mode != MODES[0] or not FEWEST_SEEDS <= runs <= MOST_SEEDS or len(set(result.seeds)) < runs:
        raise BadInput(f"entry {name!r} has {runs} runs at ratio {ratio:g}: {FEWEST_SEEDS} to {MOST_SEEDS} seeds count")
    if result.mask.shape[2] != own.patches.count:
        raise BadInput(f"entry {name!r} has masks of {result.mask.shape[2]} patches: {own.patches.count} are played")
    game, bounds, at = own.game_at(ratio), (0, 1 << 24), result.manifest.get("trained_at")
    if at is not None and not (isinstance(at, float) and 0 < at < 1):
        raise BadInput(f"entry {name!r} states that it was trained at {at!r}: a ratio is a share")
    if (result.mask.sum(2) != game.budget).any():
        raise BadInput(f"entry {name!r} has a mask that does not hide {game.budget} of {own.patches.count} patches")
    for told in (result.queries, result.seconds):
        if not ((told >= bounds[0]) & (told < bounds[1])).all():
            raise BadInput(f"entry {name!r} states queries or seconds outside {bounds}")
    played = np.empty_like(result.reward)
    index = np.arange(images)
    with torch.inference_mode():
        for run in range(runs):
            for part in np.array_split(index, -(-images // 64)):
                mask = torch.from_numpy(result.mask[run, part]).view(-1, *own.patches.grid)
                played[run, part] = game.evaluate(own.fetch(part), mask).reward.double().numpy()
    if not np.allclose(played, result.reward, rtol=_TOLERANCE, atol=1e-5):
        far = int(np.abs(played - result.reward).max(0).argmax())
        raise BadInput(
            f"entry {name!r} does not reproduce: its masks of image {far} bring another reward than it states"
        )
    cover = own.lesion_cover(np.tile(index, runs), result.mask.reshape(-1, *own.patches.grid))
    lesions = np.full(played.shape, np.nan) if cover is None else cover.reshape(played.shape)
    return replace(result, agent=name, reward=played, lesion_cover=lesions)


def _rounded(result: Result) -> Result:
    """Six digits of what is stated, so that an entry stays small."""
    each = {name: np.round(getattr(result, name), 6) for name in ("reward", "lesion_cover", "seconds", "queries")}
    return replace(result, **each)


def _section(scores: Scores, ratio: float, entries: dict[str, Entry]) -> list[str]:
    """The tables of one environment and ratio."""
    headings = ("agent", "runs", "points", "IQM", "lesion", "agrees", "queries", "ms", "trained at", "how")
    told = [f"## {scores.manifest['game']['env']}, {ratio:.0%} hidden", tables.caption(scores, ratio)]
    for track, lines in tables.by_track(scores.of(ratio)).items():
        cells = [{**tables.row(line, None), "how": entries[line.agent].method} for line in lines]
        told += [f"### Track: {track}", markdown.table(headings, [[row[name] for name in headings] for row in cells])]
    told += tables.remarks(scores, ratio)
    compared = (
        "Row minus column in points, and the probability that a run of the row beats one of the column on an image:"
    )
    return [*told, compared, tables.matrix(scores, ratio)]
