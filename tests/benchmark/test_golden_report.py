"""The headline numbers of a report, from scores made by hand, through the functions that write it."""

import numpy as np
import pytest

from maskgym.benchmark import tables
from maskgym.report.load import load
from maskgym.report.page import Rows
from maskgym.report.write import build, render
from maskgym.studies.read import keep
from tests.benchmark.test_golden import PATCHES, known_par, result
from tests.report.study_folder import run

STUDY = """
data = ["phantoms"]
seeds = [0, 1, 2, 3, 4]
shares = [0.1]
[pretrain]
image_size = "32x32"
patch_size = 4
[reconstructor]
[score]
[[method]]
name = "random"
recipe = "random"
[[method]]
name = "good"
recipe = "selfmedhpm"
"""
PATIENTS = np.array([0.3, 0.4, 0.5, 0.6])
RUNS = {"random": [0.0, 0.02, -0.02, 0.01, -0.01], "good": [0.035, 0.025, 0.015, 0.045, 0.005]}
SHARES = {"random": 0.02, "good": 0.2}  # of what there is to win in the game


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study of two methods, whose points are those that `maskgym score` writes."""
    out = tmp_path_factory.mktemp("golden") / "study"
    out.with_suffix(".toml").write_text(STUDY)
    keep(out.with_suffix(".toml"), out)
    game = {"env": "MaskMIMSmall-v0", "split": "test", "patches": PATCHES}
    for method, runs in RUNS.items():
        for seed, better in enumerate(runs):
            run(out, method, seed, {f"p{number}": float(dsc + better) for number, dsc in enumerate(PATIENTS)})
        played = [result("own", SHARES[method]), result("own", 0.1, mode="sampled")]
        scores = tables.summarise(played, known_par(), {"command": "maskgym score own", "game": game})
        folder = out / "data0" / method / "score"
        folder.mkdir(parents=True)
        tables.write(scores, played, known_par(), folder)
    return build(load(out))


def fields(made, caption):
    """The rows of the first table whose caption begins so, by method: what stands under each heading."""
    blocks = [block for section in made.sections for block in section.blocks if isinstance(block, Rows)]
    table = next(block for block in blocks if block.caption.startswith(caption))
    return {
        row[0].text: {name: (one.text, one.small) for name, one in zip(table.headings, row, strict=True)}
        for row in table.rows
    }


def test_the_report_holds_points_against_par_as_they_were_scored(made):
    found = fields(made, "Points (0 = random")
    assert found["good"]["points"] == ("70.0", "[59.8, 80.2]")
    assert found["random"]["points"] == ("52.0", "[41.8, 62.2]")
    assert found["good"]["mean reward"] == ("2.4", "")


def test_the_report_holds_means_with_students_interval_over_seeds_and_patients(made):
    # Patients: deviation 0.129 of 4; runs: 0.016 of 5; no rest. So the error is 0.065 on 3.1 degrees: t 3.16 of 95 %.
    assert fields(made, "lesion: mean over")["random"]["DSC"] == ("0.450", "[0.246, 0.654]")
    assert fields(made, "Mean DSC on")["good"]["phantoms, 10\N{NO-BREAK SPACE}% of the labels"][0] == "0.475"


def test_the_report_gives_a_difference_the_sign_and_side_of_the_method(made):
    found = fields(made, "lesion: paired differences")["good"]
    # Pair by pair 0.035, 0.005, 0.035, 0.035, 0.015: mean 0.025, deviation 0.01414, t 2.776 on 4 degrees.
    assert found["DSC above random masks"] == ("+0.025", "[+0.007, +0.043]")
    assert found["P(better than random masks)"][0] == "0.88"  # in 22 of 25 pairs of runs, on every patient
    worth = fields(made, "DSC minus that of the baseline")["good"]
    assert worth["worth"] == ("+0.0250", "[+0.0074, +0.0426]")
    assert worth["standard error"][0] == "0.0063"
    assert "above random masks: good (+0.025)" in render(made, "report.md.j2")
