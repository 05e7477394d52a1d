"""Studies in folds: every seed keeps to a split of its own, and every patient is tested once."""

import json

import numpy as np
import pytest
from PIL import Image

from maskgym.cli import run
from maskgym.commands.study import _check
from maskgym.errors import BadInput
from maskgym.report.load import load
from maskgym.report.page import Notes
from maskgym.report.write import build
from maskgym.studies.plan import plan
from maskgym.studies.read import keep, read_study
from tests.report.study_folder import plan as write_study
from tests.report.study_folder import rows, tables
from tests.report.study_folder import run as fine_tuned
from tests.studies.study_file import STUDY, after

FOLDS = STUDY.replace('["phantoms", "lgg:/nowhere"]', '["busi:/nowhere", "lgg:/nowhere"]').replace(
    "[0, 1]", "[0, 1, 4]"
)
FOLDS = "folds = 3\n" + FOLDS.replace("[score]\nimages = 6\nsteps = 100\n", "[control]\n")
FOLDS += '[[method]]\nname = "elsewhere"\nrecipe = "random"\n[method.pretrain]\ndata = "folder:/nowhere"\n'


@pytest.fixture
def folds(tmp_path):
    (tmp_path / "s.toml").write_text(FOLDS)
    return {job.name: job for job in plan(read_study(tmp_path / "s.toml"), tmp_path / "out")}


def test_one_job_splits_a_data_set_into_all_folds(folds):
    splits = {name: job for name, job in folds.items() if job.kind == "split"}
    assert list(splits) == ["data0/split", "data1/split", "extra0/split"]
    job = splits["data1/split"]
    assert after(job, "--folds") == "3"
    assert after(job, "--out").endswith("data1/split.json")
    assert job.leaves.name == "split-3.json", "the last that it writes"


def test_a_seed_keeps_to_its_fold_from_pre_training_to_test(folds):
    for seed, fold in ((0, 1), (1, 2), (4, 2)):
        for name in (f"data1/random/seed{seed}/pretrain", f"data1/random/seed{seed}/share0.1"):
            assert after(folds[name], "--split-file").endswith(f"data1/split-{fold}.json")
            assert "data1/split" in folds[name].needs
        abroad = folds[f"extra0/elsewhere/seed{seed}/pretrain"]
        assert after(abroad, "--split-file").endswith(f"extra0/split-{fold}.json")


def test_networks_and_policies_are_made_once_for_each_fold_and_see_nobody_whom_it_tests(folds):
    made = [name for name, job in folds.items() if job.kind in ("reconstructor", "policy")]
    each = ["reconstructor", "policy"]
    held = [f"data0/{name}-fold{fold}" for fold in (1, 2) for name in (*each, "carried")]
    assert made == [*held, *(f"data1/{name}-fold{fold}" for fold in (1, 2) for name in each)]
    for fold in (1, 2):
        for name in each:
            assert after(folds[f"data1/{name}-fold{fold}"], "--split-file").endswith(f"data1/split-{fold}.json")
    masked = folds["data1/inside/seed4/pretrain"]
    assert after(masked, "--agent").endswith("data1/reconstructor-fold2")
    assert masked.needs == ("data1/split", "data1/reconstructor-fold2", "data1/control")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("folds = 3", "folds = 1", "folds = 1: give a number of splits, such as 5"),
        ("folds = 3", "folds = true", "folds = True: give a number of splits"),
        ("folds = 3", 'folds = "5"', "folds = '5': give"),
        ("[[method]]", "[score]\n[[method]]", "the game of one split, and there are 3 folds"),
        ("busi:/nowhere", "phantoms?count=9", "phantoms have a split of their own"),
    ],
)
def test_folds_that_make_no_sense_are_refused(tmp_path, old, new, words):
    (tmp_path / "s.toml").write_text(FOLDS.replace(old, new, 1))
    with pytest.raises(BadInput, match=words):
        _check(read_study(tmp_path / "s.toml"))


