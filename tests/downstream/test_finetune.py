import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from maskgym.cli import main
from maskgym.data.cases import open_cases
from maskgym.downstream import METRICS, FineTune, finetune, load_segmenter, predict, score
from maskgym.drawing import CLASSES, across
from maskgym.errors import BadInput
from maskgym.masking.patches import Patches
from maskgym.networks import store
from maskgym.networks.students import make_student

SMALL = {"network": "unet?widths=4,8", "image_size": "32x32", "label_share": 0.01, "batch": 4, "quiet": True}


def settings(out, **more) -> FineTune:
    return FineTune(out=out, **{**SMALL, "steps": 8, "eval_every": 4, **more})


def rows(out) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    chosen = settings(tmp_path_factory.mktemp("run") / "out", steps=16, seed=3, keep="best")
    return chosen, finetune(chosen)


def test_a_run_leaves_all_it_promises(finished):
    chosen, told = finished
    there = {path.name for path in chosen.out.iterdir()}
    promised = {"settings.json", "checkpoint.pt", "metrics.csv", "model.safetensors", "predictions.png", "scores.json"}
    assert promised | {"patients.csv"} <= there
    assert any(name.startswith("events.out.tfevents") for name in there)
    assert json.loads((chosen.out / "scores.json").read_text()) == told
    made_of = ("data", "label_share", "seed", "weights", "network", "recipe")
    assert [told[key] for key in made_of] == ["phantoms", 0.01, 3, "none", "unet", "default"]
    assert len(told["labelled"]) == 20
    assert len(told["patients"]) == 128
    assert set(told["mean"]["lesion"]) == set(told["per_slice"]["lesion"]) == set(METRICS)
    assert told["seconds"] > 0


def test_the_scores_are_those_of_the_saved_network_on_the_test_patients(finished):
    chosen, told = finished
    network, about = load_segmenter(chosen.out)
    test = open_cases("phantoms", "test", size=(32, 32))
    again = score(predict(network, test, (32, 32)), test)
    assert again.patients == told["patients"]
    assert again.mean == told["mean"]
    assert about["step"] == told["measured_step"]


def test_means_are_over_the_patients_for_whom_a_measure_is_defined(finished):
    _, told = finished
    for name in METRICS:
        known = [table["lesion"][name] for table in told["patients"].values() if table["lesion"][name] is not None]
        assert told["mean"]["lesion"][name] == pytest.approx(np.mean(known))
        assert told["left_out"]["lesion"].get(name, 0) == 128 - len(known)


def test_the_network_kept_is_the_best_on_val(finished):
    chosen, told = finished
    looks = {int(row["step"]): float(row["val DSC"]) for row in rows(chosen.out) if row["val DSC"]}
    assert set(looks) == {4, 8, 12, 16}
    assert looks[told["measured_step"]] == max(looks.values()) == told["val_DSC"]


def test_the_picture_shows_image_truth_and_prediction(finished):
    chosen, _ = finished
    picture = np.array(Image.open(chosen.out / "predictions.png"))
    marked = (picture == CLASSES[0]).all(-1)
    assert not marked[80:, across(0)].any()
    assert marked[80:, across(1)].any()


def test_learning_lowers_the_loss_and_finds_bright_squares(tmp_path):
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / "set" / name).mkdir(parents=True)
    for number in range(30):
        label = np.zeros((32, 32), np.uint8)
        row, column = random.integers(2, 20, 2)
        label[row : row + 8, column : column + 8] = 1
        picture = (random.integers(0, 80, (32, 32)) + 150 * label).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "set" / "images" / f"{number}.png")
        Image.fromarray(label).save(tmp_path / "set" / "masks" / f"{number}.png")
    told = finetune(
        settings(tmp_path / "out", data=f"folder:{tmp_path / 'set'}", label_share=0.5, steps=80, lr=1e-2, eval_every=40)
    )
    assert told["mean"]["foreground"]["DSC"] > 0.9
    assert told["mean"]["foreground"]["HD95"] < 3


