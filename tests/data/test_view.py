import numpy as np
import published
import pytest

from maskgym.data.cases import Frames, open_cases
from maskgym.data.grid import centred, resize, window
from maskgym.data.normalise import zscore
from maskgym.data.source import load


def volume_set(folder, make, cases=3, affine=None):
    """A folder data set of volumes, the labels 1 where the volume is above 200."""
    for number in range(cases):
        volume = make(number)
        published.nifti(folder / "images" / f"{number}.nii.gz", volume, affine)
        published.nifti(folder / "masks" / f"{number}.nii.gz", (volume > 200).astype(np.uint8), affine)
    return f"folder:{folder}"


def test_resizing_to_the_same_size_changes_nothing():
    image = published.body((1, 6, 8), np.float32)
    np.testing.assert_array_equal(resize(image, (6, 8)), image)


def test_a_linear_ramp_stays_linear_when_it_grows():
    ramp = np.arange(8, dtype=np.float32)[None]
    np.testing.assert_allclose(resize(ramp, (16,))[0, 1:-1], np.arange(0.25, 7, 0.5), atol=1e-6)


def test_shrinking_averages_instead_of_skipping():
    noise = np.random.default_rng(0).standard_normal((1, 64, 64)).astype(np.float32)
    assert resize(noise, (8, 8)).std() < 0.2


def test_labels_are_never_mixed():
    labels = published.lesion((1, 12, 12), 7) * 3
    assert set(np.unique(resize(labels, (7, 19), nearest=True))) <= {0, 21}


def test_growing_by_a_whole_factor_repeats_labels():
    labels = np.arange(6).reshape(1, 2, 3)
    np.testing.assert_array_equal(resize(labels, (4, 6), nearest=True)[0], labels[0].repeat(2, 0).repeat(2, 1))


def test_padding_and_cropping_keep_the_centre():
    image = np.arange(1, 17, dtype=np.float32).reshape(1, 4, 4)

    def about_the_centre(size):
        return window(image, ((0, 4), (0, 4)), (4, 4), centred((4, 4), size), size, fill=-1)[0]

    np.testing.assert_array_equal(about_the_centre((2, 2)), image[0, 1:3, 1:3])
    padded = about_the_centre((8, 2))
    np.testing.assert_array_equal(padded[2:6], image[0, :, 1:3])
    assert (padded[:2] == -1).all()


def test_a_crop_lies_elsewhere_in_each_image_always_there_and_answers_go_back_to_it(tmp_path):
    spots = {}
    for dims in (2, 3):
        dataset = volume_set(
            tmp_path / str(dims), lambda number: np.indices((24, 24, 24)).sum(0).astype(np.uint8) + number
        )
        cases = open_cases(f"{dataset}?fit=crop", "train", size=(8,) * dims)
        frames, again = (Frames(cases, cases.view((8,) * dims, normalise="none")) for _ in range(2))
        corners = {float(frames.load(number).min()) for number in range(len(frames))}
        assert len(corners) > min(4, len(frames) - 1), "places differ"
        for number in range(len(frames)):
            np.testing.assert_array_equal(frames.load(number), again.load(number))
        case, index = frames.items[0]
        shown = np.ones((8,) * dims, np.uint8)
        native = frames.view.to_native(case, shown[None], [index])
        assert native.sum() == 8**dims
        assert set(case.image[0][native > 0].ravel()) == set(frames.load(0).ravel())
        spots[dims] = corners
    assert spots[2] != spots[3]


@pytest.mark.parametrize("nearest", [False, True])
def test_a_window_is_what_the_whole_would_show_there(nearest):
    array = np.random.default_rng(0).random((2, 11, 14)).astype(np.float32)
    for grid in ((11, 14), (7, 30), (25, 9)):
        whole = window(array, ((0, 11), (0, 14)), grid, (0, 0), grid, nearest=nearest)
        part = window(array, ((0, 11), (0, 14)), grid, (3, 2), (4, 6), nearest=nearest)
        np.testing.assert_allclose(part, whole[:, 3:7, 2:8], atol=1e-6)


