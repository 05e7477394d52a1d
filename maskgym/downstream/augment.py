"""What training images and their labels go through besides flips; all randomness comes from the generator handed in."""

from __future__ import annotations

import threading
from math import pi
from typing import Any, Literal

import numpy as np

_OWN = threading.local()  # MONAI's transforms remember their last draw, so each thread has its own


class Augment:
    """Change an image and its labels at random.

    Args:
        how: `light` scales and shifts intensities and adds noise, a little. `full` is what nnU-Net does: rotation,
            scale, noise, blur, brightness, contrast and gamma, by MONAI.
        dims: axes of the images.
    """

    def __init__(self, how: Literal["light", "full"] | str, dims: int):
        self.how, self.dims = how, dims

    def __call__(
        self, image: np.ndarray, label: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Change an image (C, *size) float32 and its labels (*size)."""
        return light(image, rng, label) if self.how == "light" else full(image, rng, label)


def light(
    image: np.ndarray, rng: np.random.Generator, label: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Scale and shift each channel by up to a tenth, and add noise of up to a tenth of a deviation."""
    each = (len(image), *[1] * (image.ndim - 1))
    scale, shift = rng.uniform(0.9, 1.1, each), rng.uniform(-0.1, 0.1, each)
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0.0, 0.1))
    return image * scale.astype(np.float32) + shift.astype(np.float32) + noise, label


def full(image: np.ndarray, rng: np.random.Generator, label: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Do what nnU-Net does, with its odds and ranges."""
    transform = _full(image.ndim - 1)
    transform.set_random_state(seed=int(rng.integers(2**31)))
    truth = np.zeros(image.shape[1:], np.uint8) if label is None else np.array(label)
    told = transform({"image": np.array(image), "label": truth[None]})
    changed = np.asarray(told["image"], np.float32)
    return changed, None if label is None else np.asarray(told["label"])[0].astype(label.dtype)


def _full(dims: int) -> Any:
    """Build the transforms, once a thread."""
    kept = _OWN.__dict__.setdefault("full", {})
    if dims not in kept:
        from monai.transforms import (
            Compose,
            RandAdjustContrastd,
            RandAffined,
            RandGaussianNoised,
            RandGaussianSmoothd,
            RandScaleIntensityd,
            RandScaleIntensityFixedMeand,
        )

        both, angles = ("image", "label"), (pi,) if dims == 2 else (pi / 6,) * 3
        zoom, mode = ((-0.3, 0.4),) * dims, ("bilinear", "nearest")
        smooth: Any = {f"sigma_{axis}": (0.5, 1.0) for axis in "xyz"[:dims]}
        kept[dims] = Compose(
            [
                RandAffined(both, prob=0.2, rotate_range=angles, mode=mode, padding_mode="zeros"),
                RandAffined(both, prob=0.2, scale_range=zoom, mode=mode, padding_mode="zeros"),
                RandGaussianNoised("image", prob=0.1, std=0.3),
                RandGaussianSmoothd("image", prob=0.2, **smooth),
                RandScaleIntensityd("image", factors=0.25, prob=0.15),
                RandScaleIntensityFixedMeand("image", factors=0.25, prob=0.15),
                RandAdjustContrastd("image", prob=0.1, gamma=(0.7, 1.5), invert_image=True, retain_stats=True),
                RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
            ]
        )
    return kept[dims]
