"""Intensities brought to a common scale, channel by channel."""

from __future__ import annotations

import numpy as np


def zscore(image: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """Mean 0 and variance 1 for each channel of (C, *size), over all pixels or some; a flat one is all 0."""
    out = np.zeros_like(image, np.float32)
    for channel, layer in enumerate(image):
        seen = layer if counted is None or not counted[channel].any() else layer[counted[channel]]
        mean, deviation = float(seen.mean(dtype=np.float64)), float(seen.std(dtype=np.float64))
        if deviation > 1e-6 * float(np.abs(layer).max()):  # below it there is only rounding
            out[channel] = (layer - mean) / deviation
    return out


def rescaled(image: np.ndarray, middle: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Subtract one number (C,) from each channel of (C, *size), in place, and divide by another; by 0 gives 0."""
    along = (-1,) + (1,) * (image.ndim - 1)
    image -= middle.reshape(along)
    image *= np.divide(1, half, out=np.zeros_like(half), where=half > 0).reshape(along)
    return image
