"""Reading one file: NIfTI, DICOM, NRRD, MetaImage, TIFF, PNG and JPEG. Nothing is ever unpickled."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskgym.data import dicom
from maskgym.errors import BadInput


@dataclass(frozen=True)
class Picture:
    """What a file holds, with its values untouched (DICOM's slope and intercept applied)."""

    pixels: np.ndarray  # (H, W, C) for a picture, (X, Y, Z, C) for a volume
    affine: np.ndarray | None = None  # (4, 4) from voxel indices to mm, x to the right, y to the front, z to the head
    sparse: bool = False  # labels that may lie on a part of their image's grid

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
                return _dicom(dicom.read_folder, path)
            if name.endswith((".nii", ".nii.gz")):
                return _nifti(path)
            if name.endswith((".nrrd", ".nhdr", ".mha", ".mhd")):
                return _itk(path)
            if dicom.is_dicom(path):
                return _dicom(dicom.read_file, path)
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

    _check_spacing(path)
    nibabel.imageglobals.logger.setLevel("ERROR")  # of a header's sizes `_check_spacing` and `_sound` say what is wrong
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
    return Picture(pixels, _sound(file.affine, path))


def _check_spacing(path: Path) -> None:
    """Refuse a header without voxel sizes, of which nibabel would make 1 mm; an affine of its own may stand in."""
    from nibabel import Nifti1Header
    from nibabel.openers import Opener

    with Opener(str(path)) as file:
        raw = file.read(Nifti1Header.template_dtype.itemsize)
    for order in "<>":
        if int.from_bytes(raw[:4], "little" if order == "<" else "big") == len(raw):
            header = Nifti1Header(raw, endianness=order, check=False)
            sizes = header["pixdim"][1 : 1 + min(3, int(header["dim"][0]))]
            if header["sform_code"] <= 0 and not (np.isfinite(sizes).all() and np.all(sizes != 0)):
                shown = " x ".join(f"{size:g}" for size in sizes)
                raise BadInput(f"{path}: its spacing is {shown} mm: write the size of a voxel into the header")


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


def _dicom(read: Callable[[Path], tuple[np.ndarray, np.ndarray | None, bool]], path: Path) -> Picture:
    pixels, affine, labels = read(path)
    return Picture(_as_picture(pixels, path) if affine is None else pixels, affine, sparse=labels)


def _itk(path: Path) -> Picture:
    """NRRD and MetaImage."""
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    pixels, axes = SimpleITK.GetArrayFromImage(image), image.GetDimension()
    if axes == 2:
        return Picture(_as_picture(pixels, path))
    if axes != 3 or 0 in pixels.shape:
        raise BadInput(f"{path}: has {axes} axes: expected a picture or a volume")
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    pixels = pixels if pixels.ndim == 4 else pixels[..., None]
    return Picture(pixels.transpose(2, 1, 0, 3), _sound(dicom.LPS @ affine, path))


def _sound(affine: np.ndarray, path: Path) -> np.ndarray:
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        rows = "; ".join(" ".join(f"{value:g}" for value in row) for row in affine[:3, :3])
        raise BadInput(f"{path}: its affine ({rows}) has no volume: repair the header")
    return np.asarray(affine, float)
