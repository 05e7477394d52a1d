import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from maskgym.errors import BadInput
from maskgym.pretrain import pretrain
from maskgym.pretrain.loop import Loop
from tests.pretrain.runs import rows, tiny

RECIPES = ("random", "amlp", "anatomask", "selfmedhpm", "mps-ams", "snapshots")
# In so short a run the fast average would be the student itself, and an image would be asked once.
SLOWER = {"snapshots": {"fast": "0.5:0.5:0", "score_every": 1}}


def standing(out) -> dict:
    return torch.load(out / "checkpoint.pt", weights_only=True)


def assert_same(first, second):
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for name in first:
            assert_same(first[name], second[name])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            assert_same(a, b)
    else:
        assert first == second


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("recipe", "more"),
    [
        *((name, SLOWER.get(name, {})) for name in RECIPES),
        ("random", {"agent": "hpm?width=8"}),
        ("random", {"crop": "8"}),
        ("random", {"agent": "variance", "hard_share": "1", "temperature": 1.0, "score_every": 99}),
    ],
)
def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path, monkeypatch, recipe, more):
    more = {"save_every": 4, **more}
    if "crop" not in more:
        more["report"] = True
    unbroken, broken = tiny(tmp_path / "a", recipe, **more), tiny(tmp_path / "b", recipe, **more)
    pretrain(unbroken)
    gradients = Loop.gradients

    def dying(self, batch):
        if self.done == 10:
            raise Killed
        return gradients(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "gradients", dying)
        with pytest.raises(Killed):
            pretrain(broken)
    assert 0 < standing(broken.out)["done"] < 10
    pretrain(broken)
    assert_same(standing(unbroken.out)["job"], standing(broken.out)["job"])
    assert (unbroken.out / "model.safetensors").read_bytes() == (broken.out / "model.safetensors").read_bytes()


def test_a_run_killed_after_its_last_checkpoint_still_leaves_the_student(tmp_path):
    settings = tiny(tmp_path / "a", "random")
    file = pretrain(settings)
    written = file.read_bytes()
    file.unlink()
    pretrain(settings)
    assert file.read_bytes() == written


@pytest.mark.slow
def test_a_run_killed_with_sigkill_goes_on(tmp_path):
    line = (
        "--recipe anatomask --image-size 16x16 --patch-size 4 --images 24 --batch 8 --epochs 30 --quiet --save-every 5 "
    )
    line += "--eval-every 0 --student stunet-s --student-settings widths=4,8"

    def start(out, *more):
        command = [sys.executable, "-m", "maskgym.cli", "pretrain", *line.split(), "--out", str(out), *more]
        return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})

    whole, broken = tmp_path / "a", tmp_path / "b"
    child = start(broken)
    while not (broken / "checkpoint.pt").exists():
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert standing(broken)["done"] < 90
    assert not (broken / "model.safetensors").exists()
    assert start(broken).wait() == 0
    assert start(whole).wait() == 0
    assert_same(standing(whole)["job"], standing(broken)["job"])


@pytest.mark.slow
def test_ctrl_c_saves_all_and_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    from maskgym.commands.pretrain import Pretrain

    settings = tiny(tmp_path / "run")
    gradients = Loop.gradients

    def interrupted(self, batch):
        if self.done == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return gradients(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "gradients", interrupted)
        assert Pretrain(**vars(settings))() == 130
    assert "the same command goes on" in capsys.readouterr().out
    assert standing(settings.out)["done"] == 7
    assert Pretrain(**vars(settings))() == 0
    pretrain(tiny(tmp_path / "whole"))
    assert_same(standing(tmp_path / "whole")["job"], standing(settings.out)["job"])


def test_a_finished_run_is_finished(tmp_path):
    settings = tiny(tmp_path, epochs=1)
    pretrain(settings)
    before = standing(tmp_path)
    assert pretrain(settings) is not None
    assert_same(before, standing(tmp_path))


def test_other_settings_are_named_and_those_that_change_nothing_are_not_asked(tmp_path):
    settings = tiny(tmp_path, epochs=1)
    pretrain(settings)
    with pytest.raises(BadInput, match=r"lr was 0\.001, is 0\.5.*--fresh"):
        pretrain(replace(settings, lr=0.5))
    pretrain(replace(settings, workers=0, save_every=3, eval_every=1))
    assert {row["learning rate"] for row in rows(tmp_path)} != {"0.5"}
    pretrain(replace(settings, lr=0.5, fresh=True))
    assert max(float(row["learning rate"] or 0) for row in rows(tmp_path)) > 0.01


def test_a_damaged_checkpoint_is_told(tmp_path):
    settings = tiny(tmp_path, epochs=1)
    pretrain(settings)
    (tmp_path / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(BadInput, match="damaged"):
        pretrain(settings)
