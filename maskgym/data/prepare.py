"""From a case to the images of the game: resampled, clipped, cut, brought to size, z-scored. Labels follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskgym.data.case import Sample
from maskgym.data.find import Case, Found
from maskgym.data.spec import Options, numbers
from maskgym.errors import BadInput

VERSION = 1  # raise when the same files come out as other numbers: caches depend on it
DARK = 0.1  # of the range: what is darker counts as air


@dataclass(frozen=True)
class Prepared:
    """The images of one case."""

    images: np.ndarray  # (n, C, *size) float32
    labels: np.ndarray | None  # (n, *size) uint8
    ids: tuple[str, ...]
    spacing: tuple[float, ...] | None  # mm of a pixel of the images, where the file tells
    without_body: int  # slices left out because there is next to nothing on them
    constant: int  # images left out because they are one flat value


def prepare(sample: Sample, case: Case, found: Found, size: tuple[int, ...]) -> Prepared:
    """All images that one case gives at one size."""
    options, pixels, labels, spacing = found.spec.options, sample.pixels, sample.labels, sample.spacing
    if len(size) == 3 and spacing is None:
        raise BadInput(f"{found.spec.layout} holds pictures, so size {size} should be (H, W)")
    if options.spacing and spacing is not None:
        pixels, labels, spacing = _to_spacing(pixels, labels, spacing, options)
    counted = pixels != 0  # before clipping moves it
    pixels = np.stack([_clipped(layer, seen, found) for layer, seen in zip(pixels, counted, strict=True)])
    if spacing is not None and len(size) == 2:
        names = [f"{case.id}_{'xyz'[options.axis]}{index:03d}" for index in range(pixels.shape[3 - options.axis])]
        pixels, counted = _cut(pixels, options.axis), _cut(counted, options.axis)
        labels = None if labels is None else _cut(labels[None], options.axis)[:, 0]
        spacing = tuple(along for axis, along in enumerate(spacing) if axis != 2 - options.axis)
    else:
        names, pixels, counted = [case.id], pixels[None], counted[None]
        labels = None if labels is None else labels[None]

    # From here on: pixels and counted (n, C, *), labels (n, *)
    are_slices = len(size) == 2 and (sample.spacing is not None or found.layout.slices)
    keep = _has_body(pixels, sample, options.body) if are_slices else np.ones(len(names), bool)
    images, marks, ids, constant = [], [], [], 0
    for index in np.flatnonzero(keep):
        seen = fit(counted[index], size, options.fit, nearest=True) if options.zscore == "nonzero" else None
        image = zscore(fit(pixels[index], size, options.fit), seen)
        if not image.any():
            constant += 1
            continue
        images.append(image)
        ids.append(names[index])
        if labels is not None:
            marks.append(fit(labels[index][None], size, options.fit, nearest=True)[0])
    if spacing is not None and options.fit == "resize":
        spacing = tuple(along * had / has for along, had, has in zip(spacing, pixels.shape[2:], size, strict=True))
    return Prepared(
        images=np.array(images, np.float32).reshape(-1, pixels.shape[1], *size),
        labels=None if labels is None else np.array(marks, np.uint8).reshape(-1, *size),
        ids=tuple(ids),
        spacing=spacing,
        without_body=int((~keep).sum()),
        constant=constant,
    )


def resize(array: np.ndarray, size: tuple[int, ...], nearest: bool = False) -> np.ndarray:
    """Bring (C, *old) to (C, *size): linear with smoothing where it shrinks, or the nearest voxel for labels."""
    for axis, (old, new) in enumerate(zip(array.shape[1:], size, strict=True), start=1):
        if old == new:
            continue
        centres = (np.arange(new) + 0.5) * old / new - 0.5  # of the new voxels, in old ones
        if nearest:
            array = np.take(array, np.clip(np.rint(centres), 0, old - 1).astype(int), axis)
            continue
        reach = max(1.0, old / new)
        weights = np.clip(1 - np.abs(np.arange(old) - centres[:, None]) / reach, 0, None)  # (new, old)
        weights /= weights.sum(1, keepdims=True)
        array = np.moveaxis(np.tensordot(array, weights.astype(np.float32), axes=(axis, 1)), -1, axis)
    return array


def pad_or_crop(array: np.ndarray, size: tuple[int, ...], background: bool = False) -> np.ndarray:
    """Bring (C, *old) to (C, *size) about the centre; added is each channel's lowest value, or 0 as the background."""
    fill = np.zeros(len(array)) if background else array.reshape(len(array), -1).min(1)
    out = np.broadcast_to(fill.reshape(-1, *[1] * len(size)), (len(array), *size)).astype(array.dtype)
    source, target = [slice(None)], [slice(None)]
    for old, new in zip(array.shape[1:], size, strict=True):
        common = min(old, new)
        source.append(slice((old - common) // 2, (old - common) // 2 + common))
        target.append(slice((new - common) // 2, (new - common) // 2 + common))
    out[tuple(target)] = array[tuple(source)]
    return out


def fit(array: np.ndarray, size: tuple[int, ...], how: str, nearest: bool = False) -> np.ndarray:
    """Bring (C, *old) to (C, *size) in one of the two ways."""
    return pad_or_crop(array, size, background=nearest) if how == "pad" else resize(array, size, nearest)


def zscore(image: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """Mean 0 and variance 1 for each channel of (C, *size), over all pixels or some; a flat one is all 0."""
    out = np.zeros_like(image, np.float32)
    for channel, layer in enumerate(image):
        seen = layer if counted is None or not counted[channel].any() else layer[counted[channel]]
        mean, deviation = float(seen.mean(dtype=np.float64)), float(seen.std(dtype=np.float64))
        if deviation > 1e-6 * float(np.abs(layer).max()):  # below it there is only rounding
            out[channel] = (layer - mean) / deviation
    return out


def _to_spacing(
    pixels: np.ndarray, labels: np.ndarray | None, spacing: tuple[float, ...], options: Options
) -> tuple[np.ndarray, np.ndarray | None, tuple[float, ...]]:
    x, *rest = numbers(options.spacing, "spacing", (1, 3))
    wanted = (rest[1], rest[0], x) if rest else (x, x, x)  # given as x, y, z; arrays are z, y, x
    old = pixels.shape[1:]
    size = tuple(max(1, round(n * has / want)) for n, has, want in zip(old, spacing, wanted, strict=True))
    now = tuple(n * has / m for n, has, m in zip(old, spacing, size, strict=True))  # a whole number of voxels
    return resize(pixels, size), None if labels is None else resize(labels[None], size, nearest=True)[0], now


def _clipped(layer: np.ndarray, counted: np.ndarray, found: Found) -> np.ndarray:
    """One channel of a file, clipped to the window or to percentiles."""
    options = found.spec.options
    if options.window:
        low, high = numbers(options.window, "window", (2,))
    elif found.layout.window:
        low, high = found.layout.window
    else:
        seen = layer[counted] if options.zscore == "nonzero" and counted.any() else layer
        low, high = np.percentile(seen, numbers(options.clip, "clip", (2,)))
        if low == high:  # nearly all background: percentiles would flatten what there is
            low, high = layer.min(), layer.max()
    return np.clip(layer, low, high)


def _cut(volume: np.ndarray, axis: int) -> np.ndarray:
    """Slices (n, C, H, W) of a volume (C, z, y, x) across a patient axis, with the head or the front up."""
    stack = np.moveaxis(volume, 3 - axis, 0)
    return stack if axis == 2 else stack[:, :, ::-1]  # z runs down the rows, so turn the head up


def _has_body(stack: np.ndarray, sample: Sample, share: float) -> np.ndarray:
    """Which slices (n, C, H, W) show something: a share of their pixels is brighter than the dark end of the range.

    The range is that of the whole volume; an 8-bit slice that comes alone is judged against 0 to 255.
    """
    if share == 0:
        return np.ones(len(stack), bool)
    low, high = stack.min(axis=(0, 2, 3)), stack.max(axis=(0, 2, 3))
    if sample.spacing is None and sample.eight_bit:
        low, high = np.zeros_like(low), np.full_like(high, 255)
    bright = stack > (low + DARK * (high - low))[:, None, None]
    return np.asarray(bright.mean(axis=(2, 3)).max(axis=1) >= share)  # any channel will do
