"""Labels written as files that lie on their image: NIfTI with the case's affine, or a PNG of class numbers."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from maskgym import files
from maskgym.data import orient
from maskgym.data.case import Case
from maskgym.errors import BadInput


def save_labels(case: Case, labels: np.ndarray, folder: Path) -> Path:
    """Write labels (*case.shape) as FOLDER/ID.nii.gz, or ID.png for a picture; returns the file."""
    if labels.shape != case.shape:
        raise ValueError(f"labels of {labels.shape} do not lie on {case.id}, which is {case.shape}")
    values = labels.astype(np.uint8)
    path = folder / f"{case.id}{'.png' if case.affine is None else '.nii.gz'}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # an id may hold folders
        with files.replacing(path) as draft:
            if case.affine is None:
                from PIL import Image

                Image.fromarray(values).save(draft)
            else:
                import nibabel

                image = nibabel.Nifti1Image(orient.as_filed(values, case.affine), case.affine)
                image.header.set_xyzt_units("mm")
                draft.write_bytes(gzip.compress(image.to_bytes(), mtime=0))  # the same file at every call
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}): choose another --out") from None
    return path
