"""Small data sets, written to a folder as their publishers lay them out."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

RNG = np.random.default_rng(0)


def body(shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    """Something bright and uneven in the middle of black."""
    inside = np.zeros(shape)
    middle = tuple(slice(side // 5, side - side // 5) for side in shape)
    inside[middle] = RNG.integers(90, 250, inside[middle].shape)
    return inside.astype(dtype)


def lesion(shape: tuple[int, ...], value: int = 1) -> np.ndarray:
    out = np.zeros(shape, np.uint8)
    out[tuple(slice(side // 3, side // 2) for side in shape)] = value
    return out


def nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def tiff(path: Path, array: np.ndarray) -> Path:
    import tifffile

    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, array)
    return path


def png(path: Path, array: np.ndarray) -> Path:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def dicom(path: Path, array: np.ndarray, **tags: object) -> Path:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = array.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 1
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit = 15
    data.PixelData = array.astype(np.int16).tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    if "PerFrameFunctionalGroupsSequence" in tags and "SegmentationType" in tags:  # one bit a pixel
        data.BitsAllocated = data.BitsStored = 1
        data.HighBit, data.PixelRepresentation = 0, 0
        data.PixelData = np.packbits((array > 0).ravel(), bitorder="little").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def dicom_series(folder: Path, volume: np.ndarray, spacing: tuple[float, float, float] = (1, 1, 1)) -> Path:
    """A volume (z, y, x) as slices whose file names are in no order."""
    for z in range(len(volume)):
        dicom(
            folder / f"{(z * 7) % len(volume)}_{z}.dcm",
            volume[z],
            SeriesInstanceUID="1.2.3",
            InstanceNumber=z + 1,
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[0, 0, z * spacing[0]],
            PixelSpacing=[spacing[1], spacing[2]],
            RescaleSlope=2,
            RescaleIntercept=-1000,
        )
    return folder


def multi_frame(
    path: Path, volume: np.ndarray, step: float = 3.0, segments: dict[int, np.ndarray] | None = None
) -> Path:
    """A volume (z, y, x) in one file; or, with `segments` (number -> mask), a segmentation without its empty frames."""
    from pydicom.dataset import Dataset

    frames = [(z, 0, layer) for z, layer in enumerate(volume)]
    if segments is not None:
        frames = [(z, number, mask[z]) for number, mask in segments.items() for z in range(len(mask)) if mask[z].any()]
    groups = []
    for z, number, _ in frames:
        place, group = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, z * step]
        group.PlanePositionSequence = [place]
        if number:
            which = Dataset()
            which.ReferencedSegmentNumber = number
            group.SegmentIdentificationSequence = [which]
        groups.append(group)
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.25], step
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    told = {
        "NumberOfFrames": len(frames),
        "PerFrameFunctionalGroupsSequence": groups,
        "SharedFunctionalGroupsSequence": [shared],
    }
    if segments is not None:
        told |= {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4", "SegmentationType": "BINARY"}
    return dicom(path, np.concatenate([layer for *_, layer in frames]), Rows=volume.shape[1], **told)


def lgg(folder: Path, patients: int = 4, slices: int = 3) -> Path:
    for patient in range(patients):
        name = f"TCGA_CS_{4000 + patient}_1996"
        for number in range(1, slices + 1):
            tiff(folder / name / f"{name}_{number}.tif", np.stack([body((32, 32)) for _ in range(3)], -1))
            tiff(folder / name / f"{name}_{number}_mask.tif", lesion((32, 32), 255 * (number % 2)))
    return folder


def msd(
    folder: Path, cases: int = 4, shape: tuple[int, ...] = (12, 16, 10), modalities: tuple[str, ...] = ("MRI",)
) -> Path:
    names = [f"hippocampus_{number:03d}" for number in range(1, cases + 1)]
    for name in names:
        full = shape if len(modalities) == 1 else (*shape, len(modalities))
        nifti(folder / "imagesTr" / f"{name}.nii.gz", body(full, np.float32))
        label = lesion(shape)
        label[label.shape[0] // 3] *= 2
        nifti(folder / "labelsTr" / f"{name}.nii.gz", label)
    (folder / "imagesTr" / f"._{names[0]}.nii.gz").write_bytes(b"what archives from a Mac leave behind")
    told = {
        "modality": {str(place): name for place, name in enumerate(modalities)},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names],
    }
    (folder / "dataset.json").write_text(json.dumps(told))
    return folder


def busi(folder: Path) -> Path:
    for grade, count in (("benign", 4), ("malignant", 3), ("normal", 2)):
        for number in range(1, count + 1):
            shape = (30 + number, 40)
            png(folder / grade / f"{grade} ({number}).png", np.stack([body(shape)] * 3, -1))
            mask = np.zeros(shape, np.uint8) if grade == "normal" else lesion(shape, 255)
            png(folder / grade / f"{grade} ({number})_mask.png", mask)
    return folder


def brats2018(folder: Path) -> Path:
    for grade, name in (("HGG", "Brats18_A_1"), ("HGG", "Brats18_B_1"), ("LGG", "Brats18_C_1")):
        for place, channel in enumerate(("flair", "t1", "t1ce", "t2")):
            nifti(folder / grade / name / f"{name}_{channel}.nii.gz", body((12, 12, 10), np.int16) + place * 300)
        label = lesion((12, 12, 10))
        label[5], label[:, 5] = label[5] * 4, label[:, 5] * 2
        nifti(folder / grade / name / f"{name}_seg.nii.gz", label)
    return folder


def hecktor(folder: Path) -> Path:
    for name in ("CHUM-001", "CHUM-002", "MDA-100"):
        nifti(folder / "imagesTr" / f"{name}__CT.nii.gz", body((16, 16, 8), np.float32))
        pet = np.diag([2.0, 2.0, 2.0, 1.0])  # twice as coarse, on its own grid
        nifti(folder / "imagesTr" / f"{name}__PT.nii.gz", body((8, 8, 4), np.float32), pet)
        nifti(folder / "labelsTr" / f"{name}.nii.gz", lesion((16, 16, 8), 2))
    return folder


def hecktor2021(folder: Path) -> Path:
    for name in ("CHGJ007", "CHGJ008", "CHUS001"):
        for ending, array in (("ct", body((12, 12, 8))), ("pt", body((12, 12, 8))), ("gtvt", lesion((12, 12, 8)))):
            nifti(folder / "hecktor_nii" / f"{name}_{ending}.nii.gz", array)
    return folder


def btcv(folder: Path) -> Path:
    for number in (1, 2, 3):
        nifti(folder / "Training" / "img" / f"img{number:04d}.nii.gz", body((12, 12, 8), np.int16) - 100)
        nifti(folder / "Training" / "label" / f"label{number:04d}.nii.gz", lesion((12, 12, 8), 13))
    return folder


def amos(folder: Path) -> Path:
    for number, part in ((1, "Tr"), (4, "Tr"), (600, "Va")):
        nifti(folder / f"images{part}" / f"amos_{number:04d}.nii.gz", body((12, 12, 8), np.int16))
        nifti(folder / f"labels{part}" / f"amos_{number:04d}.nii.gz", lesion((12, 12, 8), 15))
    return folder


def flare(folder: Path) -> Path:
    for number in (1, 2, 3):
        nifti(folder / "images" / f"FLARE22_Tr_{number:04d}_0000.nii.gz", body((12, 12, 8), np.int16))
        nifti(folder / "labels" / f"FLARE22_Tr_{number:04d}.nii.gz", lesion((12, 12, 8), 13))
    return folder


def totalsegmentator(folder: Path) -> Path:
    for name in ("s0000", "s0001", "s0002"):
        nifti(folder / name / "ct.nii.gz", body((12, 12, 8), np.int16))
        for structure in ("aorta", "liver", "spleen"):
            where = lesion((12, 12, 8)) if structure == "liver" else np.zeros((12, 12, 8), np.uint8)
            nifti(folder / name / "segmentations" / f"{structure}.nii.gz", where)
    return folder


def autopet(folder: Path) -> Path:
    for patient in ("PETCT_01", "PETCT_02", "PETCT_03"):
        for name, array in (("CTres", body((10, 10, 8))), ("SUV", body((10, 10, 8))), ("SEG", lesion((10, 10, 8)))):
            nifti(folder / patient / "03-23-2003-NA-PET-CT-1" / f"{name}.nii.gz", array)
    nifti(folder / "PETCT_01" / "03-23-2003-NA-PET-CT-1" / "CT.nii.gz", body((20, 20, 8)))
    return folder


def lung(folder: Path) -> Path:
    for number in range(4):
        name = f"ID_{number:04d}_Z_0142.tif"
        tiff(folder / "2d_images" / name, body((24, 24), np.int32) * 5 - 1000)
        tiff(folder / "2d_masks" / name, lesion((24, 24), 255))
    return folder


def messidor2(folder: Path) -> Path:
    names = [f"2005_{number}_PP.png" for number in range(6)]
    for name in names:
        png(folder / "IMAGES" / name, np.stack([body((20, 24)) for _ in range(3)], -1))
    with (folder / "messidor_data.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image_id", "adjudicated_dr_grade", "adjudicated_dme", "adjudicated_gradable"])
        rows.writerows([[name, number % 5, 0, 1] for number, name in enumerate(names[:5])])
        rows.writerow([names[5], "", "", 0])
    return folder


def folder(folder: Path) -> Path:
    for name in ("anna_1", "anna_2", "bert_1", "carl_1", "dora_1"):
        png(folder / "images" / f"{name}.png", body((20, 24)))
        png(folder / "masks" / f"{name}.png", lesion((20, 24), 255))
    return folder


LAYOUTS = {
    "msd": msd, "lgg": lgg, "busi": busi, "brats2018": brats2018, "hecktor": hecktor, "btcv": btcv, "amos": amos,
    "flare": flare, "totalsegmentator": totalsegmentator, "autopet": autopet, "lung": lung, "messidor2": messidor2,
    "folder": folder,
}  # fmt: skip
