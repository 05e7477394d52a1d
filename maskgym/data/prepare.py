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
    scaled = np.stack([_clipped(layer, seen, found) for layer, seen in zip(pixels, counted, strict=True)])
    if spacing is not None and len(size) == 2:
        spacing = tuple(along for axis, along in enumerate(spacing) if axis != 2 - options.axis)
        stacks, names = _cut(scaled, counted, labels, options.axis, case.id)
    else:
        stacks, names = (scaled[None], counted[None], None if labels is None else labels[None]), [case.id]
    keep = np.ones(len(names), bool)
    if len(size) == 2 and (sample.spacing is not None or found.layout.slices):
        keep = _has_body(stacks[0], options.body, eight_bit_slice=_is_eight_bit(sample, found))
    flat = np.array([all(layer.min() == layer.max() for layer in image) for image in stacks[0]])
    wanted = np.flatnonzero(keep & ~flat)
    images = np.empty((len(wanted), len(pixels), *size), np.float32)
    for row, index in enumerate(wanted):
        image, seen = fit(stacks[0][index], size, options.fit), None
        if options.zscore == "nonzero":
            seen = fit(stacks[1][index], size, options.fit, nearest=True)
        images[row] = zscore(image, seen)
    out = None
    if stacks[2] is not None:
        out = np.zeros((len(wanted), *size), np.uint8)
        for row, index in enumerate(wanted):
            out[row] = fit(stacks[2][index][None], size, options.fit, nearest=True)[0]
    if spacing is not None and options.fit == "resize":
        old = stacks[0].shape[2:]
        spacing = tuple(along * had / has for along, had, has in zip(spacing, old, size, strict=True))
    ids = tuple(names[index] for index in wanted)
    return Prepared(images, out, ids, spacing, int((~keep).sum()), int((keep & flat).sum()))


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
    """Mean 0 and variance 1 for each channel of (C, *size), over all pixels or over those counted."""
    out = np.zeros_like(image, np.float32)
    for channel, layer in enumerate(image):
        seen = layer if counted is None or not counted[channel].any() else layer[counted[channel]]
        mean, deviation = float(seen.mean(dtype=np.float64)), float(seen.std(dtype=np.float64))
        if deviation > 1e-6 * max(1.0, abs(mean)):  # below it there is only rounding
            out[channel] = (layer - mean) / deviation
    return out


def _to_spacing(
    pixels: np.ndarray, labels: np.ndarray | None, spacing: tuple[float, ...], options: Options
) -> tuple[np.ndarray, np.ndarray | None, tuple[float, ...]]:
    x, *rest = numbers(options.spacing, "spacing", (1, 3))
    wanted = (rest[1], rest[0], x) if rest else (x, x, x)  # given as x, y, z; arrays are z, y, x
    if min(wanted) <= 0:
        raise BadInput(f"spacing={options.spacing} should be above 0 mm")
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


def _cut(
    pixels: np.ndarray, counted: np.ndarray, labels: np.ndarray | None, axis: int, case: str
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray | None], list[str]]:
    """Slices (n, C, H, W) of a volume across a patient axis, head or front up."""
    place = 3 - axis  # volumes are (C, z, y, x)

    def slices(volume: np.ndarray) -> np.ndarray:
        stack = np.moveaxis(volume, place, 0)
        return stack if axis == 2 else stack[:, :, ::-1]  # z runs down the rows, so turn the head up

    names = [f"{case}_{'xyz'[axis]}{index:03d}" for index in range(pixels.shape[place])]
    cut_labels = None if labels is None else slices(labels[None])[:, 0]
    return (slices(pixels), slices(counted), cut_labels), names


def _is_eight_bit(sample: Sample, found: Found) -> bool:
    return sample.spacing is None and found.layout.window is None and 1 < sample.pixels.max() <= 255


def _has_body(stack: np.ndarray, share: float, eight_bit_slice: bool) -> np.ndarray:
    """Which slices (n, C, H, W) show something: a share of their pixels is brighter than the dark end of the range.

    The range is that of the whole volume; a slice that comes as an 8-bit picture of its own stands in 0 to 255.
    """
    axes = (0, *range(2, stack.ndim))
    low = np.zeros(stack.shape[1]) if eight_bit_slice else stack.min(axis=axes)
    high = np.full(stack.shape[1], 255.0) if eight_bit_slice else stack.max(axis=axes)
    bright = stack > (low + DARK * (high - low)).reshape(1, -1, 1, 1)
    shares = bright.mean(axis=(2, 3)).max(axis=1)  # any channel will do
    return (shares >= share) & (shares > 0) if share > 0 else np.ones(len(stack), bool)
