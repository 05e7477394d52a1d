"""A report of a study whose images were graded: by kappa and the other measures of grades, not by DSC."""

import json

import pytest

from maskgym.downstream.grades import MEASURES
from maskgym.report.load import load
from maskgym.report.write import PAGE, build, report
from tests.report.study_folder import METHODS, PLAN, curve, plan, record, rows, tables

KAPPA = {"scratch": (0.1, 0.2), "random": (0.3, 0.5), "hpm": (0.4, 0.9)}


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "grades"
    plan(folder, 'measure = "kappa"\n' + PLAN)
    for method in METHODS:
        for seed, kappa in enumerate(KAPPA[method]):
            run = folder / "data0" / method / f"seed{seed}" / "share0.1"
            run.mkdir(parents=True)
            measures = dict.fromkeys(MEASURES, 0.05) | {"kappa": kappa, "accuracy": kappa / 2}
            told = {"images": 40, "measures": measures, "network": "unet", "labelled": ["a"], "split": "abc"}
            (run / "scores.json").write_text(json.dumps(told))
            (run / "settings.json").write_text("{}")
            curve(run, {"step": [10, 20], "val kappa": [0.0, kappa]})
            record(folder, f"data0/{method}/seed{seed}/share0.1", 3)
    return folder


def test_grades_are_told_by_kappa_in_every_table_and_no_dsc_is_named(study):
    page = build(load(study))
    glance = rows(tables(page, "Mean kappa on the test images")[0])
    assert [glance[method].popitem()[1].text for method in METHODS] == ["0.150", "0.400", "0.650"]
    means = rows(tables(page, "grades: mean over seeds")[0])
    assert {"accuracy", "F1", "AUROC", "kappa"} < set(means["hpm"])
    assert (means["hpm"]["accuracy"].text, means["hpm"]["kappa"].text) == ("0.325", "0.650")
    differences = rows(tables(page, "paired differences in kappa")[0])
    assert differences["hpm"]["kappa above random masks"].text == "+0.250"
    assert differences["random"]["kappa above a random start"].text == "+0.250"
    report(study, study / "page")
    text = (study / "page" / "REPORT.md").read_text()
    assert "40 test images, graded." in text
    assert "DSC" not in text
    assert "Val kappa while fine-tuning" in (study / "page" / PAGE).read_text()