def test_a_zscore_over_nonzero_pixels_leaves_zeros_out_of_the_count():
    image = np.array([[[0, 0, 2, 4]]], np.float32)
    np.testing.assert_allclose(zscore(image, image != 0)[0, 0], [-3, -3, -1, 1])
    assert abs(zscore(image).mean()) < 1e-6


def test_a_flat_channel_becomes_zero_and_a_faint_one_does_not():
    faint = np.array([[[1e-9, 2e-9, 3e-9, 4e-9]], [[5, 5, 5, 5 + 1e-7]]], np.float32)
    scored = zscore(faint)
    assert abs(scored[0].std() - 1) < 1e-5
    assert not scored[1].any()


def test_an_image_that_is_flat_once_cropped_is_left_out(tmp_path):
    def rim(number):
        volume = np.full((20, 20, 20), 3, np.float32)
        volume[0] = 9
        return volume if number else published.body((20, 20, 20), np.float32)

    dataset = volume_set(tmp_path / "set", rim, cases=4)
    (tmp_path / "all.json").write_text('{"train": ["0", "1", "2", "3"], "val": [], "test": []}')
    whole = load(f"{dataset}?fit=pad", size=(20, 20, 20), split_file=str(tmp_path / "all.json"))
    cropped = load(f"{dataset}?fit=pad", size=(10, 10, 10), split_file=str(tmp_path / "all.json"))
    assert (len(whole), cropped.ids) == (4, ("0",))
    assert "left out: constant images: 3" in cropped.notes


def test_slices_are_cut_across_the_axis_asked_for(tmp_path):
    dataset = volume_set(tmp_path, lambda _: published.body((20, 24, 28), np.float32))
    for axis, size, letter in ((0, (28, 24), "x"), (1, (28, 20), "y"), (2, (24, 20), "z")):
        images = load(f"{dataset}?axis={axis}&body=0.01", size=size)
        assert all(f"_{letter}" in name for name in images.ids)


def test_the_head_is_up_the_front_is_up_and_right_is_left(tmp_path):
    """One bright corner: the patient's left, front, head. x runs to the right, y to the front, z to the head."""
    corner = published.body((20, 20, 20), np.float32)
    corner[2:4, 16:18, 16:18] = 1000
    dataset = volume_set(tmp_path, lambda _: corner)
    for axis, to_the_left in ((2, False), (1, False), (0, True)):
        images = load(f"{dataset}?axis={axis}&clip=0,100&body=0", size=(20, 20))
        _, _, row, column = np.unravel_index(images.images.argmax(), images.images.shape)
        assert row < 10
        assert (column < 10) == to_the_left


def test_a_volume_stored_in_another_orientation_comes_out_the_same(tmp_path):
    rng = np.random.default_rng(1)
    volumes = [rng.integers(0, 255, (8, 10, 12)).astype(np.float32) for _ in range(3)]
    plain = load(volume_set(tmp_path / "a", volumes.__getitem__), size=(12, 10, 8))
    turned = np.array([[0, 0, -1, 7], [1, 0, 0, 0], [0, -1, 0, 11], [0, 0, 0, 1.0]])  # of (y, -z, -x)

    def stored(number):
        return volumes[number][::-1, :, ::-1].transpose(1, 2, 0)

    other = load(volume_set(tmp_path / "b", stored, affine=turned), size=(12, 10, 8))
    np.testing.assert_array_equal(plain.images, other.images)
    np.testing.assert_array_equal(plain.labels, other.labels)


def test_spacing_is_evened_out_before_slicing(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (16, 16, 8)).astype(np.uint8)
    dataset = volume_set(tmp_path, lambda _: noise, affine=np.diag([1, 1, 3.0, 1]))
    coarse = load(f"{dataset}?body=0", size=(16, 16))
    fine = load(f"{dataset}?body=0&spacing=1", size=(16, 16))
    assert len(fine) == 3 * len(coarse)
    np.testing.assert_allclose(fine.spacing, 1)
    flat = load(f"{dataset}?spacing=1,1,2", size=(12, 16, 16))
    np.testing.assert_allclose(flat.spacing[0], (2, 1, 1))


