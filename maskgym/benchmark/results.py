"""A result: the runs of one agent on the images of one game, image by image, and what it was made by."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from maskgym.errors import BadInput
from maskgym.files import write_text

NAME = "results.json"
MODES = ("deterministic", "sampled")
_EACH = ("reward", "lesion_cover", "seconds", "queries")  # one number a run and image


@dataclass(frozen=True)
class Result:
    """One agent at one ratio, played in one way: S runs on n images."""

    agent: str
    """Its spec, as it was named."""
    ratio: float
    mode: str
    """deterministic: its best. sampled: as while it learns."""
    seeds: tuple[int, ...]
    reward: np.ndarray  # (S, n) float64
    mask: np.ndarray  # (S, n, N) bool, True = hidden
    lesion_cover: np.ndarray  # (S, n) share of the lesion patches hidden; NaN where an image has none
    seconds: np.ndarray  # (S, n) the agent took for an image, the batch's time over its size
    queries: np.ndarray  # (S, n) of the network; a forward is one, a backward two more
    white_box: bool = False
    """Did it go backward through the network?"""
    patch_reward: np.ndarray | None = None  # (S, n, N) float32; only of what was just played
    manifest: dict[str, Any] = field(default_factory=dict)
    """The agent's code, its weights, the ratio it was trained at."""

    def encode(self) -> dict[str, Any]:
        """Write it as JSON can hold it; masks are packed to a bit a patch."""
        each = {name: _plain(getattr(self, name)) for name in _EACH}
        return {
            "agent": self.agent,
            "ratio": self.ratio,
            "mode": self.mode,
            "seeds": list(self.seeds),
            **each,
            "white_box": self.white_box,
            "patches": self.mask.shape[2],
            "mask": base64.b64encode(np.packbits(self.mask, axis=2).tobytes()).decode(),
            "manifest": self.manifest,
        }


def decode(told: dict[str, Any]) -> Result:
    """Read what `encode` wrote; whatever is wrong with it is a ValueError of one sentence."""
    try:
        seeds, patches = tuple(int(seed) for seed in told["seeds"]), int(told["patches"])
        each = {name: _array(told[name]) for name in _EACH}
        shape = each["reward"].shape
        packed = base64.b64decode(told["mask"], validate=True)
        if len(shape) != 2 or len(seeds) != shape[0] or any(array.shape != shape for array in each.values()):
            raise ValueError(f"{len(seeds)} seeds and arrays of {[array.shape for array in each.values()]}")
        if not 0 < patches < 1 << 20 or len(packed) != shape[0] * shape[1] * -(-patches // 8):
            raise ValueError(f"{len(packed)} bytes of masks are not {shape[0]} x {shape[1]} masks of {patches} patches")
        bits = np.frombuffer(packed, np.uint8).reshape(*shape, -1)
        mask = np.unpackbits(bits, axis=2, count=patches).astype(bool)
        white_box, manifest = bool(told["white_box"]), dict(told["manifest"])
        agent, ratio, mode = str(told["agent"]), float(told["ratio"]), str(told["mode"])
    except KeyError as error:
        raise ValueError(f"there is no {error.args[0]!r}") from None
    except (TypeError, binascii.Error, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())[:100]) from None
    if not np.isfinite(each["reward"]).all():
        raise ValueError("a reward is not a finite number")
    return Result(agent, ratio, mode, seeds, mask=mask, white_box=white_box, manifest=manifest, **each)


def join(parts: Sequence[Result]) -> Result:
    """Put the runs of one agent below each other."""
    first = parts[0]
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ("mask", *_EACH)
    }
    seeds = tuple(seed for part in parts for seed in part.seeds)
    white_box = any(part.white_box for part in parts)
    return replace(first, seeds=seeds, white_box=white_box, patch_reward=None, **arrays)


def save(path: Path, results: Sequence[Result], **more: Any) -> None:
    """Write results, and what else belongs to them, whole or not at all."""
    write_text(path, json.dumps({**more, "results": [result.encode() for result in results]}))


def read(folder: Path) -> tuple[list[Result], dict[str, Any]]:
    """Read the results of a folder that `maskgym score` wrote, and what belongs to them."""
    path = folder / NAME if folder.is_dir() else folder
    try:
        told = json.loads(path.read_text())
        return [decode(one) for one in told.pop("results")], told
    except FileNotFoundError:
        raise BadInput(
            f"there are no results in {folder}: write them with `maskgym score ... --out {folder}`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} holds no results or is damaged ({str(error)[:80]}): score again") from error


def write_out(path: Path, text: str) -> None:
    """Write a file that a user named, or say in one line why it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}; choose another --out") from error


def _plain(values: np.ndarray) -> list[list[Any]]:
    """Numbers as JSON has them: nothing stands where there is none."""
    return [[None if value != value else value for value in row] for row in np.asarray(values).tolist()]


def _array(rows: Any) -> np.ndarray:
    return np.array([[np.nan if value is None else value for value in row] for row in rows], float)
