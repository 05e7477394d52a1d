import numpy as np
import pytest

from maskgym.data import phantoms

SIZES = [(64, 64), (128, 128), (96, 64), (32, 32, 32), (16, 32, 24)]
sizes = pytest.mark.parametrize("size", SIZES, ids=str)


@sizes
def test_a_picture_depends_on_seed_and_index_and_not_on_its_batch(size):
    images, labels = phantoms.make(3, np.arange(40), size)
    for chosen in ([7], [39, 0, 20], np.arange(5, 38)):
        some_images, some_labels = phantoms.make(3, np.asarray(chosen), size)
        np.testing.assert_array_equal(some_images, images[chosen])
        np.testing.assert_array_equal(some_labels, labels[chosen])


@sizes
def test_other_seeds_and_other_indices_give_other_pictures(size):
    images = np.concatenate([phantoms.make(seed, np.arange(12), size)[0] for seed in (0, 1)])
    flat = images.reshape(len(images), -1)
    alike = np.corrcoef(flat) - np.eye(len(flat))
    assert np.abs(alike).max() < 0.9


@sizes
def test_a_picture_is_finite_float32_of_mean_0_and_variance_1(size):
    images, labels = phantoms.make(0, np.arange(20), size)
    assert images.shape == (20, 1, *size)
    assert images.dtype == np.float32
    assert labels.shape == (20, *size)
    assert labels.dtype == np.uint8
    flat = images.reshape(20, -1).astype(np.float64)
    assert np.isfinite(flat).all()
    np.testing.assert_allclose(flat.mean(1), 0, atol=1e-4)
    np.testing.assert_allclose(flat.std(1), 1, atol=1e-4)


@sizes
def test_every_picture_has_a_small_lesion_inside_the_body(size):
    _, labels = phantoms.make(0, np.arange(150), size)
    share = labels.reshape(150, -1).mean(1)
    assert set(np.unique(labels)) == {0, 1}
    assert share.min() > (0.001 if len(size) == 2 else 0.0003)
    assert share.max() < (0.07 if len(size) == 2 else 0.025)
    rim = np.ones(size[-2:], bool)
    rim[1:-1, 1:-1] = False
    assert not labels[..., rim].any()


def test_lesions_stand_out_and_their_borders_are_irregular():
    images, labels = phantoms.make(0, np.arange(60), (128, 128))
    lesion = labels.astype(bool)
    assert images[:, 0][lesion].mean() > images[:, 0][~lesion].mean() + 0.3
    ring = np.zeros_like(lesion)
    for axis in (1, 2):
        ring |= lesion != np.roll(lesion, 1, axis)
    disc = 2 * np.sqrt(2 * lesion.sum((1, 2)) / np.pi)  # pixels crossed along one axis by a disc of that area, doubled
    assert np.mean(ring.sum((1, 2)) > disc) > 0.5


def test_no_pictures_asked_for_gives_no_pictures():
    images, labels = phantoms.make(0, np.arange(0), (64, 64))
    assert images.shape == (0, 1, 64, 64)
    assert labels.shape == (0, 64, 64)


@pytest.mark.parametrize("size", [(64, 64), (16, 32, 24)], ids=str)
def test_anatomy_labels_every_tissue_of_the_very_same_pictures(size):
    images, lesions = phantoms.make(0, np.arange(60), size)
    again, classes = phantoms.make(0, np.arange(60), size, anatomy=True)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(classes == 7, lesions == 1)
    assert set(np.unique(classes)) == set(range(8))
    picture = images[:, 0]
    assert picture[classes == 0].mean() < picture[classes == 2].mean() < picture[classes == 6].mean()
    assert not classes[:, ..., 0, 0].any()  # a corner is air


def test_anatomy_tells_organs_by_their_texture():
    images, classes = phantoms.make(0, np.arange(40), (128, 128), anatomy=True)
    jump = np.abs(np.diff(images[:, 0], axis=-1))

    def roughness(label):  # between neighbours of one class
        return jump[(classes[..., 1:] == label) & (classes[..., :-1] == label)].mean()

    assert roughness(3) < roughness(5) < roughness(4)  # flat, speckled, fibrous