def test_the_spacing_told_is_that_of_the_images_not_of_the_files(tmp_path):
    dataset = volume_set(tmp_path, lambda _: published.body((16, 16, 8)), affine=np.diag([2, 2, 3.0, 1]))
    np.testing.assert_allclose(load(dataset, size=(32, 16)).spacing[0], (1, 2))
    np.testing.assert_allclose(load(f"{dataset}?fit=pad", size=(32, 16)).spacing[0], (2, 2))


def test_a_window_clips_in_the_units_of_the_file(tmp_path):
    def volume(_):
        out = np.full((12, 12, 6), -1000, np.int16)
        out[3:9, 3:9], out[5, 5], out[6, 6] = 40, 3000, -100
        return out

    images = load(f"{volume_set(tmp_path, volume)}?window=-160,240&body=0", size=(6, 12, 12))
    assert len(np.unique(images.images[0].round(4))) == 4
    ordinary = np.array([-160, -100, 40, 240])
    got = np.unique(images.images[0].round(4))
    np.testing.assert_allclose(np.diff(got) / (got[-1] - got[0]), np.diff(ordinary) / 400, atol=1e-3)


def test_one_wild_voxel_does_not_darken_the_rest(tmp_path):
    def wild(_):
        out = published.body((12, 12, 12), np.float32)
        out[6, 6, 6] = 1e6
        return out

    assert load(volume_set(tmp_path, wild), size=(12, 12, 12)).images.max() < 5


def test_slices_without_body_are_dropped_and_counted_whatever_their_labels(tmp_path):
    for name in "abc":
        volume = np.zeros((20, 20, 10), np.float32)
        volume[4:16, 4:16, 3:8] = published.body((12, 12, 5)) + 100
        volume[..., 0] += np.random.default_rng(0).random((20, 20)) * 5  # noise in the air
        label = np.zeros((20, 20, 10), np.uint8)
        label[8:12, 8:12, 0] = 1
        published.nifti(tmp_path / "images" / f"{name}.nii.gz", volume)
        published.nifti(tmp_path / "masks" / f"{name}.nii.gz", label)
    images = load(f"folder:{tmp_path}", size=(16, 16))
    assert len(images) == 5
    assert not images.labels.any()
    assert "left out: slices without body: 5" in images.notes
    assert len(load(f"folder:{tmp_path}?body=0", size=(16, 16))) == 6  # the others are one flat value


def test_black_lgg_slices_are_dropped(tmp_path):
    published.lgg(tmp_path)
    for file in tmp_path.glob("*/*_1.tif"):
        published.tiff(file, np.random.default_rng(0).integers(0, 9, (32, 32, 3)).astype(np.uint8))
    images = load(f"lgg:{tmp_path}", size=(32, 32))
    assert not any(name.endswith("_1") for name in images.ids)


def test_padded_volumes_keep_their_labels_in_place(tmp_path):
    dataset = volume_set(tmp_path, lambda _: published.body((10, 12, 8), np.float32))
    images = load(f"{dataset}?fit=pad&clip=0,100", size=(16, 16, 16))
    inside = images.images[0, 0][images.labels[0] == 1]
    outside = images.images[0, 0][images.labels[0] == 0]
    assert inside.min() > outside.max()


@pytest.mark.parametrize("zscore_over", ["all", "nonzero"])
def test_mean_and_deviation_are_those_of_what_is_counted(tmp_path, zscore_over):
    dataset = volume_set(tmp_path, lambda _: published.body((12, 12, 12), np.float32))
    images = load(f"{dataset}?zscore={zscore_over}&clip=0,100", size=(12, 12, 12))
    image = images.images[0, 0]
    counted = image if zscore_over == "all" else image[2:10, 2:10, 2:10]  # where `body` is not zero
    assert abs(counted.mean()) < 1e-4
    assert abs(counted.std() - 1) < 1e-4
