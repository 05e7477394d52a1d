"""How well one region was segmented: overlap, distance between surfaces, agreement along the boundary.

Everything is measured on a pair of boolean masks: a picture, a volume, or the slices of a patient stacked. A measure
that says nothing about a pair (both masks empty) is None, never a number that could be averaged by mistake.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import sqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from maskgym.dimensions import MAX_POOL

EPSILON = 1e-4  # in the denominators, as in AHM
METRICS = ("DSC", "PPV", "SEN", "IoU", "HD95", "BIoU", "NSD")

Measures = dict[str, float | None]


def measure(
    predicted: np.ndarray,
    truth: np.ndarray,
    spacing: tuple[float, ...] | None = None,
    tolerance: float = 1.0,
    slices: bool = False,
    surfaces: bool = True,
) -> Measures:
    """Measure one region.

    Both masks empty: nothing is defined. Only the truth empty: sensitivity is not defined, HD95 is the diagonal of the
    image, the rest 0. Only the prediction empty: HD95 is the diagonal, the rest 0.

    Args:
        predicted: (H, W), (D, H, W) bool, or with `slices` (S, H, W).
        truth: the same.
        spacing: mm of a pixel along each axis; None counts in pixels.
        tolerance: how far apart two surfaces may be for NSD, in the unit of spacing.
        slices: the first axis counts slices: boundaries are drawn in each of them.
        surfaces: measure boundaries and distances, too; without it they are None.
    """
    spacing = spacing or (1.0,) * truth.ndim
    there, found = bool(truth.any()), bool(predicted.any())
    if not there and not found:
        return dict.fromkeys(METRICS)
    measures: Measures = dict.fromkeys(METRICS) | dict(overlap(predicted, truth))
    if not surfaces:
        return measures if there else measures | {"SEN": None}
    measures["BIoU"] = boundary_iou(predicted, truth, slices)
    if there and found:
        measures["HD95"] = hd95(predicted, truth, spacing)
        measures["NSD"] = nsd(predicted, truth, spacing, tolerance)
    else:
        measures["HD95"], measures["NSD"] = diagonal(truth.shape, spacing), 0.0
    if not there:
        measures["SEN"] = None
    return {name: measures[name] for name in METRICS}


def overlap(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Dice, positive predictive value, sensitivity and intersection over union of two masks.

    >>> overlap(np.array([1, 1, 0], bool), np.array([0, 1, 1], bool))["PPV"].__round__(3)
    0.5
    """
    both, given, wanted = (int(mask.sum()) for mask in (predicted & truth, predicted, truth))
    return {
        "DSC": 2 * both / (given + wanted + EPSILON),
        "PPV": both / (given + EPSILON),
        "SEN": both / (wanted + EPSILON),
        "IoU": both / (given + wanted - both + EPSILON),
    }


def hd95(predicted: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Give the larger of the two 95th percentiles of the distances from one surface to the other; neither is empty."""
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    return float(_by_monai(compute_hausdorff_distance, predicted, truth, spacing, percentile=95))


def nsd(predicted: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...], tolerance: float) -> float:
    """Give the share of both surfaces that lies within the tolerance of the other one."""
    from monai.metrics.surface_dice import compute_surface_dice

    return float(_by_monai(compute_surface_dice, predicted, truth, spacing, class_thresholds=[tolerance]))


def boundary_iou(predicted: np.ndarray, truth: np.ndarray, slices: bool = False) -> float:
    """Intersect the bands along the inside of both boundaries, over their union; with slices, pixels of all pooled."""
    width = boundary_width(truth.shape[1:] if slices else truth.shape)
    masks = torch.from_numpy(np.stack([predicted, truth]))
    if slices:
        masks = masks.flatten(0, 1)
    band, other = boundary(masks, width).chunk(2)
    return float((band & other).sum() / ((band | other).sum() + EPSILON))


def boundary_width(size: tuple[int, ...]) -> int:
    """Say how wide the band is: 2 % of the diagonal, at least a pixel.

    >>> [boundary_width((side, side)) for side in (144, 160, 256, 320)]
    [4, 5, 7, 9]
    """
    return max(1, round(0.02 * diagonal(size, (1.0,) * len(size))))


def boundary(masks: Tensor, width: int) -> Tensor:
    """Cut the band of so many pixels inside the boundary of masks (n, *size) bool; beyond the image is outside.

    Eroding by a square is max-pooling the outside.
    """
    dims = masks.dim() - 1
    outside = F.pad((~masks).float()[:, None], (width,) * (2 * dims), value=1.0)
    return masks & (MAX_POOL[dims](outside, 2 * width + 1, stride=1)[:, 0] > 0)


def diagonal(size: tuple[int, ...], spacing: tuple[float, ...]) -> float:
    """Measure the diagonal of an image, the HD95 of a mask that has nothing to be compared with."""
    return sqrt(sum((side * along) ** 2 for side, along in zip(size, spacing, strict=True)))


def _by_monai(
    function: Callable[..., Tensor],
    predicted: np.ndarray,
    truth: np.ndarray,
    spacing: tuple[float, ...],
    **more: object,
) -> Tensor:
    pair = [torch.from_numpy(np.ascontiguousarray(mask))[None, None].float() for mask in (predicted, truth)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI calls an argument of its own that it will drop
        return function(*pair, include_background=True, spacing=list(spacing), **more)[0, 0]
