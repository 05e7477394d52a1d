"""Broken files: each is named, by the check and by loading, and one does not hide another."""

import json
import shutil

import numpy as np
import published
import pytest
from refused import problems, refusal

from maskgym.data.check import check
from maskgym.data.source import load
from maskgym.data.spec import parse


def only(dataset, file, *words):
    """The one problem of a set, which both commands tell."""
    (problem,) = problems(dataset)
    assert str(file) in problem
    for word in words:
        assert word in problem
    assert refusal(dataset, split="train") == problem


@pytest.fixture
def one(tmp_path):
    """A set of one patient's volumes in train, so that whatever is broken is met."""
    published.msd(tmp_path / "set", cases=1)
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["hippocampus_001"], "val": [], "test": []}))
    return tmp_path / "set"


def test_an_image_without_its_mask_is_named(tmp_path):
    published.busi(tmp_path)
    (tmp_path / "benign/benign (1)_mask.png").unlink()
    only(f"busi:{tmp_path}", "benign (1).png", "no label", "add its mask")


def test_a_mask_without_its_image_is_named(tmp_path):
    published.busi(tmp_path)
    (tmp_path / "benign/benign (1).png").unlink()
    only(f"busi:{tmp_path}", "benign (1)_mask.png", "without its image")


def test_a_missing_modality_is_named(tmp_path):
    published.brats2018(tmp_path)
    (tmp_path / "HGG/Brats18_A_1/Brats18_A_1_t2.nii.gz").unlink()
    only(f"brats2018:{tmp_path}", "Brats18_A_1", "T2 is missing")


def test_a_missing_structure_is_named_unless_it_is_not_asked_for(tmp_path):
    published.totalsegmentator(tmp_path)
    (tmp_path / "s0001/segmentations/aorta.nii.gz").unlink()
    (problem,) = problems(f"totalsegmentator:{tmp_path}")
    assert "s0001/ct.nii.gz: its label aorta is missing" in problem
    assert problems(f"totalsegmentator:{tmp_path}?classes=liver,spleen") == []


def test_files_that_the_table_of_contents_names_are_missed(tmp_path):
    published.msd(tmp_path)
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / part / "hippocampus_002.nii.gz").unlink()
    assert len(problems(f"msd:{tmp_path}")) == 2
    assert "1 more such" in refusal(f"msd:{tmp_path}")


def test_shapes_that_differ_are_named(one):
    file = published.nifti(one / "labelsTr/hippocampus_001.nii.gz", published.lesion((12, 16, 9)))
    (problem,) = problems(f"msd:{one}")
    assert str(file) in problem
    assert "(12, 16, 9)" in problem
    assert "(12, 16, 10)" in problem


def test_affines_that_differ_are_named(one):
    moved = np.eye(4)
    moved[0, 3] = 5
    file = published.nifti(one / "labelsTr/hippocampus_001.nii.gz", published.lesion((12, 16, 10)), moved)
    (problem,) = problems(f"msd:{one}")
    assert str(file) in problem
    assert "affine" in problem
    assert "by up to 5" in problem


@pytest.mark.parametrize(
    ("layout", "file"),
    [
        ("msd", "imagesTr/hippocampus_001.nii.gz"),
        ("lgg", "TCGA_CS_4000_1996/TCGA_CS_4000_1996_1.tif"),
        ("busi", "benign/benign (1).png"),
    ],
)
@pytest.mark.parametrize("left", [0.5, 0])
def test_a_file_cut_short_is_named(tmp_path, layout, file, left):
    published.LAYOUTS[layout](tmp_path)
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: int(len(whole) * left)])
    (problem,) = problems(f"{layout}:{tmp_path}")
    assert str(tmp_path / file) in problem
    assert "copy it again" in problem


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_counted(one, value):
    volume = published.body((12, 16, 10), np.float32)
    volume[:2, 0, 0] = value
    file = published.nifti(one / "imagesTr/hippocampus_001.nii.gz", volume)
    (problem,) = problems(f"msd:{one}")
    assert str(file) in problem
    assert "2 voxels that are NaN or Inf" in problem
    assert problem == refusal(f"msd:{one}", split_file=str(one.parent / "split.json"))


def test_labels_outside_the_published_set_are_named(one):
    published.nifti(one / "labelsTr/hippocampus_001.nii.gz", published.lesion((12, 16, 10), 7))
    (problem,) = problems(f"msd:{one}")
    assert "label 7, outside the set (0, 1, 2)" in problem


def test_labels_between_whole_numbers_are_named(one):
    published.nifti(one / "labelsTr/hippocampus_001.nii.gz", published.lesion((12, 16, 10)).astype(np.float32) / 2)
    (problem,) = problems(f"msd:{one}")
    assert "label 0.5" in problem


def test_a_constant_image_is_counted_and_left_out(tmp_path):
    published.folder(tmp_path)
    published.png(tmp_path / "images/anna_1.png", np.full((20, 24), 7, np.uint8))
    dataset = f"folder:{tmp_path}"
    report = check(parse(dataset))
    assert report.ok
    assert "is constant (7)" in str(report.problems[0])
    patients = report.found.patients
    (tmp_path / "split.json").write_text(json.dumps({"train": patients, "val": [], "test": []}))
    images = load(dataset, size=(16, 16), split_file=str(tmp_path / "split.json"))
    assert len(images) == 4
    assert any("left out: constant images: 1" in note for note in images.notes)


