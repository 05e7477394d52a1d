import csv
import io

import numpy as np
import pytest

from maskgym.data.source import Images
from maskgym.downstream.metrics import METRICS, measure
from maskgym.downstream.scores import dice, regions_of, score, to_csv


def images(labels: np.ndarray, patients: tuple[str, ...], **more: object) -> Images:
    ids = tuple(f"{patient}_{place}" for place, patient in enumerate(patients))
    keys = {"classes": ("core", "rim"), "channels": ("intensity",), **more}
    return Images(np.zeros((len(labels), 1, *labels.shape[1:]), np.float32), labels, ids, patients, **keys)


def squares(*at: tuple[int, int, int, int]) -> np.ndarray:
    """A slice for each of (row, column, side, class)."""
    labels = np.zeros((len(at), 24, 24), np.uint8)
    for label, (row, column, side, value) in zip(labels, at, strict=True):
        label[row : row + side, column : column + side] = value
    return labels


def test_slices_of_a_patient_are_measured_as_one_stack():
    truth = squares((4, 4, 8, 1), (4, 4, 8, 1), (9, 9, 4, 1))
    given = squares((4, 4, 8, 1), (0, 0, 0, 0), (9, 10, 4, 1))
    scores = score(given, images(truth, ("anna", "anna", "bert")))
    assert scores.patients["anna"]["core"]["DSC"] == pytest.approx(2 * 64 / (64 + 128), abs=1e-5)
    assert scores.patients["bert"]["core"] == measure(given[2] == 1, truth[2] == 1)
    assert scores.mean["core"]["DSC"] == pytest.approx((2 / 3 + 0.75) / 2, abs=1e-5)
    assert scores.patients["anna"]["core"] == measure(given[:2] == 1, truth[:2] == 1, slices=True)


def test_per_slice_means_count_every_slice_once():
    truth = squares((4, 4, 8, 1), (4, 4, 8, 1), (9, 9, 4, 1))
    given = squares((4, 4, 8, 1), (0, 0, 0, 0), (9, 10, 4, 1))
    per_slice = score(given, images(truth, ("anna", "anna", "bert"))).per_slice
    assert per_slice is not None
    assert per_slice["core"]["DSC"] == pytest.approx((1 + 0 + 0.75) / 3, abs=1e-5)


def test_who_has_nothing_and_was_given_nothing_is_left_out_and_counted():
    truth = squares((4, 4, 8, 1), (0, 0, 0, 0))
    scores = score(truth, images(truth, ("anna", "bert")))
    assert scores.patients["bert"]["core"] == dict.fromkeys(METRICS)
    assert scores.left_out["core"] == dict.fromkeys(METRICS, 1)
    assert scores.left_out["rim"] == dict.fromkeys(METRICS, 2)
    assert scores.mean["core"]["HD95"] == 0.0
    assert scores.mean["rim"]["HD95"] is None


def test_regions_made_of_several_classes_are_scored_beside_the_classes():
    truth, given = squares((4, 4, 8, 1)), squares((4, 4, 8, 2))
    data = images(truth, ("anna",), regions={"whole": ("core", "rim")})
    assert regions_of(data) == {"core": (1,), "rim": (2,), "whole": (1, 2)}
    scores = score(given, data)
    assert scores.mean["whole"]["DSC"] == pytest.approx(1.0, abs=1e-4)
    assert scores.mean["core"]["DSC"] == 0.0
    assert dice(given, data) == {region: scores.mean[region]["DSC"] for region in scores.mean}


def test_distances_are_in_millimetres_where_spacing_is_known():
    truth, given = squares((4, 4, 4, 1)), squares((4, 8, 4, 1))
    spacing = np.array([[1.0, 3.0]], np.float32)
    in_mm = score(given, images(truth, ("anna",), spacing=spacing)).patients["anna"]["core"]
    in_pixels = score(given, images(truth, ("anna",))).patients["anna"]["core"]
    assert in_mm["HD95"] == 3 * in_pixels["HD95"]


def test_volumes_are_measured_whole_and_a_patients_volumes_averaged():
    truth = np.stack([squares((4, 4, 8, 1), (4, 4, 8, 1), (4, 4, 8, 1)) for _ in range(2)])
    given = truth.copy()
    given[1] = 0
    scores = score(given, images(truth, ("anna", "anna")))
    assert scores.per_slice is None
    assert scores.patients["anna"]["core"]["DSC"] == pytest.approx(0.5, abs=1e-4)


def test_the_table_holds_a_line_for_each_patient_and_region():
    truth = squares((4, 4, 8, 1), (0, 0, 0, 0))
    rows = list(csv.DictReader(io.StringIO(to_csv(score(truth, images(truth, ("anna", "bert")))))))
    assert [(row["patient"], row["region"]) for row in rows] == [
        ("anna", "core"), ("anna", "rim"), ("bert", "core"), ("bert", "rim"),
    ]  # fmt: skip
    assert float(rows[0]["HD95"]) == 0.0
    assert rows[2]["HD95"] == ""