def test_a_folder_of_one_split_is_not_gone_on_with_in_folds(tmp_path):
    (tmp_path / "s.toml").write_text(FOLDS.replace("folds = 3\n", ""))
    keep(tmp_path / "s.toml", tmp_path / "out")
    (tmp_path / "s.toml").write_text(FOLDS)
    with pytest.raises(BadInput, match="another study"):
        keep(tmp_path / "s.toml", tmp_path / "out")


def test_the_report_counts_the_tests_that_there_were(tmp_path):
    out = tmp_path / "out"
    write_study(out, 'folds = 2\ndata = ["busi:/nowhere"]\nseeds = [0, 1]\nshares = [0.1]\n')
    for method, above in (("scratch", 0.0), ("random", 0.1)):
        fine_tuned(out, method, 0, {"p1": 0.2 + above, "p2": 0.4 + above}, split="a")
        fine_tuned(out, method, 1, {"p3": 0.6 + above, "p4": None}, split="b")
    page = build(load(out))
    told = rows(tables(page, "lesion: mean over seeds and patients")[0])["random"]
    assert (told["seeds x patients"].text, told["left out"].text) == ("4 of 2 x 4", "1")
    assert told["DSC"].text.startswith(f"{(0.4 + 0.7) / 2:.3f}")
    paired = rows(tables(page, "lesion: paired differences")[0])["random"]
    assert paired["DSC above a random start"].text.startswith("+0.100")
    assert paired["pairs (seeds x patients)"].text == "4 of 2 x 4"
    (out / "data0/scratch/seed1/share0.1/scores.json").unlink()
    paired = rows(tables(build(load(out)), "lesion: paired differences")[0])["random"]
    assert paired["pairs (seeds x patients)"].text == "1 x 2"
    said = str([block for section in page.sections for block in section.blocks if isinstance(block, Notes)])
    assert "its own of 2 folds; 2 of them are in, with 4 patients" in said
    assert "different splits" not in said


def test_few_patients_are_counted_over_all_folds(tmp_path):
    out = tmp_path / "out"
    write_study(out, 'folds = 2\ndata = ["busi:/nowhere"]\nseeds = [0, 1]\nshares = [0.1]\n')
    for seed, first in ((0, 0), (1, 6)):
        fine_tuned(out, "scratch", seed, {f"p{number}": 0.5 for number in range(first, first + 6)})
        few = "So few patients" in str(build(load(out)).sections)
        assert few == (seed == 0)


@pytest.mark.slow
def test_every_patient_is_tested_by_one_seed(tmp_path, capsys):
    images = tmp_path / "pictures"
    (images / "benign").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(1, 7):
        picture, mask = rng.integers(0, 255, (16, 16), np.uint8), np.zeros((16, 16), np.uint8)
        mask[4:10, 3:9] = 255
        Image.fromarray(picture).save(images / "benign" / f"benign ({number}).png")
        Image.fromarray(mask).save(images / "benign" / f"benign ({number})_mask.png")
    sizes = (
        '[pretrain]\nimage_size = "16x16"\npatch_size = 4\nstudent = "small-unet"\nstudent_settings = "widths=8,8,8"\n'
    )
    text = f'data = ["busi:{images}"]\nfolds = 3\nseeds = [0, 1, 2]\nshares = [1.0]\n{sizes}epochs = 1\nbatch = 2\n'
    text += '[finetune]\nimage_size = "16x16"\nnetwork = "small-unet?widths=8,8,8"\nsteps = 2\n'
    text += '[[method]]\nname = "random"\nrecipe = "random"\n'
    (tmp_path / "s.toml").write_text(text)
    out = tmp_path / "out"
    assert not run(["study", str(tmp_path / "s.toml"), "--out", str(out)])
    files = [out / f"data0/random/seed{seed}/share1/scores.json" for seed in range(3)]
    tested = [patient for file in files for patient in json.loads(file.read_text())["patients"]]
    assert len(tested) == len(set(tested)) == 6
