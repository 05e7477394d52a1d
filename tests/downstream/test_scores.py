import csv
import io

import numpy as np
import pytest

from maskgym.data.cases import Cases
from maskgym.downstream.metrics import METRICS, measure
from maskgym.downstream.scores import Scores, dice, regions_of, score, to_csv
from tests.downstream.held import hold


def scored(given: np.ndarray, cases: Cases) -> Scores:
    return score(zip(cases, given, strict=True), cases)


def squares(*at: tuple[int, int, int, int]) -> np.ndarray:
    """A slice for each of (row, column, side, class)."""
    labels = np.zeros((len(at), 24, 24), np.uint8)
    for label, (row, column, side, value) in zip(labels, at, strict=True):
        label[row : row + side, column : column + side] = value
    return labels


def test_slices_of_a_patient_are_measured_as_one_stack():
    truth = squares((4, 4, 8, 1), (4, 4, 8, 1), (9, 9, 4, 1))
    given = squares((4, 4, 8, 1), (0, 0, 0, 0), (9, 10, 4, 1))
    scores = scored(given, hold(truth, ("anna", "anna", "bert")))
    assert scores.patients["anna"]["core"]["DSC"] == pytest.approx(2 * 64 / (64 + 128), abs=1e-5)
    assert scores.patients["bert"]["core"] == measure(given[2] == 1, truth[2] == 1)
    assert scores.mean["core"]["DSC"] == pytest.approx((2 / 3 + 0.75) / 2, abs=1e-5)
    assert scores.patients["anna"]["core"] == measure(given[:2] == 1, truth[:2] == 1, slices=True)


def test_per_slice_means_count_every_slice_once():
    truth = squares((4, 4, 8, 1), (4, 4, 8, 1), (9, 9, 4, 1))
    given = squares((4, 4, 8, 1), (0, 0, 0, 0), (9, 10, 4, 1))
    per_slice = scored(given, hold(truth, ("anna", "anna", "bert"))).per_slice
    assert per_slice is not None
    assert per_slice["core"]["DSC"] == pytest.approx((1 + 0 + 0.75) / 3, abs=1e-5)


def test_who_has_nothing_and_was_given_nothing_is_left_out_and_counted():
    truth = squares((4, 4, 8, 1), (0, 0, 0, 0))
    scores = scored(truth, hold(truth, ("anna", "bert")))
    assert scores.patients["bert"]["core"] == dict.fromkeys(METRICS)
    assert scores.left_out["core"] == dict.fromkeys(METRICS, 1)
    assert scores.left_out["rim"] == dict.fromkeys(METRICS, 2)
    assert scores.mean["core"]["HD95"] == 0.0
    assert scores.mean["rim"]["HD95"] is None


def test_regions_made_of_several_classes_are_scored_beside_the_classes():
    truth, given = squares((4, 4, 8, 1)), squares((4, 4, 8, 2))
    data = hold(truth, ("anna",), regions={"whole": ("core", "rim")})
    assert regions_of(data) == {"core": (1,), "rim": (2,), "whole": (1, 2)}
    scores = scored(given, data)
    assert scores.mean["whole"]["DSC"] == pytest.approx(1.0, abs=1e-4)
    assert scores.mean["core"]["DSC"] == 0.0
    assert dice(zip(data, given, strict=True), data) == {region: scores.mean[region]["DSC"] for region in scores.mean}


def test_distances_are_in_millimetres_where_spacing_is_known():
    truth, given = squares((4, 4, 4, 1)), squares((4, 8, 4, 1))
    in_mm = scored(given, hold(truth, ("anna",), mm=(1.0, 3.0))).patients["anna"]["core"]
    in_pixels = scored(given, hold(truth, ("anna",))).patients["anna"]["core"]
    assert in_mm["HD95"] == 3 * in_pixels["HD95"]


def test_the_distance_of_slices_counts_in_a_volume():
    """An error of one slice in a volume whose slices are 5 mm apart is an error of 5 mm."""
    truth = np.zeros((1, 9, 24, 24), np.uint8)
    truth[0, 3:6, 4:12, 4:12] = 1
    given = np.roll(truth, 1, axis=1)
    measures = scored(given, hold(truth, ("anna",), mm=(5.0, 1.0, 1.0))).patients["anna"]["core"]
    assert measures["HD95"] == 5.0
    assert measures["NSD"] < 0.8


def test_pooled_dice_counts_the_pixels_of_all_cases_together_and_the_background_too():
    truth = squares((4, 4, 8, 1), (4, 4, 8, 2), (0, 0, 0, 0))
    given = squares((4, 4, 8, 1), (4, 4, 8, 1), (4, 4, 8, 1))
    pooled = scored(given, hold(truth, ("anna", "bert", "carl"))).pooled
    pixels = 3 * 24 * 24
    assert pooled["core"] == 2 * 64 / (64 + 3 * 64)
    assert pooled["rim"] == 0.0
    assert pooled["background"] == 2 * (pixels - 192) / (2 * pixels - 192 - 128)
    assert pooled["mean"] == pytest.approx((pooled["core"] + pooled["rim"] + pooled["background"]) / 3)


def test_overlap_alone_leaves_distances_undefined_and_the_rest_as_it_is():
    truth, given = squares((4, 4, 4, 1)), squares((4, 6, 4, 1))
    cases = hold(truth, ("anna",))
    alone = score(zip(cases, given, strict=True), cases, surfaces=False).patients["anna"]["core"]
    whole = scored(given, cases).patients["anna"]["core"]
    assert {name for name in METRICS if alone[name] is None} == {"HD95", "BIoU", "NSD"}
    assert all(alone[name] == whole[name] for name in METRICS if alone[name] is not None)


def test_volumes_are_measured_whole_and_a_patients_volumes_averaged():
    truth = np.stack([squares((4, 4, 8, 1), (4, 4, 8, 1), (4, 4, 8, 1)) for _ in range(2)])
    given = truth.copy()
    given[1] = 0
    scores = scored(given, hold(truth, ("anna", "anna")))
    assert scores.per_slice is None
    assert scores.patients["anna"]["core"]["DSC"] == pytest.approx(0.5, abs=1e-4)


def test_the_table_holds_a_line_for_each_patient_and_region():
    truth = squares((4, 4, 8, 1), (0, 0, 0, 0))
    rows = list(csv.DictReader(io.StringIO(to_csv(scored(truth, hold(truth, ("anna", "bert")))))))
    assert [(row["patient"], row["region"]) for row in rows] == [
        ("anna", "core"), ("anna", "rim"), ("bert", "core"), ("bert", "rim"),
    ]  # fmt: skip
    assert float(rows[0]["HD95"]) == 0.0
    assert rows[2]["HD95"] == ""
