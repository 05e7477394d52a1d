"""How publishers lay their data sets out. A layout is a description; `find.py` does the finding.

To add one: an entry in `LAYOUTS` and a row in docs/data.md. Patterns are regular expressions that a file's path below
the folder must match as a whole (with `/` between folders). Their named groups say what the path tells:

- `case`: what belongs together: images and labels with one `case` are one case;
- `patient`: whom it is of (the case itself, where there is no such group);
- `channel`: where every channel has a file of its own, which one this is;
- `structure`: where every label class has a file of its own, its name;
- `grade`: the class of the whole image.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from maskgym.data.spec import Options
from maskgym.errors import BadInput

NII = r"\.nii(\.gz)?"
# A DICOM series is a folder; files that are DICOM by their bytes alone are matched as if they ended in .dcm.
ANY = r"(\.(png|jpe?g|tiff?|dcm|dicom|ima|nii|nii\.gz|nrrd|nhdr|mha|mhd)|/)"


@dataclass(frozen=True)
class Layout:
    """Where the images, labels, patients, channels and classes of a published data set are."""

    about: str  # one line for `maskgym data list`
    looks_like: str  # an example of the files, for the error where nothing is found
    image: str  # pattern of the image files
    label: str = ""  # pattern of the label files; none: the set has no label maps
    channels: dict[str, str] = field(default_factory=dict)  # `channel` in a path, or place in the file -> name
    classes: dict[int, str] = field(default_factory=dict)  # value in a label file -> name; empty: from the structures
    regions: dict[str, tuple[str, ...]] = field(default_factory=dict)  # scored together -> classes it is made of
    window: tuple[float, float] | None = None  # intensities outside are clipped; None: clip to percentiles
    slices: bool = False  # pictures are slices of a body, cut by the publisher: those without body are dropped
    gray: bool = False  # grey pictures saved in colour: read as one channel
    has_patients: bool = True  # False: no patient ids were published, so every image counts as a patient
    one_grid: bool = True  # False: files of a case may lie on different grids; the first channel's is kept
    expected: tuple[str, ...] = ()  # files that the set's own table of contents names
    grades: tuple[str, ...] = ()  # names of grades 0, 1, ...
    graded: dict[str, tuple[int, str]] = field(default_factory=dict)  # case -> grade and patient, where a table says so
    complete: Callable[[Layout, Path, Options], Layout] | None = None  # fills the description in from the folder

    @property
    def file_each(self) -> bool:
        """Whether every channel has a file of its own."""
        return "(?P<channel>" in self.image

    def of(self, folder: Path, options: Options) -> Layout:
        """The description of this very folder."""
        return self.complete(self, folder, options) if self.complete else self


def _from_dataset_json(layout: Layout, folder: Path, options: Options) -> Layout:
    """Channels, classes and the list of files, from the `dataset.json` of the Medical Segmentation Decathlon."""
    try:
        told: dict[str, Any] = json.loads((folder / "dataset.json").read_text())
        modality = told.get("modality") or told["channel_names"]
        labels = told["labels"]
        pairs = [(k, v) if str(k).isdigit() else (v, k) for k, v in labels.items()]  # newer files turn it round
        classes = {int(value): str(name) for value, name in pairs if int(value) != 0}
        expected = [path for entry in told.get("training", []) for path in (entry["image"], entry["label"])]
    except FileNotFoundError:
        raise BadInput(f"{folder} has no dataset.json, so it is no Decathlon task: give the folder Task...") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{folder}/dataset.json cannot be understood ({error!r}): copy it again") from None
    channels = {str(place): str(name) for place, name in modality.items()}
    return replace(
        layout,
        channels=dict(sorted(channels.items(), key=lambda item: int(item[0]))),
        classes=dict(sorted(classes.items())),
        expected=tuple(path.removeprefix("./") for path in expected),
    )


def _from_grades_csv(layout: Layout, folder: Path, options: Options) -> Layout:
    """Grades from `messidor_data.csv`; patients from the file of eye pairs, where it is there."""
    tables = sorted(folder.glob("*.csv"))
    graded: dict[str, tuple[int, str]] = {}
    pairs: dict[str, str] = {}
    for table in tables:
        text = table.read_text(encoding="utf-8-sig", errors="replace")
        rows = list(csv.DictReader(text.splitlines(), delimiter=";" if ";" in text.partition("\n")[0] else ","))
        names = {name.strip().lower(): name for name in (rows[0] if rows else {}) if name}
        if {"left", "right"} <= set(names):
            for row in rows:
                left, right = Path(row[names["left"]]).stem, Path(row[names["right"]]).stem
                pairs |= {left: left, right: left}
        image = names.get("image_id") or names.get("image")
        grade = names.get("adjudicated_dr_grade") or names.get("diagnosis")
        for row in rows if image and grade else []:
            if (
                row[image] and str(row[grade]).strip().removesuffix(".0").isdigit()
            ):  # an ungradable picture has no grade
                graded[Path(row[image]).stem] = (int(float(row[grade])), "")
    if not graded:
        found = ", ".join(table.name for table in tables) or "no CSV at all"
        raise BadInput(
            f"{folder} has no CSV of image_id and adjudicated_dr_grade (found {found}): add messidor_data.csv"
        )
    graded = {case: (grade, pairs.get(case, case)) for case, (grade, _) in graded.items()}
    return replace(layout, graded=graded, has_patients=bool(pairs))


def _from_options(layout: Layout, folder: Path, options: Options) -> Layout:
    """A user's own folder: labels if there is masks/, classes as the option says."""
    names = options.classes.split(",") if options.classes else ["foreground"]
    label = layout.label if (folder / "masks").is_dir() else ""
    classes = dict(enumerate(names, 1)) if label else {}
    return replace(layout, label=label, classes=classes)


