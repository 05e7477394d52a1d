"""One case opened: its files read, compared and turned upright; everything wrong with them becomes a `Problem`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskgym.data.find import CaseFiles, Found, Problem
from maskgym.data.orient import upright
from maskgym.data.read import Picture, read
from maskgym.errors import BadInput

SAME_PLACE = 0.01  # mm; affines closer than this in every entry are one
GRAY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class Sample:
    """A case as arrays. A volume is (D, H, W) = foot to head, front to back, right to left, as it is looked at."""

    pixels: np.ndarray  # (C, H, W) or (C, D, H, W), in the units and the number type of the file
    labels: np.ndarray | None  # (H, W) or (D, H, W) uint8, 0 = background
    affine: np.ndarray | None  # (4, 4), of the file, before it was turned; None for pictures
    eight_bit: bool  # stored as 0 to 255


def examine(case: CaseFiles, found: Found) -> tuple[Sample | None, list[Problem]]:
    """Open a case and collect everything wrong with it; there is a sample where nothing is fatal."""
    problems: list[Problem] = []
    pictures: list[tuple[Path, Picture]] = []
    for path in (found.spec.folder / image for image in case.images):
        if (picture := _read(path, problems)) is not None:
            _check_values(path, picture, found, problems)
            pictures.append((path, picture))
    if not pictures:
        return None, problems
    first_path, first = pictures[0]
    if found.layout.one_grid:
        for path, picture in pictures[1:]:
            _check_grid(path, picture, first_path, first, problems)
    labels = _labels(case, found, first_path, first, problems)
    if any(problem.fatal for problem in problems):
        return None, problems
    layers = [_narrow(_on_grid(picture, first, nearest=False)) for _, picture in pictures]
    if not found.layout.file_each:
        layers = [_keep_channels(layers[0], found)]
    pixels, eight_bit = np.concatenate(layers, axis=-1), first.pixels.dtype == np.uint8
    if first.affine is None:
        return Sample(np.moveaxis(pixels, -1, 0), labels, None, eight_bit), problems
    if labels is not None:
        labels = upright(labels[..., None], first.affine)[0]
    return Sample(upright(pixels, first.affine), labels, first.affine, eight_bit), problems


def _narrow(pixels: np.ndarray) -> np.ndarray:
    """The same values in the smallest usual type: a store of 16-bit volumes is half as large as one of floats."""
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8)
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 2:
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype.kind in "iu" and (info := np.iinfo(np.int16)).min <= pixels.min() and pixels.max() <= info.max:
        return pixels.astype(np.int16)
    return pixels.astype(np.float32, copy=False)


def _read(path: Path, problems: list[Problem]) -> Picture | None:
    try:
        return read(path)
    except BadInput as error:
        problems.append(Problem(path, str(error).removeprefix(f"{path}: ")))
        return None


def _check_values(path: Path, picture: Picture, found: Found, problems: list[Problem]) -> None:
    pixels, layout = picture.pixels, found.layout
    expected = 1 if layout.file_each else len(layout.channels)
    mixed = layout.gray or found.channels == ("gray",)  # one channel whatever the file holds
    if pixels.shape[-1] != expected and not (mixed and pixels.shape[-1] in (1, 3)):
        fix = "save all alike, or add modality=gray" if not picture.is_volume else "save all alike"
        problems.append(Problem(path, f"has {pixels.shape[-1]} channels where the set has {expected}: {fix}"))
    if pixels.dtype.kind == "f" and (bad := int(pixels.size - np.isfinite(pixels).sum())):
        problems.append(
            Problem(path, f"holds {bad} voxels that are NaN or Inf: repair it, or leave it out with bad=skip")
        )
    elif not layout.slices and pixels.min() == pixels.max():
        problems.append(Problem(path, f"is constant ({pixels.flat[0]}) and is left out: look at it", fatal=False))


def _check_grid(path: Path, picture: Picture, first_path: Path, first: Picture, problems: list[Problem]) -> None:
    other = f"{first_path.parent.name}/{first_path.name}"  # a label often bears the name of its image
    shape, expected = picture.pixels.shape[:-1], first.pixels.shape[:-1]
    if shape != expected:
        problems.append(Problem(path, f"has the shape {shape} but {other} has {expected}: resample one of the two"))
    elif picture.affine is not None and first.affine is not None:
        apart = float(np.abs(picture.affine - first.affine).max())
        if apart > SAME_PLACE:
            what = f"its affine differs from that of {other} by up to {apart:.3g}: resample one of the two"
            problems.append(Problem(path, what))


def _labels(
    case: CaseFiles, found: Found, first_path: Path, first: Picture, problems: list[Problem]
) -> np.ndarray | None:  # (H, W) or (X, Y, Z) uint8
    """All label files of a case in one map of the classes kept; later structures lie over earlier ones."""
    if not found.layout.label:
        return None
    merged = np.zeros(first.pixels.shape[:-1], np.uint8)
    for structure, below in case.labels:
        path = found.spec.folder / below
        before = len(problems)
        if (picture := _read(path, problems)) is None:
            continue
        if found.layout.one_grid and not picture.sparse:
            _check_grid(path, picture, first_path, first, problems)
        values = picture.pixels.max(axis=-1)  # a mask saved in colour
        _check_labels(path, values, structure, found, problems)
        if len(problems) == before:
            on_grid = _on_grid(Picture(values[..., None], picture.affine), first, nearest=True)[..., 0]
            if picture.sparse and values.any() and not on_grid.any():
                problems.append(
                    Problem(path, f"none of its labels lies on {first_path.name}: do the two belong together?")
                )
            classes = _to_classes(on_grid, structure, found)
            np.copyto(merged, classes, where=classes > 0)
    return merged


def _check_labels(path: Path, values: np.ndarray, structure: str, found: Found, problems: list[Problem]) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        problems.append(Problem(path, "holds labels that are NaN or Inf: repair it"))
        return
    strange = sorted(set(np.unique(values).tolist()) - set(_meaning(structure, found)))
    if strange:
        known = ", ".join(str(value) for value in sorted(_meaning(structure, found)))
        shown = ", ".join(f"{value:g}" for value in strange[:4])
        fix = "name the classes with classes=a,b,..." if found.spec.layout == "folder" else "correct it"
        problems.append(Problem(path, f"holds the label {shown}, outside the set ({known}): {fix}"))


def _meaning(structure: str, found: Found) -> dict[int, str]:
    """What a value in a label file stands for. Where there is one class, 1 and 255 both mean it."""
    if structure:
        return {0: "", 1: structure, 255: structure}
    classes = found.layout.classes
    if len(classes) == 1:
        name = next(iter(classes.values()))
        return {0: "", 1: name, 255: name}
    return {0: "", **classes}


def _to_classes(values: np.ndarray, structure: str, found: Found) -> np.ndarray:
    table = np.zeros(256, np.uint8)
    for value, name in _meaning(structure, found).items():
        table[value] = found.classes.index(name) + 1 if name in found.classes else 0
    return table[values.astype(np.uint8)]


def _on_grid(picture: Picture, fixed: Picture, nearest: bool) -> np.ndarray:
    """The pixels (X, Y, Z, C) on the grid of `fixed`, by the affines: linear, or nearest for labels."""
    moving, target = picture.affine, fixed.affine
    same_shape = picture.pixels.shape[:-1] == fixed.pixels.shape[:-1]
    if moving is None or target is None or (same_shape and np.abs(moving - target).max() <= SAME_PLACE):
        return picture.pixels
    from scipy.ndimage import affine_transform

    across = np.linalg.inv(moving) @ target  # a voxel of the fixed grid, in voxels of the moving one
    layers = [
        affine_transform(
            layer if nearest else layer.astype(np.float32),
            across[:3, :3],
            across[:3, 3],
            output_shape=fixed.pixels.shape[:3],
            order=0 if nearest else 1,
            mode="constant" if nearest else "nearest",
        )
        for layer in np.moveaxis(picture.pixels, -1, 0)
    ]
    return np.stack(layers, axis=-1)


def _keep_channels(pixels: np.ndarray, found: Found) -> np.ndarray:
    """Of a file with all channels, those chosen, in the order chosen."""
    if found.layout.gray or found.channels == ("gray",):
        return pixels @ GRAY[:, None] if pixels.shape[-1] == 3 else pixels
    names = list(found.layout.channels.values())
    layers = [
        pixels[..., :3] @ GRAY[:, None] if name == "gray" else pixels[..., names.index(name), None]
        for name in found.channels
    ]
    return np.concatenate(layers, axis=-1)
