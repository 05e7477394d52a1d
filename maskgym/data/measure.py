"""What is measured of a case once, so that any of its slices and crops can be shown without reading the whole.

A `Tone` says how intensities are clipped and which voxels count; what it measures is plain numbers, kept beside the
case in the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from maskgym.data.layouts import Layout
from maskgym.data.spec import Options, numbers

DARK = 0.1  # of the range: what is darker counts as air
BODY = 0.01  # of a slice must be brighter for it to belong to the body's box
PLACES = 2000  # labelled voxels remembered of each class, for crops that are to show one


@dataclass(frozen=True)
class Tone:
    """How the intensities of a case are read."""

    window: tuple[float, float] | None = None
    """Clip to these two values; None: to percentiles."""
    clip: tuple[float, float] = (1, 99)
    """Percentiles of each channel."""
    zscore: str = "all"
    """`all` voxels count, or those that are `nonzero` in the file."""

    @property
    def key(self) -> str:
        """A name for what it measures."""
        bounds = self.clip if self.window is None else self.window
        kind = "percentiles" if self.window is None else "window"
        return f"{kind} {bounds[0]:g} {bounds[1]:g} {self.zscore}"


def tone_of(options: Options, layout: Layout) -> Tone:
    """How a data set's options have its intensities read."""
    low, high = numbers(options.clip, "clip", (2,))
    if options.window:
        bottom, top = numbers(options.window, "window", (2,))
        return Tone((bottom, top), (low, high), options.zscore)
    return Tone(layout.window, (low, high), options.zscore)


def measure(pixels: np.ndarray, tone: Tone, lone_slice: bool = False) -> dict[str, Any]:
    """Measure a case (C, *shape); dark is judged against its own range, in a lone 8-bit slice against 0 to 255.

    Returns lists: of each channel `low` and `high` (the clip), `mean` and `deviation` (of what is clipped and
    counted); of each axis `body`, the share of every slice that is brighter than the darkest tenth of the range,
    in the channel where it is largest (-1: the slice is flat in all channels). `share` is that of the whole case.
    """
    told: dict[str, Any] = {"low": [], "high": [], "mean": [], "deviation": []}
    shares, flat, whole = [], [], []
    for layer in pixels:
        values = np.asarray(layer)
        low, high, mean, deviation = _channel(values, tone)
        for name, value in zip(told, (low, high, mean, deviation), strict=True):
            told[name].append(value)
        darkest, brightest = (0.0, 255.0) if lone_slice else (max(low, values.min()), min(high, values.max()))
        bright = values > darkest + DARK * (brightest - darkest)
        others = [tuple(other for other in range(values.ndim) if other != axis) for axis in range(values.ndim)]
        whole.append(float(bright.mean()))
        shares.append([bright.mean(axis) for axis in others])
        flat.append([values.max(axis).clip(low, high) <= values.min(axis).clip(low, high) for axis in others])
    told |= {"share": max(whole), "body": []}
    for axis in range(pixels.ndim - 1):
        share = np.max([of[axis] for of in shares], axis=0)
        share[np.all([of[axis] for of in flat], axis=0)] = -1
        told["body"].append([round(float(value), 5) for value in share])
    return told


def box(told: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    """Give the box round the body: first and end slice of each axis; all of it where nothing is bright."""
    bounds = []
    for shares in told["body"]:
        inside = np.flatnonzero(np.asarray(shares) >= BODY)
        bounds.append((int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, len(shares)))
    return tuple(bounds)


def places(labels: np.ndarray) -> np.ndarray:
    """Choose labelled voxels, up to `PLACES` a class: rows (class, *index) int32, the same at every call."""
    rng = np.random.default_rng(0)
    flat = labels.ravel()
    marked = np.flatnonzero(flat)
    classes = flat[marked]
    rows = []
    for value in np.unique(classes):
        of_class = marked[classes == value]
        if len(of_class) > PLACES:
            of_class = np.sort(rng.choice(of_class, PLACES, replace=False))
        rows.append(np.stack([np.full(len(of_class), value), *np.unravel_index(of_class, labels.shape)], axis=1))
    return np.concatenate(rows).astype(np.int32) if rows else np.zeros((0, 1 + labels.ndim), np.int32)


def marked(labels: np.ndarray) -> list[list[int]]:
    """Say of each axis which slices hold a label."""
    axes = range(labels.ndim)
    return [np.flatnonzero(labels.any(tuple(o for o in axes if o != axis))).tolist() for axis in axes]


def _channel(values: np.ndarray, tone: Tone) -> tuple[float, float, float, float]:
    """Clip bounds, mean and deviation of one channel."""
    kinds, counts = _histogram(values) if values.dtype.kind in "iu" else (values.ravel(), None)
    if tone.zscore == "nonzero" and (seen := kinds != 0).any():
        kinds, counts = kinds[seen], None if counts is None else counts[seen]
    if tone.window is not None:
        low, high = tone.window
    else:
        low, high = np.percentile(kinds, tone.clip) if counts is None else _percentiles(kinds, counts, tone.clip)
        if low == high:  # nearly all background: percentiles would flatten what there is
            low, high = values.min(), values.max()
    mean, deviation = _moments(kinds, counts, float(low), float(high))
    return float(low), float(high), mean, deviation


def _histogram(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole numbers there are, in order, and how often each is."""
    first = int(values.min())
    counts = np.bincount(values.ravel().astype(np.int32) - first)
    kinds = np.flatnonzero(counts)
    return kinds + first, counts[kinds]


def _percentiles(kinds: np.ndarray, counts: np.ndarray, shares: tuple[float, float]) -> tuple[float, float]:
    """Percentiles with linear interpolation, as `np.percentile` of the values spelled out."""
    ends = np.cumsum(counts)
    out = []
    for share in shares:
        rank = share / 100 * (ends[-1] - 1)
        low, high = (kinds[np.searchsorted(ends, side, side="right")] for side in (np.floor(rank), np.ceil(rank)))
        out.append(float(low) + (float(high) - float(low)) * (rank - np.floor(rank)))
    return out[0], out[1]


def _moments(kinds: np.ndarray, counts: np.ndarray | None, low: float, high: float) -> tuple[float, float]:
    """Mean and deviation of the clipped values; a deviation of mere rounding is 0."""
    middle = (low + high) / 2  # taken off first, so that squares stay small
    total, first, second, largest = 0, 0.0, 0.0, 0.0
    for start in range(0, len(kinds), 1 << 20):  # in pieces: doubles of a whole volume are gigabytes
        piece = slice(start, start + (1 << 20))
        values = kinds[piece].astype(np.float64).clip(low, high)
        weights = np.ones(len(values)) if counts is None else counts[piece]
        largest = max(largest, float(np.abs(values).max()))
        values -= middle
        total, first, second = (
            total + int(weights.sum()), first + float(weights @ values), second + float(weights @ np.square(values)),
        )  # fmt: skip
    mean = first / total
    deviation = float(np.sqrt(max(second / total - mean**2, 0.0)))
    return mean + middle, 0.0 if deviation <= 1e-6 * largest else deviation
