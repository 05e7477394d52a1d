"""Everything refused, and that the refusal is one line with the value and the fix."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from maskgym.data.source import Images
from maskgym.errors import BadInput
from maskgym.networks import store
from maskgym.networks.unet import UNet

MAKERS = {
    "single": lambda **keywords: gym.make("maskgym:MaskMIMSmall-v0", **keywords),
    "vector": lambda **keywords: gym.make_vec("maskgym:MaskMIMSmall-v0", num_envs=2, **keywords),
}
faces = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def refused(said: str, attempt, **keywords) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        attempt(**keywords)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@faces
@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"patch_size": 7}, r"patch_size \(7, 7\) does not divide image_size \(64, 64\): choose one that does"),
        ({"patch_size": "8x8x8"}, "patch_size '8x8x8' does not suit images of 2 axes: write one number an axis"),
        ({"patch_size": "big"}, "patch_size 'big' is not a size: write 128, 128x128"),
        ({"patch_size": (8, 8)}, r"patch_size \(8, 8\) is of type tuple: give str or int"),
        ({"patch_size": 0}, "patch_size 0 does not suit images of 2 axes"),
        ({"image_size": "64x"}, "image_size '64x' is not a size"),
        ({"ratio": 0}, r"ratio 0 is outside \(0, 1\): choose for example 0.75"),
        ({"ratio": 1.0}, "ratio 1.0 is outside"),
        ({"ratio": -0.5}, "ratio -0.5 is outside"),
        ({"ratio": float("nan")}, "ratio nan is outside"),
        ({"ratio": "0.5"}, "ratio '0.5' is of type str: give float"),
        ({"ratio": 0.001}, "ratio 0.001 of 64 patches hides 0: at least one must be hidden"),
        ({"hint_share": 1.5}, r"hint_share 1.5 is outside \[0, 1\]: 0 leaves all to the agent"),
        ({"dataset": "imagenet"}, "'imagenet' is not a data set: write `phantoms`"),
        ({"dataset": "lgh:/data"}, "did you mean 'lgg'"),
        ({"dataset": "phantoms?sed=3"}, "did you mean 'seed'"),
        ({"split": "training"}, "unknown split 'training': choose one of train, val, test"),
        ({"reconstructor": "phantom-64"}, "unknown reconstructor 'phantom-64': .* did you mean 'phantoms-64'"),
        ({"reconstructor": "runs/nowhere/model.safetensors"}, "unknown reconstructor 'runs/nowhere"),
        ({"reconstructor": "phantoms-3d"}, "is for images of 3 axes, these have 2: train one"),
        ({"action_type": "logits"}, "unknown action_type 'logits': choose one of mask, score"),
        ({"device": "gpu"}, "unknown device 'gpu': choose cpu or cuda"),
        ({"piece": -1}, "piece -1 is negative: 0 measures the best one"),
        ({"rato": 0.5}, "unknown keyword 'rato': did you mean 'ratio'"),
        ({"xyzzy": 1}, "unknown keyword 'xyzzy': there are dataset, split"),
        ({"render_mode": "ansi"}, "unknown render_mode 'ansi': choose rgb_array or none"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*render_mode")  # Gymnasium warns, too
def test_a_wrong_keyword_is_answered_in_one_line(make, keywords, said):
    refused(said, make, **{"split": "val", **keywords})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@faces
def test_a_device_that_is_not_there_is_refused(make):
    refused("device 'cuda' asked for, but this torch sees no CUDA: use cpu", make, device="cuda")


@faces
def test_a_size_the_reconstructor_cannot_take_is_refused_when_made(make, tmp_path):
    torch.manual_seed(0)
    store.save(UNet(1, 2, (6, 8), 4), tmp_path / "model.safetensors", {})
    refused(
        r"image size \(66, 66\) does not suit this U-Net: each side must be a multiple of 4",
        make,
        image_size=66,
        patch_size=11,
        split="val",
        reconstructor=str(tmp_path),
    )


@faces
def test_a_reconstructor_for_other_channels_is_refused(make, tmp_path):
    store.save(UNet(3, 2, (6, 8), 2), tmp_path / "model.safetensors", {})
    refused("is for images of 3 channels, these have 1: train one", make, split="val", reconstructor=str(tmp_path))


@faces
def test_a_damaged_reconstructor_is_refused(make, tmp_path):
    file = tmp_path / "model.safetensors"
    store.save(UNet(1, 2, (6, 8), 2), file, {})
    file.write_bytes(file.read_bytes()[:-40])
    refused("or is damaged .*: train or copy it again", make, split="val", reconstructor=str(file))


def images(count: int, bad: float | None = None) -> Images:
    pixels = np.random.default_rng(0).normal(size=(count, 1, 64, 64)).astype(np.float32)
    if bad is not None:
        pixels[:, 0, 3, 5] = bad
    names = tuple(map(str, range(count)))
    return Images(pixels, None, names, names, ("intensity",), ())


@faces
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_image_with_nan_or_inf_is_refused_when_it_is_met(make, monkeypatch, bad):
    monkeypatch.setattr("maskgym.envs.task.load", lambda *_args, **_keywords: images(4, bad))
    env = make()
    refused("an image of 'phantoms' holds NaN or Inf: see `maskgym data check`", env.reset, seed=0)


@faces
def test_an_empty_split_is_refused(make, monkeypatch):
    monkeypatch.setattr("maskgym.envs.task.load", lambda *_args, **_keywords: images(0))
    refused("the split 'test' of 'phantoms' is empty: choose another", make, split="test")


@faces
def test_images_without_labels_have_no_lesion_cover(make, monkeypatch):
    monkeypatch.setattr("maskgym.envs.task.load", lambda *_args, **_keywords: images(4))
    env = make()
    env.reset(seed=0)
    assert "lesion_cover" not in env.step(env.action_space.sample())[4]


@pytest.mark.parametrize("index", [-1, 128, 3.0, "7", None, True, [1, 2]])
def test_an_index_that_is_no_image_is_refused(index):
    env = gym.make("maskgym:MaskMIMSmall-v0", split="val")
    said = "must be one number" if isinstance(index, list) else "is out of range: the split has images 0 to 127"
    refused(said, env.reset, options={"index": index})


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (np.zeros(63), r"the action has shape \(63,\): it must be \(64,\) or \(8, 8\)"),
        (np.zeros((4, 16)), r"the action has shape \(4, 16\)"),
        (np.zeros((1, 64)), r"the action has shape \(1, 64\)"),
        (3, r"the action has shape \(\)"),
        (["a"] * 64, "the action is no array of numbers"),
        ([[1], [1, 2]], "the action is no array of numbers"),
        (None, "the action is no array of numbers"),
        (np.full(64, np.nan), "the action holds nan: a mask holds 0 and 1 only; for scores make it with action_type"),
        (np.arange(64) * 7, "the action holds 7: a mask holds 0 and 1 only"),
        (np.full((8, 8), -3), "the action holds -3: a mask holds 0 and 1 only"),
        (torch.full((64,), 0.5), "the action holds 0.5: a mask holds 0 and 1 only"),
    ],
)
def test_a_wrong_action_is_refused(action, said):
    env = gym.make("maskgym:MaskMIMSmall-v0", split="val").unwrapped
    env.reset(seed=0)
    refused(said, env.step, action=action)


def test_scores_that_are_nan_are_refused():
    env = gym.make("maskgym:MaskMIMSmall-v0", split="val", action_type="score").unwrapped
    env.reset(seed=0)
    refused("the action holds NaN: scores must be numbers", env.step, action=np.full(64, np.nan))


@pytest.mark.parametrize(
    "keywords", [{"ratio": np.float64(0.5)}, {"patch_size": "16"}, {"hint_share": 1}, {"ratio": 0.98}]
)
def test_near_misses_that_mean_something_are_taken(keywords):
    gym.make("maskgym:MaskMIMSmall-v0", split="val", **keywords)


def test_a_cache_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("MASKGYM_CACHE", str(blocked / "cache"))
    refused("the cache folder .* cannot be written .*: set MASKGYM_CACHE", gym.make, id="maskgym:MaskMIMSmall-v0")


class Fussy(torch.nn.Module):
    """A network that cannot take every size."""

    settings = {"channels": 1, "dims": 2}  # noqa: RUF012

    def forward(self, images, mask):
        return images.reshape(-1, 1, 50, 50)


@faces
def test_any_other_network_is_tried_on_the_size_before_the_first_step(make, monkeypatch):
    monkeypatch.setattr("maskgym.envs.task.store.load", lambda *_args, **_keywords: (Fussy(), {}))
    refused("reconstructor 'phantoms-64' cannot take images of 64x64 .*: choose an image_size", make, split="val")


def test_a_network_of_other_axes_is_refused_before_any_image_is_made(monkeypatch):
    monkeypatch.setattr("maskgym.envs.task.load", lambda *_, **__: pytest.fail("images were made"))
    refused("phantoms-64' is for images of 2 axes, these have 3", MAKERS["single"], image_size="64x64x64")
