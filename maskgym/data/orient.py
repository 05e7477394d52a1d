"""Volumes turned the way radiologists look at them, and back to the way their file has them.

A volume of a file is (X, Y, Z) with an affine that says where its axes point. Upright, it is (D, H, W): foot to head,
front to back, right to left. Only axes are swapped and flipped; no voxel changes its value.
"""

from __future__ import annotations

import numpy as np


def upright(pixels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Turn a volume (X, Y, Z, C) of a file to (C, D, H, W)."""
    from nibabel.orientations import apply_orientation

    return np.ascontiguousarray(apply_orientation(pixels, _turn(affine)).transpose(3, 2, 1, 0))


def as_filed(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Turn a volume (D, H, W) back to the (X, Y, Z) of its file."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

    back = ornt_transform(axcodes2ornt(("L", "P", "S")), io_orientation(affine))
    return np.ascontiguousarray(apply_orientation(volume.transpose(2, 1, 0), back))


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Millimetres of a voxel along D, H and W."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    spacing = [0.0, 0.0, 0.0]
    for axis, (goes_to, _) in enumerate(_turn(affine)):
        spacing[2 - int(goes_to)] = float(sizes[axis])
    return spacing[0], spacing[1], spacing[2]


def _turn(affine: np.ndarray) -> np.ndarray:
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    return np.asarray(ornt_transform(io_orientation(affine), axcodes2ornt(("L", "P", "S"))))