def test_pre_trained_weights_are_where_training_starts_and_their_coverage_is_told(tmp_path, capsys):
    torch.manual_seed(0)
    student = make_student("unet", 1, Patches((32, 32), (8, 8)), {"widths": (4, 8)})
    store.save(student, tmp_path / "pre" / "model.safetensors", {})
    run = settings(tmp_path / "out", weights=str(tmp_path / "pre"), network="unet", lr=1e-12, steps=1)
    assert finetune(run)["weights"] == str(tmp_path / "pre")
    assert "100.0% of the encoder's weights filled" in capsys.readouterr().out
    tuned, given = load_segmenter(run.out)[0].state_dict(), student.state_dict()
    first = "model.0.conv.unit0.conv.weight"
    torch.testing.assert_close(tuned[first], given[f"net.{first}"])


@pytest.mark.parametrize("recipe", ["ahm", "amlp", "mps-ams", "anatomask", "selfmedhpm"])
@pytest.mark.slow
def test_every_recipe_runs(tmp_path, recipe):
    network = "unetr?width=12&heads=3&features=4" if recipe == "selfmedhpm" else "stunet?widths=4,8"
    finetune(settings(tmp_path / "out", recipe=recipe, network=network, steps=2, eval_every=2))
    told = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert told["lr"] == told["lr"]


@pytest.mark.slow
def test_volumes_are_fine_tuned_by_windows_in_bf16(tmp_path):
    sizes = {"image_size": "16x16x16", "window": "8x8x8", "label_share": 0.005}
    told = finetune(settings(tmp_path / "out", **sizes, steps=2, eval_every=2, batch=2, precision="bf16"))
    assert "per_slice" not in told
    assert load_segmenter(tmp_path / "out")[1]["size"] == [8, 8, 8]


def test_training_ends_when_val_has_not_improved_for_long_enough(tmp_path):
    told = finetune(settings(tmp_path / "out", steps=100, eval_every=1, patience=2, lr=1e-9))
    last = int(rows(tmp_path / "out")[-1]["step"])
    assert told["measured_step"] <= last < 100


def test_the_last_network_is_measured_unless_the_best_on_val_is_asked_for(tmp_path):
    told = finetune(settings(tmp_path / "out", eval_every=2, lr=0.5))
    looks = [float(row["val DSC"]) for row in rows(tmp_path / "out") if row["val DSC"]]
    assert told["measured_step"] == 8
    assert told["val_DSC"] == looks[-1] < max(looks)


