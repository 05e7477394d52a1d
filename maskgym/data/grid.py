"""From one regular grid to another, axis by axis, reading no more of an array than the window asked for.

Every change of grid here is separable: a box of the old grid is stretched over `grid` voxels an axis, and of those a
window is taken. Voxel centres map as centres, so that stretching back lands where it came from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SLAB = 32  # slices worked on at once, so that a whole volume is never in memory as floats

Box = tuple[tuple[int, int], ...]  # first and end voxel of each axis


def window(
    array: np.ndarray,
    box: Box,
    grid: Sequence[int],
    corner: Sequence[int],
    size: Sequence[int],
    *,
    fill: np.ndarray | float = 0.0,
    clip: tuple[np.ndarray, np.ndarray] | None = None,
    nearest: bool = False,
) -> np.ndarray:
    """Cut a window (C, *size) out of `box` of an array (C, *old), as if the box had been brought to `grid` first.

    Args:
        array: (C, *old), best memory-mapped: only what the window shows is read.
        box: the part of the array that is looked at.
        grid: voxels of the box along each axis after the change.
        corner: where the window starts on that grid; it may lie outside.
        size: of the window.
        fill: of what lies outside the grid, one value or one a channel.
        clip: lowest and highest value of each channel, applied before values are mixed.
        nearest: take the nearest voxel (labels); else linear, with smoothing where it shrinks.
    """
    spans = [(max(at, 0), min(at + n, new)) for at, n, new in zip(corner, size, grid, strict=True)]
    kind = array.dtype if nearest else np.dtype(np.float32)
    out = np.empty((len(array), *size), kind)
    out[:] = np.reshape(np.asarray(fill, kind), (-1,) + (1,) * len(size))
    if any(start >= end for start, end in spans):
        return out
    rows = [_rows(end - first, new, *span, nearest) for (first, end), new, span in zip(box, grid, spans, strict=True)]
    cut = tuple(slice(first + low, first + high) for (first, _), (low, high, _) in zip(box, rows, strict=True))
    first, *inner = (how for _, _, how in rows)
    part = array[:, *cut]
    slabs = [
        _inner(np.asarray(part[:, start : start + SLAB]).astype(kind, copy=clip is not None), clip, inner, nearest)
        for start in range(0, part.shape[1], SLAB)
    ]
    block = _along(np.concatenate(slabs, axis=1) if len(slabs) > 1 else slabs[0], first, 1, nearest)
    into = tuple(slice(start - at, end - at) for (start, end), at in zip(spans, corner, strict=True))
    out[:, *into] = block
    return out


def resize(array: np.ndarray, size: Sequence[int], nearest: bool = False) -> np.ndarray:
    """Bring (C, *old) to (C, *size)."""
    box = tuple((0, n) for n in array.shape[1:])
    return window(array, box, size, (0,) * len(size), size, nearest=nearest)


def centred(grid: Sequence[int], size: Sequence[int]) -> tuple[int, ...]:
    """Give the corner of a window about the centre of a grid; negative where the window is the larger."""
    sides = zip(grid, size, strict=True)
    return tuple((have - want) // 2 if have >= want else -((want - have) // 2) for have, want in sides)


def _rows(old: int, new: int, start: int, end: int, nearest: bool) -> tuple[int, int, np.ndarray | None]:
    """Say which old voxels the new ones `start` to `end` need, and how: by index, by weights, or (None) as they are."""
    if old == new:
        return start, end, None
    centres = (np.arange(start, end) + 0.5) * (old / new) - 0.5  # of the new voxels, in old ones
    if nearest:
        index = np.clip(np.rint(centres), 0, old - 1).astype(int)
        return int(index[0]), int(index[-1]) + 1, index - index[0]
    reach = max(1.0, old / new)
    low = max(0, int(np.floor(centres[0] - reach)))
    high = min(old, int(np.ceil(centres[-1] + reach)) + 1)
    weights = np.clip(1 - np.abs(np.arange(low, high) - centres[:, None]) / reach, 0, None)  # (new, old)
    return low, high, (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _inner(
    slab: np.ndarray, clip: tuple[np.ndarray, np.ndarray] | None, how: list[np.ndarray | None], nearest: bool
) -> np.ndarray:
    """Clip a slab and bring all its axes but the first to the new grid."""
    if clip is not None:
        low, high = (np.reshape(bound, (-1,) + (1,) * (slab.ndim - 1)) for bound in clip)
        np.clip(slab, low, high, out=slab)
    for axis, of_axis in enumerate(how, start=2):
        slab = _along(slab, of_axis, axis, nearest)
    return slab


def _along(block: np.ndarray, how: np.ndarray | None, axis: int, nearest: bool) -> np.ndarray:
    if how is None:
        return block
    if nearest:
        return np.take(block, how, axis)
    return np.moveaxis(np.tensordot(block, how, axes=(axis, 1)), -1, axis)
