import numpy as np
import published
import pytest

from maskgym.data.cases import open_cases
from maskgym.data.check import check
from maskgym.data.find import find
from maskgym.data.layouts import LAYOUTS
from maskgym.data.source import load
from maskgym.data.spec import parse


def everything(dataset, size):
    parts = [load(dataset, size=size, split=split) for split in ("train", "val", "test")]
    patients = [set(part.patients) for part in parts]
    assert not patients[0] & patients[1] | patients[0] & patients[2] | patients[1] & patients[2]
    return parts


def test_every_layout_is_tried_here():
    assert set(published.LAYOUTS) == set(LAYOUTS)


@pytest.mark.parametrize("layout", published.LAYOUTS)
def test_a_set_in_its_published_layout_loads_and_passes_the_check(layout, tmp_path):
    dataset = f"{layout}:{published.LAYOUTS[layout](tmp_path / 'set')}"
    report = check(parse(dataset))
    assert report.ok
    assert report.opened == len(report.found.cases) > 2
    parts = everything(dataset, (16, 16))
    for part in parts:
        assert part.images.shape == (len(part.ids), len(part.channels), 16, 16)
        assert part.images.dtype == np.float32
        assert len(set(part.ids)) == len(part.ids) == len(part.patients) > 0
        assert np.abs(part.images.mean((2, 3))).max() < 1e-4
        spread = part.images.std((2, 3))  # a channel may be empty on a slice that another one fills
        assert np.minimum(spread, np.abs(spread - 1)).max() < 1e-3
        if part.labels is not None:
            assert part.labels.dtype == np.uint8
            assert part.labels.max() <= len(part.classes)


@pytest.mark.parametrize(
    "layout", ["msd", "brats2018", "hecktor", "btcv", "amos", "flare", "totalsegmentator", "autopet"]
)
def test_volumes_load_whole(layout, tmp_path):
    folder = published.LAYOUTS[layout](tmp_path / "set")
    images = load(f"{layout}:{folder}", size=(8, 8, 8))
    assert images.size == (8, 8, 8)
    assert len(images) == len(set(images.patients))
    assert images.labels.any()
    assert images.spacing.shape == (len(images), 3)


def test_lgg_slices_are_ordered_as_numbers(tmp_path):
    found = find(parse(f"lgg:{published.lgg(tmp_path, patients=1, slices=11)}"))
    assert [int(case.id.rpartition("_")[2]) for case in found.cases] == list(range(1, 12))


def test_lgg_channel_one_is_flair(tmp_path):
    published.lgg(tmp_path, patients=3)
    for file in tmp_path.glob("*/*[0-9].tif"):
        pixels = np.stack([published.body((32, 32)) for _ in range(3)], -1)
        pixels[8:12, 8:12, 1] = 255
        published.tiff(file, pixels)
    both = load(f"lgg:{tmp_path}", size=(32, 32))
    flair = load(f"lgg:{tmp_path}?modality=flair", size=(32, 32))
    assert flair.channels == ("FLAIR",)
    np.testing.assert_array_equal(flair.images[:, 0], both.images[:, 1])


def test_brats_labels_1_2_4_become_three_classes_with_the_regions_they_make(tmp_path):
    images = load(f"brats2018:{published.brats2018(tmp_path)}?body=0", size=(10, 12, 12))
    assert images.classes == ("necrosis", "edema", "enhancing")
    assert set(np.unique(images.labels)) == {0, 1, 2, 3}
    assert images.regions["TC"] == ("necrosis", "enhancing")
    assert images.channels == ("FLAIR", "T1", "T1CE", "T2")


def test_modalities_come_in_the_order_asked_for(tmp_path):
    published.brats2018(tmp_path)
    everything_ = load(f"brats2018:{tmp_path}", size=(10, 12, 12))
    two = load(f"brats2018:{tmp_path}?modality=T2,flair", size=(10, 12, 12))
    assert two.channels == ("T2", "FLAIR")
    np.testing.assert_array_equal(two.images[:, 0], everything_.images[:, 3])
    np.testing.assert_array_equal(two.images[:, 1], everything_.images[:, 0])