def test_an_image_smaller_than_a_patch_is_counted(tmp_path):
    published.folder(tmp_path)
    published.png(tmp_path / "images/anna_1.png", published.body((5, 9)))
    published.png(tmp_path / "masks/anna_1.png", published.lesion((5, 9), 255))
    (problem,) = problems(f"folder:{tmp_path}")
    assert "5 x 9, smaller than a patch of 8" in problem
    assert problems(f"folder:{tmp_path}", patch=4) == []


def test_mixed_sizes_are_brought_to_one_size(tmp_path):
    report = check(parse(f"busi:{published.busi(tmp_path)}"))
    assert len(report.shapes) > 1
    assert report.ok


def test_mixed_channel_counts_are_named_and_gray_mixes_them(tmp_path):
    published.folder(tmp_path)
    colour = np.stack([published.body((20, 24))] * 3, -1)
    file = published.png(tmp_path / "images/dora_1.png", colour)
    (problem,) = problems(f"folder:{tmp_path}")
    assert str(file) in problem
    assert "3 channels where the set has 1" in problem
    assert problems(f"folder:{tmp_path}?modality=gray") == []


def test_two_patients_with_one_id_are_named_and_both_left_out_on_skip(tmp_path):
    published.brats2018(tmp_path)
    shutil.copytree(tmp_path / "HGG/Brats18_A_1", tmp_path / "LGG/Brats18_A_1")
    found = problems(f"brats2018:{tmp_path}")
    assert len(found) == 4
    assert all("has the id of" in problem for problem in found)
    assert len(check(parse(f"brats2018:{tmp_path}")).found.cases) == 2


def test_two_patients_with_the_same_pixels_are_known_of(tmp_path):
    published.folder(tmp_path)
    for part in ("images", "masks"):
        shutil.copy(tmp_path / part / "anna_1.png", tmp_path / part / "carl_1.png")
    (problem,) = problems(f"folder:{tmp_path}?patient=^([a-z]+)")
    assert "carl_1.png" in problem
    assert "very pixels of images/anna_1.png, of another patient" in problem


def test_one_bad_file_does_not_hide_another(tmp_path):
    published.msd(tmp_path, cases=6)
    images = tmp_path / "imagesTr"
    (images / "hippocampus_001.nii.gz").write_bytes(b"nothing")
    published.nifti(images / "hippocampus_003.nii.gz", np.full((12, 16, 10), np.nan, np.float32))
    published.nifti(tmp_path / "labelsTr/hippocampus_003.nii.gz", published.lesion((12, 16, 10), 9))
    (tmp_path / "labelsTr/hippocampus_005.nii.gz").unlink()
    report = check(parse(f"msd:{tmp_path}"))
    assert not report.ok
    assert report.opened == 3
    named = " ".join(str(problem) for problem in report.problems)
    for number in ("001", "003", "005"):
        assert f"hippocampus_{number}" in named
    assert "NaN" in named
    assert "label 9" in named


def test_bad_files_can_be_left_out_and_are_counted(tmp_path):
    published.lgg(tmp_path, patients=6)
    broken = tmp_path / "TCGA_CS_4002_1996/TCGA_CS_4002_1996_1.tif"
    broken.write_bytes(broken.read_bytes()[:100])
    parts = [load(f"lgg:{tmp_path}?bad=skip", size=(16, 16), split=split) for split in ("train", "val", "test")]
    assert sum(len(part) for part in parts) == 17
    assert sum("lists them): 1" in note for part in parts for note in part.notes) == 1


def test_a_dicom_folder_with_a_slice_missing_or_two_series_is_named(tmp_path):
    images = tmp_path / "images"
    for name in ("a", "b", "c"):
        published.dicom_series(images / name, published.body((6, 8, 8), np.int16))
    next(images.glob("a/*_3.dcm")).unlink()
    published.dicom(images / "b/extra.dcm", published.body((8, 8)), SeriesInstanceUID="9.9")
    first, second = problems(f"folder:{tmp_path}", patch=4)
    assert "a slice is missing" in first
    assert "more than one series" in second


def test_a_dangling_link_is_named(tmp_path):
    published.folder(tmp_path)
    (tmp_path / "images/anna_1.png").unlink()
    (tmp_path / "images/anna_1.png").symlink_to(tmp_path / "gone.png")
    (problem,) = problems(f"folder:{tmp_path}")
    assert "anna_1.png" in problem


def test_a_link_back_up_is_not_followed_for_ever(tmp_path):
    published.lgg(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path)
    assert problems(f"lgg:{tmp_path}") == []


def test_a_pickle_is_never_opened(tmp_path):
    published.folder(tmp_path)
    np.save(tmp_path / "images/evil.npy", np.array([object()]), allow_pickle=True)
    assert problems(f"folder:{tmp_path}") == []
