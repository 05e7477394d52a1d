"""v0 is frozen: what changes a result of it changes one of these hashes, and raises a version (docs/versions.md)."""

import hashlib

import numpy as np
import pytest

from maskgym.benchmark import par
from maskgym.data.source import load
from maskgym.envs.registry import IDS
from maskgym.envs.task import Settings, Task
from maskgym.sizes import read_size

ENVS = ("MaskMIM-v0", "MaskMIMSmall-v0", "MaskMIM3D-v0")
PIXELS = {
    ("MaskMIM-v0", "train"): "f6b3a9a6e76c9b50",
    ("MaskMIM-v0", "val"): "a01acba7e9329002",
    ("MaskMIM-v0", "test"): "587c2082fa31c918",
    ("MaskMIMSmall-v0", "train"): "94486d1a533d516a",
    ("MaskMIMSmall-v0", "val"): "b62b4ad2ce6fc84c",
    ("MaskMIMSmall-v0", "test"): "413575046e48f305",
    ("MaskMIM3D-v0", "train"): "787ec804a4670a1d",
    ("MaskMIM3D-v0", "val"): "7e4601f4453b263c",
    ("MaskMIM3D-v0", "test"): "b08148d21d140f3b",
}
NETWORKS = {"MaskMIM-v0": "d4e1a75ddea8fd3d", "MaskMIMSmall-v0": "24498bdfb2505d99", "MaskMIM3D-v0": "98f0534f818bf569"}
PAR_V1 = {
    ("MaskMIM-v0", "test", 0.25): "578aa50d46",
    ("MaskMIM-v0", "test", 0.5): "e5cb67960d",
    ("MaskMIM-v0", "test", 0.75): "4b9f0dcb8e",
    ("MaskMIM-v0", "val", 0.25): "26dcc97e21",
    ("MaskMIM-v0", "val", 0.5): "4d84f43c4b",
    ("MaskMIM-v0", "val", 0.75): "1f431d46fb",
    ("MaskMIMSmall-v0", "test", 0.25): "d62898aded",
    ("MaskMIMSmall-v0", "test", 0.5): "8db8f0170f",
    ("MaskMIMSmall-v0", "test", 0.75): "b4623620de",
    ("MaskMIMSmall-v0", "val", 0.25): "2988bffde2",
    ("MaskMIMSmall-v0", "val", 0.5): "030a09db75",
    ("MaskMIMSmall-v0", "val", 0.75): "73f4ab708d",
    ("MaskMIM3D-v0", "test", 0.25): "c24b2720db",
    ("MaskMIM3D-v0", "test", 0.5): "aebd2f8f47",
    ("MaskMIM3D-v0", "test", 0.75): "ae3dfb0a09",
    ("MaskMIM3D-v0", "val", 0.25): "1c59071a8d",
    ("MaskMIM3D-v0", "val", 0.5): "25642068bc",
    ("MaskMIM3D-v0", "val", 0.75): "43886659b8",
}


@pytest.fixture(scope="module")
def task_of():
    kept = {}
    return lambda env, split: kept.setdefault(
        (env, split), Task(Settings.of({**IDS[env], "split": split, "piece": 32}))
    )


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("env", ENVS)
def test_the_phantoms_of_every_split_are_the_same_pixels(env, split):
    """By the means of each image's quarters, rounded: another processor's last bit makes no other image."""
    size = read_size(IDS[env]["image_size"], "image_size")
    images = np.asarray(load("phantoms?count=32", size=size, split=split).images[:32], np.float64)[:, 0]
    for axis in range(1, images.ndim):
        half = images.shape[axis] // 2
        images = np.add.reduceat(images, [0, half], axis) / half
    assert hashlib.sha256(np.round(images, 2).astype("<f4").tobytes()).hexdigest()[:16] == PIXELS[env, split]


@pytest.mark.parametrize("env", ENVS)
def test_the_bundled_networks_are_the_same_weights(env, task_of):
    assert task_of(env, "test").fingerprint == NETWORKS[env]


@pytest.mark.parametrize(("env", "split", "ratio"), PAR_V1)
def test_par_v1_is_the_same_masks_and_rewards(env, split, ratio, task_of):
    assert par.VERSION == "par v1"
    assert (
        par.shipped(task_of(env, split), ratio, 128 if split == "test" else 64).table.digest
        == PAR_V1[env, split, ratio]
    )


@pytest.mark.parametrize("env", ENVS)
def test_par_brings_the_rewards_it_states(env, task_of):
    import torch

    task = task_of(env, "test")
    for ratio in (0.25, 0.5, 0.75):
        table, images = par.shipped(task, ratio, 8).table, task.fetch(np.arange(8))
        mask = torch.from_numpy(table.mask).view(-1, *task.patches.grid)
        np.testing.assert_allclose(task.game_at(ratio).evaluate(images, mask).reward, table.reward, rtol=1e-4)