def test_channels_in_one_file_are_named_by_the_decathlon_json(tmp_path):
    published.msd(tmp_path, modalities=("FLAIR", "T1w"))
    images = load(f"msd:{tmp_path}?modality=T1w", size=(10, 16, 12))
    assert images.channels == ("T1w",)
    assert images.images.shape[1] == 1


def test_pet_on_its_own_grid_is_resampled_onto_the_ct(tmp_path):
    published.hecktor(tmp_path)
    for file in tmp_path.glob("imagesTr/*__PT.nii.gz"):
        pet = np.zeros((8, 8, 4), np.float32)
        pet[4:] = 100  # from x = 8 on in voxels of the CT
        published.nifti(file, pet, np.diag([2.0, 2.0, 2.0, 1.0]))
    images = load(f"hecktor:{tmp_path}", size=(8, 16, 16))
    right_to_left = images.images[0, 1, 4, 8]  # the x axis runs from right to left: turned round
    assert (right_to_left[:8] > right_to_left[-6:].max()).all()


def test_hecktor_2021_is_understood_too(tmp_path):
    assert len(load(f"hecktor:{published.hecktor2021(tmp_path)}", size=(8, 8, 8))) == 1


def test_structures_become_classes_and_can_be_chosen(tmp_path):
    published.totalsegmentator(tmp_path)
    images = load(f"totalsegmentator:{tmp_path}", size=(8, 8, 8))
    assert images.classes == ("aorta", "liver", "spleen")
    assert set(np.unique(images.labels)) == {0, 2}
    assert set(np.unique(load(f"totalsegmentator:{tmp_path}?classes=liver", size=(8, 8, 8)).labels)) == {0, 1}


def test_busi_masks_are_ored_whatever_they_are_saved_as(tmp_path):
    published.busi(tmp_path)
    shape, first = (31, 40), "benign/benign (1)"
    one, two = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    one[5:10, 5:10], two[20:25, 20:30] = 255, 255
    rgba = np.stack([one, one, one, np.full(shape, 255, np.uint8)], -1)
    published.png(tmp_path / f"{first}_mask.png", rgba)
    published.png(tmp_path / f"{first}_mask_1.png", two > 0)  # one bit
    everyone = everything(f"busi:{tmp_path}", shape)
    (label,) = [part.labels[part.ids.index("benign (1)")] for part in everyone if "benign (1)" in part.ids]
    np.testing.assert_array_equal(label > 0, (one > 0) | (two > 0))
    assert any("no patient ids" in note for note in everyone[0].notes)
    assert {everyone[0].grade_names[grade] for grade in everyone[0].grades} <= {"benign", "malignant", "normal"}


def test_messidor_has_grades_and_leaves_ungradable_pictures_out(tmp_path):
    parts = everything(f"messidor2:{published.messidor2(tmp_path)}", (16, 16))
    assert sum(len(part) for part in parts) == 5
    assert parts[0].labels is None
    assert sorted(np.concatenate([part.grades for part in parts])) == [0, 1, 2, 3, 4]


def test_messidor_eye_pairs_keep_both_eyes_of_a_patient_together(tmp_path):
    published.messidor2(tmp_path)
    (tmp_path / "messidor-2.csv").write_text("left;right\n2005_0_PP.png;2005_1_PP.png\n")
    found = find(parse(f"messidor2:{tmp_path}"))
    assert found.layout.has_patients
    assert [case.patient for case in found.cases[:3]] == ["2005_0_PP", "2005_0_PP", "2005_2_PP"]


def test_a_folder_takes_patients_from_a_pattern(tmp_path):
    published.folder(tmp_path)
    found = find(parse(f"folder:{tmp_path}?patient=^([a-z]+)_"))
    assert found.patients == ("anna", "bert", "carl", "dora")


