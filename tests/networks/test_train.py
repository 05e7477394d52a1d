import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from maskgym.errors import BadInput
from maskgym.masking.patches import Patches
from maskgym.networks import baselines, store
from maskgym.networks.train import TrainSettings, held_out, train

PATCHES = Patches((16, 16), (8, 8))
SETTINGS = TrainSettings(steps=30, batch=4, widths=(8, 12))


def waves(count: int = 24) -> np.ndarray:
    """Images that are easy to rebuild: slopes, each its own."""
    random = np.random.default_rng(0)
    slope = random.normal(size=(count, 2, 1, 1)).astype(np.float32)
    y, x = np.mgrid[-1:1:16j, -1:1:16j].astype(np.float32)
    return (slope[:, :1] * y + slope[:, 1:] * x).reshape(count, 1, 16, 16)


def test_training_lowers_the_loss(tmp_path):
    losses = []
    train(
        waves(),
        PATCHES,
        TrainSettings(steps=200, batch=8, widths=(8, 12)),
        tmp_path,
        lambda _, loss: losses.append(loss),
    )
    assert np.mean(losses[-3:]) < 0.6 * losses[0]


def test_a_run_that_goes_on_ends_with_the_weights_of_one_that_was_never_stopped(tmp_path, monkeypatch):
    whole = train(waves(), PATCHES, SETTINGS, tmp_path / "whole", save_every=10)
    step = torch.optim.AdamW.step
    calls = {"left": 17}

    def killed(self, *arguments):
        if not calls["left"]:
            raise KeyboardInterrupt
        calls["left"] -= 1
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(waves(), PATCHES, SETTINGS, tmp_path / "cut", save_every=10)
    monkeypatch.undo()
    again = train(waves(), PATCHES, SETTINGS, tmp_path / "cut", save_every=10)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_the_command_killed_with_minus_nine_resumes_to_the_same_weights(tmp_path):
    def command(out: str) -> list[str]:
        options = ["--image-size", "32x32", "--train.steps", "450", "--train.batch", "2", "--train.widths", "8", "12"]
        return [sys.executable, "-m", "maskgym.cli", "reconstructor", "train", "--out", str(tmp_path / out), *options]

    subprocess.run(command("whole"), check=True, capture_output=True)
    run = subprocess.Popen(command("cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "cut" / "checkpoint.pt").exists() and run.poll() is None:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)["step"] < 450
    subprocess.run(command("cut"), check=True, capture_output=True)
    whole, cut = (store.load(str(tmp_path / name), 1, 2)[0] for name in ("whole", "cut"))
    assert store.fingerprint(whole) == store.fingerprint(cut)
    assert {path.name for path in (tmp_path / "cut").iterdir()} >= {
        "held_out.png",
        "held_out.json",
        "model.safetensors",
    }
    assert list((tmp_path / "cut").glob("events.out.tfevents.*"))


def test_other_settings_in_the_same_folder_are_refused_with_what_differs(tmp_path):
    train(waves(), PATCHES, SETTINGS, tmp_path)
    with pytest.raises(BadInput, match=r"lr was 0\.002, is 0\.1"):
        train(waves(), PATCHES, TrainSettings(steps=30, batch=4, widths=(8, 12), lr=0.1), tmp_path)


def test_a_damaged_checkpoint_is_named(tmp_path):
    train(waves(), PATCHES, SETTINGS, tmp_path)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInput, match=r"checkpoint\.pt is damaged"):
        train(waves(), PATCHES, SETTINGS, tmp_path)


def test_a_loss_that_is_not_a_number_stops_training_and_keeps_the_last_checkpoint(tmp_path):
    images = waves()
    train(images, PATCHES, TrainSettings(steps=10, batch=4, widths=(8, 12)), tmp_path / "good", save_every=5)
    images[:] = np.nan
    with pytest.raises(BadInput, match="the loss is nan at step 0"):
        train(images, PATCHES, SETTINGS, tmp_path / "bad")


def test_a_full_disk_while_saving_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    train(waves(), PATCHES, TrainSettings(steps=10, batch=4, widths=(8, 12)), tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "checkpoint.pt").rename(tmp_path / "kept")
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(BadInput, match="No space left"):
        train(waves(), PATCHES, TrainSettings(steps=10, batch=4, widths=(8, 12)), tmp_path)
    assert (tmp_path / "kept").read_bytes() == before
    assert not list(tmp_path.glob(".checkpoint*"))


def test_the_patch_mean_baseline_costs_the_variance_inside_the_patch():
    images = torch.randn(3, 1, 16, 16)
    mask = torch.ones(3, 2, 2, dtype=torch.bool)
    error = PATCHES.mean((baselines.patch_mean(images, mask, PATCHES) - images).square()[:, 0]).flatten(1)
    inside = PATCHES.split(images).var(-1, unbiased=False)
    torch.testing.assert_close(error, inside)


def test_the_blur_fills_from_visible_pixels_only():
    images = torch.zeros(1, 1, 16, 16)
    images[..., :8, :8] = 100.0  # hidden: its brightness must not leak
    mask = torch.zeros(1, 2, 2, dtype=torch.bool)
    mask[0, 0, 0] = True
    assert float(baselines.blurred(images, mask, PATCHES)[..., :8, :8].abs().max()) < 1e-4


def test_bundled_networks_clearly_beat_both_baselines_on_held_out_phantoms():
    from maskgym.data.source import load

    images = torch.from_numpy(np.array(load("phantoms", size=(64, 64), split="val").images[:64]))
    network, _ = store.load("phantoms-64", 1, 2)
    for ratio in (0.25, 0.5, 0.75):
        errors = held_out(network, images, Patches((64, 64), (8, 8)), ratio)
        assert errors["network"] < 0.9 * min(errors["patch mean"], errors["blurred"]), ratio
