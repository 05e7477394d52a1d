import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from maskgym.cli import main
from maskgym.downstream import FineTune, finetune
from maskgym.downstream.classify import Grading, grade
from maskgym.downstream.grades import MEASURES, measure_grades
from maskgym.downstream.network import load_segmenter
from maskgym.errors import BadInput
from maskgym.pretrain import pretrain
from tests.downstream.eyes import eyes
from tests.pretrain.runs import tiny

SMALL = {"task": "classify", "network": "unet?widths=8,16", "image_size": "32x32", "batch": 16, "quiet": True}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return f"messidor2:{eyes(tmp_path_factory.mktemp('eyes'))}"


def settings(out, data, **more) -> FineTune:
    return FineTune(out=out, data=data, **{**SMALL, "steps": 6, "eval_every": 3, **more})


def test_measures_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    shares, truth = rng.dirichlet(np.ones(5), 60), rng.integers(5, size=60)
    said, told = shares.argmax(1), measure_grades(shares, truth)
    macro = {"average": "macro", "zero_division": 0}
    wanted = {
        "accuracy": metrics.accuracy_score(truth, said),
        "precision": metrics.precision_score(truth, said, **macro),
        "recall": metrics.recall_score(truth, said, **macro),
        "F1": metrics.f1_score(truth, said, **macro),
        "AUROC": metrics.roc_auc_score(truth, shares, multi_class="ovr"),
        "kappa": metrics.cohen_kappa_score(truth, said, weights="quadratic"),
    }
    assert told == pytest.approx(wanted)
    assert list(told) == list(MEASURES)


def test_a_pre_trained_encoder_learns_to_grade_eyes_and_predicts_them(data, tmp_path, capsys):
    weights = {"data": data, "image_size": "32x32", "patch_size": "8", "images": 0, "student_settings": "widths=8,16"}
    pretrain(tiny(tmp_path / "pre", **weights, epochs=1))
    words = [
        "finetune",
        "--task",
        "classify",
        "--data",
        data,
        "--weights",
        str(tmp_path / "pre"),
        "--image-size",
        "32x32",
    ]
    words += ["--steps", "60", "--batch", "16", "--lr", "5e-3", "--quiet", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "100.0% of the encoder" in said
    assert "kappa" in said
    told = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert told["measures"]["kappa"] > 0.5, "0 by guessing"
    assert np.sum(told["confusion"]) == told["images"]
    with pytest.raises(SystemExit):
        main(["predict", str(tmp_path / "run"), "--out", str(tmp_path / "said"), "--split", "test"])
    table = (tmp_path / "said" / "grades.csv").read_text()
    assert table == (tmp_path / "run" / "grades.csv").read_text()
    lines = list(csv.DictReader(table.splitlines()))
    right = np.mean([line["grade"] == line["said"] for line in lines])
    assert right == pytest.approx(told["measures"]["accuracy"])


def test_a_run_that_was_cut_short_ends_with_the_same_weights_and_a_frozen_encoder_stays(data, tmp_path, monkeypatch):
    pretrain(tiny(tmp_path / "pre", data=data, image_size="32x32", patch_size="8", images=0, epochs=1))
    frozen = {"weights": str(tmp_path / "pre"), "network": "", "freeze_encoder": True, "save_every": 2}
    finetune(settings(tmp_path / "whole", data, **frozen))
    stepped = Grading.stepped

    def killed(self, batch):
        stepped(self, batch)
        if self.done == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Grading, "stepped", killed)
        with pytest.raises(KeyboardInterrupt):
            finetune(settings(tmp_path / "cut", data, **frozen))
    finetune(settings(tmp_path / "cut", data, **frozen))
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    before = load_file(tmp_path / "pre" / "model.safetensors")
    key = "model.0.conv.unit0.conv.weight"
    assert torch.equal(whole[f"network.{key}"], before[f"net.{key}"])
    network, _ = load_segmenter(tmp_path / "whole")
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 5)


def test_disease_or_none_is_told_from_a_grade_on(data, tmp_path):
    told = finetune(settings(tmp_path / "run", data, present=1, steps=1))
    assert told["grades"] == ["absent", "present"]
    counts = np.sum(told["confusion"], 1)
    every = finetune(settings(tmp_path / "every", data, steps=1))
    whole = np.sum(every["confusion"], 1)
    assert counts.tolist() == [whole[0], whole[1:].sum()]


def test_draws_of_labelled_patients_are_averaged(data, tmp_path):
    told = finetune(settings(tmp_path / "run", data, label_seed="0,1", label_share=0.5, steps=1))
    accuracy = [one["measures"]["accuracy"] for one in told["draws"]]
    assert told["measures"]["accuracy"] == pytest.approx(np.mean(accuracy))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"data": "phantoms"}, "tells no grades"),
        ({"window": "16x16"}, "whole images"),
        ({"probe": True}, "whole images"),
        ({"present": 5}, "parts no grades"),
        ({"task": "segment", "present": 1}, "add --task classify"),
        ({"labels": 2}, "is in no label of the 2 labelled"),
        ({"task": "classify", "weights": "none", "freeze_encoder": True}, "give --weights"),
    ],
)
def test_what_cannot_be_graded_is_refused_in_one_line(data, tmp_path, more, told):
    with pytest.raises(BadInput, match=told) as error:
        finetune(replace(settings(tmp_path / "run", data), **more))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_an_image_nobody_graded_is_not_learned_from_but_graded(data):
    from maskgym.data.cases import open_cases
    from maskgym.downstream.data import read

    assert all(case.grade >= 0 for case in read(settings("x", data)).test)
    cases = open_cases(data, "test")
    ids, shares, truth = grade(_Even(), cases, (32, 32))
    assert len(ids) == len(shares) == len(truth)


class _Even(torch.nn.Module):
    def forward(self, images):
        return torch.zeros(len(images), 5)
