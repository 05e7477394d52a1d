"""Reading one file: NIfTI, DICOM (a file or a folder of slices), TIFF, PNG and JPEG. Nothing is ever unpickled."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskgym.errors import BadInput


@dataclass(frozen=True)
class Picture:
    """What a file holds, with its values untouched (DICOM's slope and intercept applied)."""

    pixels: np.ndarray  # (H, W, C) for a picture, (X, Y, Z, C) for a volume
    affine: np.ndarray | None = None  # (4, 4) from voxel indices to mm, x to the right, y to the front, z to the head

    @property
    def is_volume(self) -> bool:
        """Whether there is a third axis."""
        return self.affine is not None


def read(path: Path) -> Picture:
    """Read a file, or a folder of DICOM slices; a file that cannot be read is named, with the reason."""
    name = path.name.lower()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a reader's remarks on odd headers
            if path.is_dir():
                return _dicom_series(path)
            if name.endswith((".nii", ".nii.gz")):
                return _nifti(path)
            if name.endswith(".dcm"):
                return _dicom_file(path)
            if name.endswith((".tif", ".tiff")):
                return _tiff(path)
            return _picture(path)
    except BadInput:
        raise
    except ModuleNotFoundError as error:
        raise BadInput(f"{path}: needs the package {error.name}: pip install 'maskgym[images]'") from None
    except Exception as error:  # readers fail in every way there is on damaged files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise BadInput(f"{path}: cannot be read ({reason}): copy it again") from None


def _nifti(path: Path) -> Picture:
    import nibabel

    file: Any = nibabel.load(path)
    pixels = np.asanyarray(file.dataobj)
    if pixels.dtype.names:
        raise BadInput(f"{path}: is a colour NIfTI: save it as plain numbers")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim == 5 and pixels.shape[3] == 1:  # the NIfTI habit of keeping time as an axis of one
        pixels = pixels[:, :, :, 0]
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or 0 in pixels.shape:
        raise BadInput(f"{path}: has the shape {pixels.shape}: expected (x, y, z) or (x, y, z, channels)")
    if not np.isfinite(file.affine).all() or abs(np.linalg.det(file.affine[:3, :3])) < 1e-12:
        raise BadInput(f"{path}: its affine has no volume: repair the header")
    return Picture(pixels, np.asarray(file.affine, float))


def _tiff(path: Path) -> Picture:
    import tifffile

    with tifffile.TiffFile(path) as file:
        for page in file.pages:
            ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
            if max(ends, default=0) > path.stat().st_size:  # tifffile would fill the rest with zeros
                raise BadInput(f"{path}: is cut short: copy it again")
        pixels = file.asarray()
        axes = file.series[0].axes
    if axes in ("SYX", "CYX") and pixels.shape[0] <= 4:
        pixels = np.moveaxis(pixels, 0, -1)
    return Picture(_as_picture(pixels, path))


def _picture(path: Path) -> Picture:
    from PIL import Image

    with Image.open(path) as image:
        becomes = {"1": "L", "LA": "L", "P": "RGB", "PA": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}.get(image.mode)
        return Picture(_as_picture(np.array(image.convert(becomes) if becomes else image), path))


def _as_picture(pixels: np.ndarray, path: Path) -> np.ndarray:
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] > 4 or 0 in pixels.shape:
        raise BadInput(f"{path}: has the shape {pixels.shape}: expected one picture, grey or colour")
    return pixels[..., :3] if pixels.shape[2] == 4 else pixels[..., :1] if pixels.shape[2] == 2 else pixels  # no alpha


def _dicom_file(path: Path) -> Picture:
    import pydicom

    return Picture(_as_picture(_dicom_values(pydicom.dcmread(path)), path))


def _dicom_values(data: Any) -> np.ndarray:
    values = data.pixel_array * float(data.get("RescaleSlope", 1)) + float(data.get("RescaleIntercept", 0))
    if data.get("PhotometricInterpretation") == "MONOCHROME1":  # white is zero
        values = values.max() - values
    return np.asarray(values, np.float32)


def _dicom_series(folder: Path) -> Picture:
    """The slices of a folder in order along their normal, with the affine their headers tell."""
    import pydicom

    slices = [pydicom.dcmread(file) for file in sorted(folder.iterdir()) if file.name.lower().endswith(".dcm")]
    if len({data.get("SeriesInstanceUID") for data in slices}) > 1:
        raise BadInput(f"{folder}: holds slices of more than one series: one folder for each")
    if len({(data.Rows, data.Columns) for data in slices}) > 1:
        raise BadInput(f"{folder}: its slices differ in size: one folder for each size")
    orientation = slices[0].get("ImageOrientationPatient", [1, 0, 0, 0, 1, 0])
    along_row, along_column = np.asarray(orientation, float).reshape(2, 3)
    normal = np.cross(along_row, along_column)

    def place(data: Any) -> float:
        if "ImagePositionPatient" in data:
            return float(np.dot(normal, np.asarray(data.ImagePositionPatient, float)))
        return float(data.get("InstanceNumber", 0))

    slices.sort(key=place)
    places = np.array([place(data) for data in slices])
    step = float(np.median(np.diff(places))) if len(slices) > 1 else float(slices[0].get("SliceThickness", 1) or 1)
    if step <= 0:
        raise BadInput(f"{folder}: two slices lie at one place: remove the double ones")
    if len(slices) > 2 and np.abs(np.diff(places) - step).max() > 0.1 * step:
        raise BadInput(f"{folder}: a slice is missing, for the steps between slices differ: copy the folder again")
    down, right = (float(value) for value in slices[0].get("PixelSpacing", [1, 1]))
    affine = np.eye(4)
    affine[:3, :3] = np.stack([along_row * right, along_column * down, normal * step], axis=1)
    affine[:3, 3] = np.asarray(slices[0].get("ImagePositionPatient", [0, 0, 0]), float)
    pixels = np.stack([_dicom_values(data).T for data in slices], axis=-1)  # (columns, rows, slices)
    return Picture(pixels[..., None], np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)  # DICOM points left and back