@pytest.mark.slow
def test_the_command_killed_with_minus_nine_resumes_to_the_same_weights_and_scores(tmp_path):
    network = "unetr?width=12&heads=3&features=4"  # with branches left out by chance
    whole = settings(tmp_path / "whole", network=network, recipe="selfmedhpm", steps=24, eval_every=8, save_every=4)
    cut = replace(whole, out=tmp_path / "cut")
    words = ["--network", network, "--recipe", "selfmedhpm", "--image-size", "32x32", "--label-share", "0.01"]
    words += [
        "--batch",
        "4",
        "--steps",
        "24",
        "--eval-every",
        "8",
        "--save-every",
        "4",
        "--quiet",
        "--out",
        str(cut.out),
    ]
    child = subprocess.Popen(
        [sys.executable, "-m", "maskgym.cli", "finetune", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (cut.out / "checkpoint.pt").exists() and child.poll() is None:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert 0 < torch.load(cut.out / "checkpoint.pt", weights_only=True)["done"] < 24
    assert not (cut.out / "scores.json").exists()
    told = [finetune(whole), finetune(cut)]
    first, second = (load_file(each.out / "model.safetensors") for each in (whole, cut))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert {**told[0], "seconds": 0, "waiting": 0} == {**told[1], "seconds": 0, "waiting": 0}
    assert [row["step"] for row in rows(whole.out)] == [row["step"] for row in rows(cut.out)]


def test_a_finished_run_asked_for_again_only_tells_its_scores(finished):
    chosen, told = finished
    before = (chosen.out / "scores.json").stat().st_mtime_ns
    assert finetune(chosen) == told
    assert (chosen.out / "scores.json").stat().st_mtime_ns == before


BAD = {
    "share of nobody": ({"label_share": 0.0}, "a label share of 0.0 leaves no patient"),
    "unknown recipe": ({"recipe": "anatomsk"}, "did you mean 'anatomask'"),
    "unknown network": ({"network": "unetrr"}, "did you mean 'unetr'"),
    "no weights": ({"weights": "/nowhere"}, "no weights in /nowhere"),
    "no steps": ({"steps": 0}, "steps 0 must be at least 1"),
    "unknown precision": ({"precision": "16"}, "choose 32 or bf16"),
    "size and window of other axes": ({"window": "8x8x8"}, "so size (8, 8, 8)"),
    "size of letters": ({"image_size": "big"}, "is not a size"),
    "size that cannot be halved": ({"network": "unet?widths=4,8,8", "image_size": "30x30"}, "do not suit this network"),
    "size that is halved to nothing": (
        {"network": "basicunet?widths=4,4,4,4", "image_size": "16x16"},
        "do not suit this network",
    ),
    "unknown device": ({"device": "tpu"}, "device 'tpu' is not here"),
    "no such data": ({"data": "lgg:/nowhere"}, "/nowhere"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_leaves_no_folder(tmp_path, name, capsys):
    more, told = BAD[name]
    words = {**SMALL, "out": tmp_path / "out", "steps": 2, **more}
    arguments = [
        word for key, value in words.items() if key != "quiet" for word in (f"--{key.replace('_', '-')}", str(value))
    ]
    with pytest.raises(SystemExit) as ended:
        main(["finetune", *arguments, "--quiet"])
    error = capsys.readouterr().err.strip()
    assert ended.value.code == 2
    assert told in error
    assert error.count("\n") == 0
    assert not (tmp_path / "out").exists()


def test_other_settings_in_the_same_folder_are_refused_and_named(finished):
    chosen, _ = finished
    with pytest.raises(BadInput, match=r"lr was 0\.001, is 0\.5.*--fresh"):
        finetune(replace(chosen, lr=0.5))


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path):
    with pytest.raises(BadInput, match=r"the loss is (nan|inf) at step \d+: lower --lr"):
        finetune(settings(tmp_path / "out", lr=1e30, recipe="anatomask", steps=40))


@pytest.mark.slow
def test_several_choices_of_labelled_patients_are_run_one_after_the_other(tmp_path):
    told = finetune(settings(tmp_path / "out", label_share=1.0, labels=3, label_seed="0,1", steps=2))
    first, second = told["draws"]
    assert len(first["labelled"]) == len(second["labelled"]) == 3
    assert first["labelled"] != second["labelled"]
    assert told["pooled_DSC"]["mean"] == pytest.approx((first["pooled_DSC"]["mean"] + second["pooled_DSC"]["mean"]) / 2)
    alone = finetune(settings(tmp_path / "one", label_share=1.0, labels=3, label_seed="1", steps=2))
    assert alone["pooled_DSC"] == second["pooled_DSC"]
    assert json.loads((tmp_path / "out" / "labels-1" / "scores.json").read_text()) == second


def test_with_the_decoder_handed_over_only_the_head_is_new_and_a_frozen_encoder_stands_still(tmp_path):
    torch.manual_seed(0)
    student = make_student("small-unet", 1, Patches((32, 32), (8, 8)), {"widths": (4, 8)})
    store.save(student, tmp_path / "pre" / "model.safetensors", {})
    start = student.state_dict()
    chosen = {"weights": str(tmp_path / "pre"), "network": "", "steps": 3, "lr": 1e-2}
    finetune(settings(tmp_path / "frozen", **chosen, freeze_encoder=True))
    tuned = load_segmenter(tmp_path / "frozen")[0].state_dict()
    inside = [key for key in start if key.startswith(("stem", "down", "deep"))]
    assert inside
    assert all(torch.equal(tuned[key], start[key].to(tuned[key].dtype)) for key in inside)
    assert not torch.equal(tuned["up.0.weight"], start["up.0.weight"])
    for handover in ("all", "encoder"):
        finetune(settings(tmp_path / handover, **{**chosen, "lr": 1e-9}, seed=5, handover=handover))
        tuned = load_segmenter(tmp_path / handover)[0].state_dict()
        assert torch.allclose(tuned["stem.0.weight"], start["stem.0.weight"], atol=1e-5)
        assert torch.allclose(tuned["up.0.weight"], start["up.0.weight"], atol=1e-5) == (handover == "all")
