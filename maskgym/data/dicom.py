"""DICOM: single files, folders of slices, multi-frame volumes and segmentations, with or without an extension."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskgym.errors import BadInput

NAMES = (".dcm", ".dicom", ".ima")
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # SOP classes: by segment, as a map
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM points left and back where NIfTI points right and to the front


@dataclass(frozen=True)
class Frame:
    """One slice and where it lies."""

    values: np.ndarray  # (rows, columns)
    position: np.ndarray | None  # (3,) mm of its first pixel
    orientation: np.ndarray  # (2, 3): along a row, along a column
    pixel: tuple[float, float] | None  # mm between rows, between columns
    step: float  # mm to the next slice, as the header says; 0 = it does not
    number: int = 0  # of the segment it shows, or of the instance


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its name or, where the name says nothing, by its first bytes."""
    name = path.name.lower()
    if name.endswith(NAMES):
        return True
    ending = path.suffix[1:]
    if name == "dicomdir" or (ending and not ending.isdigit()):
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_file(path: Path) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """Read one file; returns pixels, affine (None for a picture) and whether it is a segmentation.

    A picture is (H, W, C), a volume (X, Y, Z, 1).
    """
    import pydicom

    data = pydicom.dcmread(path)
    if data.get("SOPClassUID") in SEGMENTATIONS:
        return *_segments(data, path), True
    values = _rescaled(data, data)
    colour = int(data.get("SamplesPerPixel", 1)) > 1
    if int(data.get("NumberOfFrames", 1)) == 1:
        return values if colour else values.reshape(*values.shape[-2:], 1), None, False
    if colour or "PerFrameFunctionalGroupsSequence" not in data:
        raise BadInput(f"{path}: holds {data.NumberOfFrames} frames without positions: save them as pictures")
    return *_stacked(_frames(data, values), path), False


def read_folder(folder: Path) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """Read the slices of a folder in order along their normal; or its one file, if that holds all of them."""
    import pydicom

    files = [file for file in sorted(folder.iterdir()) if file.is_file() and is_dicom(file)]
    if len(files) == 1:
        pixels, affine, labels = read_file(files[0])
        if affine is not None:
            return pixels, affine, labels
    slices = [pydicom.dcmread(file) for file in files]
    if len({data.get("SeriesInstanceUID") for data in slices}) > 1:
        raise BadInput(f"{folder}: holds slices of more than one series: one folder for each")
    if len({(data.Rows, data.Columns) for data in slices}) > 1:
        raise BadInput(f"{folder}: its slices differ in size: one folder for each size")
    return *_stacked([_frame(data, data, _rescaled(data, data)) for data in slices], folder), False


def _frames(data: Any, values: np.ndarray) -> list[Frame]:
    """The frames of a multi-frame file, each with what its own and the shared groups say."""
    shared = data.SharedFunctionalGroupsSequence[0] if "SharedFunctionalGroupsSequence" in data else None
    frames = []
    for own, layer in zip(data.PerFrameFunctionalGroupsSequence, values, strict=True):
        told: dict[str, Any] = {}
        for group in (shared, own):
            for name in ("PixelMeasures", "PlaneOrientation", "PlanePosition", "SegmentIdentification"):
                if group is not None and f"{name}Sequence" in group:
                    told.update({item.keyword: item.value for item in group[f"{name}Sequence"].value[0]})
            if group is not None and "PixelValueTransformationSequence" in group:
                layer = _rescaled(group.PixelValueTransformationSequence[0], data, layer)
        frames.append(_frame(told, data, layer))
    return frames


def _frame(told: Any, data: Any, values: np.ndarray) -> Frame:
    pixel = told.get("PixelSpacing") or data.get("PixelSpacing")
    position = told.get("ImagePositionPatient")
    step = told.get("SpacingBetweenSlices") or told.get("SliceThickness") or 0
    return Frame(
        values,
        None if position is None else np.asarray(position, float),
        np.asarray(told.get("ImageOrientationPatient", [1, 0, 0, 0, 1, 0]), float).reshape(2, 3),
        None if pixel is None else (float(pixel[0]), float(pixel[1])),
        float(step),
        int(told.get("ReferencedSegmentNumber") or told.get("InstanceNumber") or 0),
    )


def _stacked(frames: list[Frame], path: Path, gaps: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (X, Y, Z, 1) and affine of slices; with `gaps`, slices that were left out are zero."""
    first = frames[0]
    if first.pixel is None or min(first.pixel) <= 0:
        raise BadInput(f"{path}: its PixelSpacing is {first.pixel or 'missing'}: write mm of a pixel into the headers")
    normal = np.cross(*first.orientation)
    places = np.array(
        [frame.number if frame.position is None else float(normal @ frame.position) for frame in frames], float
    )
    order = np.argsort(places, kind="stable")
    steps = np.diff(places[order])
    if not gaps and len(steps) and np.median(steps) <= 0:
        raise BadInput(f"{path}: two slices lie at one place: remove the double ones")
    seen = steps[steps > 1e-3]
    step = (float(seen.min() if gaps else np.median(steps)) if len(seen) else 0) or first.step
    if step <= 0:
        raise BadInput(f"{path}: tells no distance between slices: write SliceThickness into the header")
    if not gaps and len(steps) > 1 and np.abs(steps - step).max() > 0.1 * step:
        raise BadInput(f"{path}: a slice is missing, for the steps between slices differ: copy the folder again")
    at = np.rint((places - places.min()) / step).astype(int)
    pixels = np.zeros((at.max() + 1, *first.values.shape), first.values.dtype)
    for frame, z in zip(frames, at, strict=True):
        np.copyto(pixels[z], frame.values, where=frame.values != 0 if gaps else True)
    affine = np.eye(4)
    along_row, along_column = first.orientation
    affine[:3, :3] = np.stack([along_row * first.pixel[1], along_column * first.pixel[0], normal * step], axis=1)
    lowest = frames[int(order[0])].position
    affine[:3, 3] = np.zeros(3) if lowest is None else lowest
    return np.ascontiguousarray(pixels.transpose(2, 1, 0))[..., None], LPS @ affine


def _segments(data: Any, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A segmentation as a label map: the number of the segment, later ones over earlier ones."""
    values = data.pixel_array.reshape(-1, int(data.Rows), int(data.Columns))
    frames = _frames(data, values)
    if data.SOPClassUID == SEGMENTATIONS[0]:
        half = int(data.get("MaximumFractionalValue", 1)) / 2 if data.get("SegmentationType") == "FRACTIONAL" else 0
        frames = sorted(
            (
                Frame(
                    np.where(frame.values > half, frame.number, 0).astype(np.uint8),
                    frame.position, frame.orientation, frame.pixel, frame.step, frame.number,
                )
                for frame in frames
            ),
            key=lambda frame: frame.number,
        )  # fmt: skip
    if any(frame.position is None for frame in frames):
        raise BadInput(f"{path}: is a segmentation whose frames tell no position: export it again")
    return _stacked(frames, path, gaps=True)


def _rescaled(rule: Any, data: Any, values: np.ndarray | None = None) -> np.ndarray:
    """Values in the unit of the file: slope and intercept applied, white above black."""
    pixels = data.pixel_array if values is None else values
    slope, intercept = float(rule.get("RescaleSlope", 1)), float(rule.get("RescaleIntercept", 0))
    pixels = np.asarray(pixels * slope + intercept, np.float32)
    if values is None and data.get("PhotometricInterpretation") == "MONOCHROME1":  # white is zero
        pixels = pixels.max() - pixels
    return pixels
