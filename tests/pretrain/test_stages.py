import json

import pytest
import torch

from maskgym.commands import stages
from maskgym.commands.pretrain import Pretrain
from maskgym.errors import BadInput
from maskgym.networks import store
from tests.downstream.eyes import eyes
from tests.pretrain.runs import TINY

pytestmark = pytest.mark.slow

AHM = {
    **TINY,
    "recipe": "ahm",
    "agent": "a3c?width=8&images=2&masks=2",
    "image_size": "32x32",
    "patch_size": "8",
    "epochs": 1,
    "reconstructor_steps": 2,
    "policy_masks": 16,
    "policy_workers": 1,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("ahm") / "run"
    assert Pretrain(out=out, **AHM)() == 0
    return out


def test_one_command_trains_reconstructor_policy_and_student(finished):
    assert (finished / "reconstructor" / "model.safetensors").exists()
    assert json.loads((finished / "policy" / "agent.json").read_text())["agent"] == "a3c"
    _, about = store.load(str(finished), channels=1, dims=2)
    assert (about["agent"], about["recipe"]) == ("a3c", "ahm")
    policy = (finished / "policy" / "agent.safetensors").stat().st_size
    assert (finished / "agent" / "agent.safetensors").stat().st_size == policy


def test_a_stage_that_is_done_is_not_done_again(finished, monkeypatch):
    def never(*_):
        raise AssertionError("done already")

    monkeypatch.setattr(stages, "train_reconstructor", never)
    monkeypatch.setattr(stages.TrainPolicy, "__call__", never)
    assert Pretrain(out=finished, **AHM)() == 0


def test_the_policy_of_another_run_is_used_again(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "train_reconstructor", None)
    given = {**AHM, "policy": str(finished / "policy")}
    assert Pretrain(out=tmp_path / "a", **given)() == 0
    by_folder = {**AHM, "agent": f"a3c:{finished / 'policy'}"}
    assert Pretrain(out=tmp_path / "b", **by_folder)() == 0
    first, second = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["job"]["student"] for name in "ab"
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_reconstructor_of_another_run_is_used_again(finished, tmp_path):
    given = {**AHM, "reconstructor": str(finished / "reconstructor")}
    assert Pretrain(out=tmp_path / "a", **given)() == 0
    assert not (tmp_path / "a" / "reconstructor").exists()
    assert (tmp_path / "a" / "policy" / "agent.json").exists()


def test_with_crops_reconstructor_and_policy_meet_crops_of_the_native_grid(tmp_path):
    eyes(tmp_path / "eyes", 12)  # of 48 x 48
    data = f"messidor2:{tmp_path / 'eyes'}?modality=gray"
    more = {"data": data, "crop": "32x32", "image_size": "48x48", "images": 0, "batch": 4}
    assert Pretrain(out=tmp_path / "run", **{**AHM, **more})() == 0
    for stage, where in (("reconstructor", ()), ("policy", ("env",))):
        told = json.loads((tmp_path / "run" / stage / "settings.json").read_text())
        for key in where:
            told = told[key]
        assert told.get("data", told.get("dataset")) == f"{data}&normalise=case&fit=crop"
    passes = json.loads((tmp_path / "run" / "passes.json").read_text())
    assert (passes["policy"], passes["reconstructor"]) == (4 * 16, 3 * 2 * 32)
    with pytest.raises(BadInput, match="drawn at any size"):
        Pretrain(out=tmp_path / "phantoms", **{**AHM, "crop": "16x16"})()


@pytest.mark.parametrize("stage", ["reconstructor", "policy", "student"])
def test_a_run_killed_in_any_stage_goes_on(tmp_path, monkeypatch, stage):
    class Killed(Exception):
        pass

    def dying(*_, **__):
        raise Killed

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        if stage == "reconstructor":
            patch.setattr("maskgym.commands.reconstructor.held_out", dying)
        elif stage == "policy":
            patch.setattr("maskgym.commands.train.Trainer.__call__", dying)
        else:
            patch.setattr("maskgym.pretrain.run.Run.evaluate", dying)
        with pytest.raises(Killed):
            Pretrain(out=out, **AHM)()
    assert Pretrain(out=out, **AHM)() == 0
    assert (out / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"agent": "variance", "policy": "somewhere"}, "--policy is for agents"),
        ({"policy": "nowhere"}, "no saved agent in nowhere"),
        ({"student": "unett"}, "did you mean"),
        ({"processes": 2}, "one process"),
    ],
)
def test_bad_input_is_told_before_anything_is_trained(tmp_path, more, told):
    with pytest.raises(BadInput, match=told):
        Pretrain(out=tmp_path / "run", **{**AHM, **more})()
    assert not (tmp_path / "run").exists()
