import numpy as np
import pytest
import torch
from scipy import ndimage

from maskgym.downstream.metrics import METRICS, boundary, boundary_iou, boundary_width, measure


def blob(size: tuple[int, ...], seed: int) -> np.ndarray:
    """A ragged region that touches the edge of the image now and then."""
    noise = np.random.default_rng(seed).standard_normal(size)
    return ndimage.gaussian_filter(noise, 2.0) > 0.08


def surface(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)


def distances(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """From the surface of each mask to the other's, by brute force over all pairs of points."""
    first, second = (np.argwhere(surface(mask)) * spacing for mask in (a, b))
    apart = np.sqrt(((first[:, None] - second[None]) ** 2).sum(-1))
    return apart.min(1), apart.min(0)


PAIRS = [
    pytest.param((24, 24), None, id="picture"),
    pytest.param((24, 20), (0.5, 2.0), id="picture of oblong pixels"),
    pytest.param((10, 12, 14), None, id="volume"),
    pytest.param((8, 12, 14), (3.0, 1.0, 0.7), id="volume of oblong voxels"),
]


@pytest.mark.parametrize(("size", "spacing"), PAIRS)
def test_surface_measures_equal_brute_force(size, spacing):
    for seed in range(5):
        a, b = blob(size, seed), blob(size, seed + 100)
        found = measure(a, b, spacing, tolerance=1.2)
        there, back = distances(a, b, spacing or (1.0,) * len(size))
        assert found["HD95"] == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-4)
        close = (there <= 1.2).sum() + (back <= 1.2).sum()
        assert found["NSD"] == pytest.approx(close / (len(there) + len(back)), rel=1e-4)


@pytest.mark.parametrize(("size", "spacing"), PAIRS)
def test_overlap_equals_counting_pixel_by_pixel(size, spacing):
    a, b = blob(size, 1), blob(size, 2)
    true = sum(x and y for x, y in zip(a.flat, b.flat, strict=True))
    extra = sum(x and not y for x, y in zip(a.flat, b.flat, strict=True))
    missed = sum(y and not x for x, y in zip(a.flat, b.flat, strict=True))
    found = measure(a, b, spacing)
    assert found["DSC"] == pytest.approx(2 * true / (2 * true + extra + missed), abs=1e-5)
    assert found["PPV"] == pytest.approx(true / (true + extra), abs=1e-5)
    assert found["SEN"] == pytest.approx(true / (true + missed), abs=1e-5)
    assert found["IoU"] == pytest.approx(true / (true + extra + missed), abs=1e-5)


def test_a_square_moved_by_one_pixel_scores_what_is_worked_out_by_hand():
    truth, predicted = np.zeros((16, 16), bool), np.zeros((16, 16), bool)
    truth[4:8, 4:8] = True
    predicted[4:8, 5:9] = True
    found = measure(predicted, truth, (1.0, 2.0), tolerance=1.0)
    assert found["DSC"] == pytest.approx(0.75, abs=1e-5)  # 12 of 16 common
    assert found["PPV"] == found["SEN"] == pytest.approx(0.75, abs=1e-5)
    assert found["IoU"] == pytest.approx(12 / 20, abs=1e-5)
    assert found["HD95"] == pytest.approx(2.0)  # a column of 4 of 12 edge pixels is one pixel, 2 mm, away
    # Of each ring of 12, the 3 + 3 common pixels are close, and so are the two of the inner column beside them
    assert found["NSD"] == pytest.approx((8 + 8) / 24)
    assert found["BIoU"] == pytest.approx(6 / 18, abs=1e-4)  # rings of 12 that share 3 + 3 pixels


def test_equal_masks_are_perfect_in_everything():
    mask = blob((10, 12, 14), 3)
    found = measure(mask, mask, (2.0, 1.0, 1.0))
    assert found["HD95"] == 0.0
    assert [found[name] for name in METRICS if name != "HD95"] == pytest.approx([1.0] * 6, abs=1e-4)


def test_a_missed_structure_costs_the_diagonal_and_not_nothing():
    truth, nothing = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    truth[5:9, 5:9] = True
    missed = measure(nothing, truth)
    assert missed["HD95"] == 50.0
    assert [missed[name] for name in METRICS if name != "HD95"] == [0.0] * 6
    in_mm = measure(nothing, truth, (2.0, 2.0))
    assert in_mm["HD95"] == 100.0


def test_a_structure_that_is_not_there_has_no_sensitivity():
    truth, nothing = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    truth[5:9, 5:9] = True
    invented = measure(truth, nothing)
    assert invented["SEN"] is None
    assert invented["HD95"] == 50.0
    assert invented["DSC"] == invented["PPV"] == invented["NSD"] == invented["BIoU"] == 0.0


def test_nothing_against_nothing_is_left_out_of_every_measure():
    nothing = np.zeros((8, 8), bool)
    assert measure(nothing, nothing) == dict.fromkeys(METRICS)


@pytest.mark.parametrize("side", [8, 64, 144, 160])
def test_the_boundary_by_pooling_is_the_boundary_by_erosion(side):
    masks = np.stack([blob((side, side), seed) for seed in range(3)])
    width = boundary_width((side, side))
    pooled = boundary(torch.from_numpy(masks), width).numpy()
    for mask, band in zip(masks, pooled, strict=True):
        eroded = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)
        assert (band == (mask & ~eroded)).all()


def test_the_boundary_of_a_volume_is_the_boundary_by_erosion():
    mask = blob((14, 16, 18), 0)
    eroded = ndimage.binary_erosion(mask, np.ones((3, 3, 3)), iterations=2, border_value=0)
    assert (boundary(torch.from_numpy(mask)[None], 2)[0].numpy() == (mask & ~eroded)).all()


def test_boundary_widths_are_those_of_the_papers_images():
    assert [boundary_width((side, side)) for side in (8, 144, 160, 256, 320)] == [1, 4, 5, 7, 9]


def test_boundaries_of_stacked_slices_are_drawn_in_each_slice():
    truth = np.stack([blob((40, 40), seed) for seed in range(3)])
    predicted = np.stack([blob((40, 40), seed + 50) for seed in range(3)])
    both = either = 0
    for a, b in zip(predicted, truth, strict=True):
        bands = [mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), border_value=0) for mask in (a, b)]
        both, either = both + (bands[0] & bands[1]).sum(), either + (bands[0] | bands[1]).sum()
    assert boundary_iou(predicted, truth, slices=True) == pytest.approx(both / either, abs=1e-4)
    assert boundary_iou(predicted, truth) != pytest.approx(both / either, abs=1e-4)
