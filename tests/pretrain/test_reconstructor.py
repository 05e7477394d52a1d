import signal
import subprocess
import sys
import time

import gymnasium as gym
import numpy as np
import pytest
import torch

from maskgym.commands.reconstructor import Train, run
from maskgym.game import Game
from maskgym.masking.patches import Patches
from maskgym.networks import baselines, store
from maskgym.pretrain.held_out import held_out, random_masks
from maskgym.pretrain.reconstructor import Reconstructing, TrainSettings
from maskgym.training.fit import fit

PATCHES = Patches((16, 16), (8, 8))


def waves(count: int = 24) -> np.ndarray:
    """Images that are easy to rebuild: slopes, each its own."""
    random = np.random.default_rng(0)
    slope = random.normal(size=(count, 2, 1, 1)).astype(np.float32)
    y, x = np.mgrid[-1:1:16j, -1:1:16j].astype(np.float32)
    return (slope[:, :1] * y + slope[:, 1:] * x).reshape(count, 1, 16, 16)


def test_training_lowers_the_loss(tmp_path):
    job = Reconstructing(waves(), PATCHES, TrainSettings(steps=200, batch=8, widths=(8, 12)))
    losses = []
    job.tell = lambda metrics: losses.append(metrics["loss"])
    assert fit(job, job.settings.plan, tmp_path)
    assert np.mean(losses[-3:]) < 0.6 * losses[0]


def test_every_ratio_between_the_lowest_and_the_highest_is_met():
    job = Reconstructing(waves(), Patches((16, 16), (2, 2)), TrainSettings(batch=64, widths=(8,)))
    shares = torch.cat([job.make(step)[1].float().mean((1, 2)) for step in range(8)])
    assert 0.09 <= float(shares.min()) < 0.15
    assert 0.85 < float(shares.max()) <= 0.9
    assert abs(float(shares.mean()) - 0.5) < 0.05


@pytest.mark.slow
def test_the_command_killed_with_minus_nine_goes_on_to_the_same_weights(tmp_path):
    def command(out: str, *more: str) -> list[str]:
        options = ["--image-size", "32x32", "--steps", "450", "--batch", "2", "--widths", "8", "12"]
        options += ["--save-every", "50", *more]
        return [sys.executable, "-m", "maskgym.cli", "reconstructor", "train", "--out", str(tmp_path / out), *options]

    subprocess.run(command("whole"), check=True, capture_output=True)
    run = subprocess.Popen(command("cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "cut" / "checkpoint.pt").exists() and run.poll() is None:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)["done"] < 450
    other = subprocess.run(command("cut", "--lr", "0.1"), capture_output=True, text=True)
    assert other.returncode == 2
    assert "'lr': 0.1" in other.stderr
    subprocess.run(command("cut"), check=True, capture_output=True)
    whole, cut = (store.load(str(tmp_path / name), 1, 2)[0] for name in ("whole", "cut"))
    assert store.fingerprint(whole) == store.fingerprint(cut)
    left = {"held_out.png", "held_out.json", "model.safetensors", "metrics.csv", "settings.json"}
    assert left <= {path.name for path in (tmp_path / "cut").iterdir()}
    assert list((tmp_path / "cut").glob("events.out.tfevents.*"))


def test_an_early_snapshot_lies_where_rewards_look_for_it(tmp_path):
    few = {"image_size": "32x32", "steps": 2, "batch": 2, "widths": (8, 12), "quiet": True}
    assert run(Train(out=tmp_path / "run", early_steps=1, **few)) is not None
    early, about = store.load(store.early(str(tmp_path / "run")), 1, 2)
    assert (early.settings["widths"], about["train"]["steps"]) == ([4, 6], 1)
    env = gym.make("maskgym:MaskMIMSmall-v0", image_size=32, reconstructor=str(tmp_path / "run"), reward="relative")
    env.reset(seed=0)
    env.close()


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
        patches = Patches((64, 64), (8, 8))
        errors = held_out(Game(network.eval(), patches), images, random_masks(len(images), patches, ratio))
        assert errors["network"] < 0.9 * min(errors["patch mean"], errors["blurred"]), ratio