def test_a_folder_may_mix_formats_and_go_without_masks(tmp_path):
    images = tmp_path / "images"
    published.png(images / "a.png", published.body((20, 20)))
    published.tiff(images / "b.tif", published.body((20, 20), np.uint16))
    published.png(images / "c.jpg", published.body((20, 20)))
    published.dicom(images / "d.dcm", published.body((20, 20), np.int16))
    loaded = everything(f"folder:{tmp_path}", (16, 16))
    assert sum(len(part) for part in loaded) == 4
    assert loaded[0].labels is None
    assert loaded[0].classes == ()


def test_pictures_and_volumes_side_by_side_have_no_common_spacing(tmp_path):
    published.folder(tmp_path)
    for name in ("eve_1", "fay_1", "gus_1"):
        published.nifti(tmp_path / "images" / f"{name}.nii.gz", published.body((12, 12, 8)))
        published.nifti(tmp_path / "masks" / f"{name}.nii.gz", published.lesion((12, 12, 8)))
    assert load(f"folder:{tmp_path}", size=(16, 16)).spacing is None


def test_a_folder_of_dicom_slices_is_one_volume_in_the_order_of_the_positions(tmp_path):
    volumes = {name: published.body((6, 8, 10), np.int16) for name in ("a", "b", "c")}
    for name, volume in volumes.items():
        published.dicom_series(tmp_path / "images" / name, volume, spacing=(2.0, 0.5, 0.5))
    images = load(f"folder:{tmp_path}?clip=0,100", size=(6, 8, 10))
    expected = volumes[images.ids[0]].astype(float)
    expected = (expected - expected.mean()) / expected.std()
    np.testing.assert_allclose(images.images[0, 0], expected, atol=1e-4)
    np.testing.assert_allclose(images.spacing[0], (2.0, 0.5, 0.5))


def test_dicom_of_every_kind_makes_a_set_with_its_segmentations(tmp_path):
    """Slices without extension, a volume in one file, and segmentations that leave empty slices out."""
    volumes, marks = {}, {}
    for place, name in enumerate(("slices", "enhanced", "both")):
        volumes[name] = published.body((7, 10, 8), np.int16)
        marks[name] = published.lesion((7, 10, 8)) > 0
        if place % 2:
            published.multi_frame(tmp_path / "images" / f"{name}.dcm", volumes[name])
        else:
            series = published.dicom_series(tmp_path / "images" / name, volumes[name], (3.0, 0.5, 0.25))
            for file in series.iterdir():
                file.rename(file.with_suffix(""))
        published.multi_frame(tmp_path / "masks" / f"{name}.dcm", volumes[name], segments={1: marks[name]})
    cases = open_cases(f"folder:{tmp_path}", "all")
    assert len(cases) == 3
    for case in cases:
        np.testing.assert_array_equal(case.label > 0, marks[case.id])
        np.testing.assert_allclose(case.spacing, (3, 0.5, 0.25))
    (problem,) = check(parse(f"folder:{elsewhere(tmp_path)}"), patch=4).problems
    assert "none of its labels lies on" in str(problem)


def elsewhere(folder):
    """The same set, one segmentation of which lies far above its image."""
    mask = np.zeros((400, 10, 8), bool)
    mask[300:303, 2:5, 2:5] = True
    published.multi_frame(folder / "masks" / "both.dcm", mask, segments={1: mask})
    return folder


def test_a_folder_with_several_classes_names_them(tmp_path):
    published.folder(tmp_path)
    for file in tmp_path.glob("masks/*.png"):
        published.png(file, published.lesion((20, 24), 2))
    images = load(f"folder:{tmp_path}?classes=organ,tumour", size=(20, 24))
    assert images.classes == ("organ", "tumour")
    assert set(np.unique(images.labels)) == {0, 2}