BTCV = """
    spleen right_kidney left_kidney gallbladder esophagus liver stomach aorta inferior_vena_cava
    portal_and_splenic_vein pancreas right_adrenal_gland left_adrenal_gland
""".split()  # noqa: SIM905
AMOS = """
    spleen right_kidney left_kidney gallbladder esophagus liver stomach aorta postcava pancreas
    right_adrenal_gland left_adrenal_gland duodenum bladder prostate_or_uterus
""".split()  # noqa: SIM905
FLARE = """
    liver right_kidney spleen pancreas aorta inferior_vena_cava right_adrenal_gland left_adrenal_gland
    gallbladder esophagus stomach duodenum left_kidney
""".split()  # noqa: SIM905

LAYOUTS: dict[str, Layout] = {
    "msd": Layout(
        about="Medical Segmentation Decathlon, any task (Task01_BrainTumour, Task02_Heart, Task04_Hippocampus, ...)",
        looks_like="dataset.json, imagesTr/hippocampus_001.nii.gz, labelsTr/hippocampus_001.nii.gz",
        image=rf"imagesTr/(?P<case>[^/]+?){NII}",
        label=rf"labelsTr/(?P<case>[^/]+?){NII}",
        complete=_from_dataset_json,
    ),
    "lgg": Layout(
        about="LGG brain MRI slices, Kaggle's kaggle_3m (Buda 2019): pre-contrast, FLAIR, post-contrast",
        looks_like="TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_1.tif and ..._1_mask.tif",
        image=r"(.+/)?(?P<patient>TCGA_[^/]+)/(?P<case>(?P=patient)_\d+)\.tif",
        label=r"(.+/)?(?P<patient>TCGA_[^/]+)/(?P<case>(?P=patient)_\d+)_mask\.tif",
        channels={"0": "pre-contrast", "1": "FLAIR", "2": "post-contrast"},
        classes={255: "tumour"},
        slices=True,
    ),
    "busi": Layout(
        about="BUSI breast ultrasound (Al-Dhabyani 2020): benign, malignant, normal",
        looks_like="benign/benign (1).png and benign/benign (1)_mask.png",
        image=r"(?P<grade>benign|malignant|normal)/(?P<case>(?P=grade) \(\d+\))\.png",
        label=r"(?P<grade>benign|malignant|normal)/(?P<case>(?P=grade) \(\d+\))_mask(_\d+)?\.png",
        channels={"0": "ultrasound"},
        classes={255: "tumour"},
        grades=("benign", "malignant", "normal"),
        gray=True,
        has_patients=False,
    ),
    "brats2018": Layout(
        about="BraTS 2018 training: HGG and LGG, four MRI modalities",
        looks_like="HGG/Brats18_X_1/Brats18_X_1_flair.nii.gz, _t1, _t1ce, _t2 and _seg",
        image=rf"(?P<grade>HGG|LGG)/(?P<case>[^/]+)/(?P=case)_(?P<channel>flair|t1|t1ce|t2){NII}",
        label=rf"(?P<grade>HGG|LGG)/(?P<case>[^/]+)/(?P=case)_seg{NII}",
        channels={"flair": "FLAIR", "t1": "T1", "t1ce": "T1CE", "t2": "T2"},
        classes={1: "necrosis", 2: "edema", 4: "enhancing"},
        regions={"ET": ("enhancing",), "TC": ("necrosis", "enhancing"), "WT": ("necrosis", "edema", "enhancing")},
        grades=("HGG", "LGG"),
    ),
    "hecktor": Layout(
        about="HECKTOR 2022 (imagesTr, labelsTr) or 2021 (hecktor_nii): CT and PET of head and neck",
        looks_like="imagesTr/CHUM-001__CT.nii.gz, imagesTr/CHUM-001__PT.nii.gz, labelsTr/CHUM-001.nii.gz",
        image=rf"(.+/)?(imagesTr|hecktor_nii)/(?P<case>[^/]+?)__?(?P<channel>CT|PT|ct|pt){NII}",
        label=rf"(.+/)?(labelsTr/(?P<case>[^/]+?)|hecktor_nii/(?P<case2>[^/]+?)_gtvt){NII}",
        channels={"CT": "CT", "PT": "PET"},
        classes={1: "primary_tumour", 2: "lymph_nodes"},
        one_grid=False,
    ),
    "btcv": Layout(
        about="BTCV abdomen (Synapse RawData/Training): CT, 13 organs",
        looks_like="img/img0001.nii.gz and label/label0001.nii.gz",
        image=rf"(.+/)?img/img(?P<case>\d+){NII}",
        label=rf"(.+/)?label/label(?P<case>\d+){NII}",
        channels={"0": "CT"},
        classes=dict(enumerate(BTCV, 1)),
        window=(-175, 250),
    ),
    "amos": Layout(
        about="AMOS22 abdomen: CT and MRI, 15 organs (training and validation cases)",
        looks_like="imagesTr/amos_0001.nii.gz and labelsTr/amos_0001.nii.gz",
        image=rf"images(Tr|Va)/(?P<case>amos_\d+){NII}",
        label=rf"labels(Tr|Va)/(?P<case>amos_\d+){NII}",
        channels={"0": "CT or MRI"},
        classes=dict(enumerate(AMOS, 1)),
    ),
    "flare": Layout(
        about="FLARE22 labelled cases: CT, 13 organs",
        looks_like="images/FLARE22_Tr_0001_0000.nii.gz and labels/FLARE22_Tr_0001.nii.gz",
        image=rf"(.+/)?(images|imagesTr)/(?P<case>FLARE22_Tr_\d+)_0000{NII}",
        label=rf"(.+/)?(labels|labelsTr)/(?P<case>FLARE22_Tr_\d+){NII}",
        channels={"0": "CT"},
        classes=dict(enumerate(FLARE, 1)),
        window=(-160, 240),
    ),
    "totalsegmentator": Layout(
        about="TotalSegmentator: CT, a label file per structure (choose some with classes=liver,spleen)",
        looks_like="s0000/ct.nii.gz and s0000/segmentations/liver.nii.gz",
        image=rf"(?P<case>s\d+)/ct{NII}",
        label=rf"(?P<case>s\d+)/segmentations/(?P<structure>[^/]+?){NII}",
        channels={"0": "CT"},
    ),
    "autopet": Layout(
        about="autoPET (FDG-PET-CT-Lesions as NIfTI): CT resampled to PET, SUV",
        looks_like="PETCT_0011f3deaf/03-23-2003-NA-PET-CT-10445/CTres.nii.gz, SUV.nii.gz, SEG.nii.gz",
        image=rf"(.+/)?(?P<case>(?P<patient>PETCT_[^/]+)/[^/]+)/(?P<channel>CTres|SUV){NII}",
        label=rf"(.+/)?(?P<case>(?P<patient>PETCT_[^/]+)/[^/]+)/SEG{NII}",
        channels={"CTres": "CT", "SUV": "PET"},
        classes={1: "lesion"},
    ),
    "lung": Layout(
        about="CT slices with lung masks (Kaggle's finding-lungs: 2d_images, 2d_masks), or images/ and masks/",
        looks_like="2d_images/ID_0000_Z_0142.tif and 2d_masks/ID_0000_Z_0142.tif",
        image=r"(2d_)?images/(?P<case>(?P<patient>ID_\d+)_Z_\d+)\.tif",
        label=r"(2d_)?masks/(?P<case>(?P<patient>ID_\d+)_Z_\d+)\.tif",
        channels={"0": "CT"},
        classes={255: "lung"},
        window=(-1350, 150),
        slices=True,
    ),
    "messidor2": Layout(
        about="Messidor-2 eye pictures with adjudicated grades of diabetic retinopathy (classification, no masks)",
        looks_like="IMAGES/20051020_43808_0100_PP.png and messidor_data.csv",
        image=r"(.+/)?(?P<case>[^/]+)\.(png|PNG|jpg|JPG|jpeg|tif|tiff)",
        channels={"0": "red", "1": "green", "2": "blue"},
        grades=("none", "mild", "moderate", "severe", "proliferative"),
        complete=_from_grades_csv,
    ),
    "folder": Layout(
        about="your own folder: images/ and, if there are labels, masks/ with the same names",
        looks_like="images/anna_1.png and masks/anna_1.png (or JPEG, TIFF, NIfTI, NRRD, MHA, DICOM, a folder of DICOM)",
        image=rf"images/(?P<case>.+?)(?i:{ANY})",
        label=rf"masks/(?P<case>.+?)(?i:{ANY})",
        has_patients=False,
        complete=_from_options,
    ),
}
