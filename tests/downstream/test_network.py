import pytest
import torch
from safetensors.torch import load_file, save_file

from maskgym.downstream.network import build, load_segmenter, parse_network, save_segmenter
from maskgym.errors import BadInput
from maskgym.masking.patches import Patches
from maskgym.networks import store
from maskgym.networks.students import make_student

SMALL = {
    "unet": ("unet", {"widths": (4, 8)}, ""),
    "basicunet": ("basicunet", {"widths": (4, 4, 8, 8)}, ""),
    "unetr": ("vit-mae", {"width": 12, "depth": 12, "heads": 3}, "?features=4"),
    "stunet": ("stunet-s", {"widths": (4, 8)}, ""),
}


def student(tmp_path, kind: str, channels: int = 1, size: tuple[int, ...] = (32, 32)):
    name, settings, _ = SMALL[kind]
    torch.manual_seed(7)
    network = make_student(name, channels, Patches(size, (16,) * len(size)), settings)
    folder = tmp_path / f"{kind}-{channels}-{len(size)}"
    store.save(network, folder / "model.safetensors", {"recipe": "random"})
    return folder, network


@pytest.mark.parametrize("kind", SMALL)
def test_a_pre_trained_encoder_is_in_the_network_that_is_fine_tuned(tmp_path, kind):
    folder, _ = student(tmp_path, kind)
    network, coverage, _ = build(kind + SMALL[kind][2], str(folder), 1, 3, (32, 32))
    assert coverage is not None
    assert coverage.share == 1.0
    given, there = load_file(folder / "model.safetensors"), network.state_dict()
    given |= {key.removeprefix("net."): value for key, value in given.items()}
    assert coverage.filled
    assert all(torch.equal(there[key], given[source]) for key, source in coverage.filled.items())
    assert network(torch.zeros(1, 1, 32, 32)).shape == (1, 3, 32, 32)


def test_scratch_is_the_same_for_a_seed_and_differs_from_seed_to_seed():
    first, again, other = (build("unet?widths=4,8", "none", 1, 2, (16, 16), seed)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_making_a_network_leaves_the_callers_chance_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    build("unet?widths=4,8", "none", 1, 2, (16, 16), 5)
    assert torch.equal(torch.rand(3), expected)


def test_branches_are_left_out_while_training_and_never_after():
    network, _, about = build("unetr?width=12&heads=3&features=4", "none", 1, 2, (32, 32), drop_path=0.9)
    assert about["settings"]["drop_path"] == 0.9
    images = torch.randn(2, 1, 32, 32)
    network.train()
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_a_saved_network_is_loaded_alone(tmp_path):
    network, _, about = build("stunet?widths=4,8", "none", 2, 3, (16, 16, 16))
    save_segmenter(network, {**about, "classes": ["a", "b"]}, tmp_path / "model.safetensors")
    loaded, told = load_segmenter(tmp_path)
    assert told["classes"] == ["a", "b"]
    volume = torch.randn(1, 2, 16, 16, 16)
    assert torch.equal(loaded(volume), network.eval()(volume))


def test_settings_of_a_network_are_read_from_its_name():
    assert parse_network("unetr?width=96&heads=3&drop_path=0.1") == (
        "unetr",
        {"width": 96, "heads": 3, "drop_path": 0.1},
    )
    for text, told in (
        ("unett", "did you mean 'unet'"),
        ("unet?widths=a", "no number"),
        ("unet?depths=3", "depths"),
    ):
        with pytest.raises(BadInput, match=told):
            build(text, "none", 1, 2, (32, 32))


def test_weights_for_other_images_are_refused(tmp_path):
    colour, _ = student(tmp_path, "unet", channels=3)
    volume, _ = student(tmp_path, "unet", size=(32, 32, 32))
    with pytest.raises(BadInput, match="are for images of 3 channels, these have 1"):
        build("unet", str(colour), 1, 2, (32, 32))
    with pytest.raises(BadInput, match="are for images of 3 axes, these have 2"):
        build("unet", str(volume), 1, 2, (32, 32))


def test_bare_weights_for_other_channels_are_refused_though_they_fill_most(tmp_path):
    _, network = student(tmp_path, "unet", channels=3)
    bare = {key.removeprefix("net."): value.contiguous() for key, value in network.state_dict().items()}
    save_file(bare, tmp_path / "bare.safetensors")
    with pytest.raises(BadInput, match="other channels|fill"):
        build("unet?widths=4,8", str(tmp_path / "bare.safetensors"), 1, 2, (32, 32))


def test_weights_that_fill_too_little_are_refused_unless_told(tmp_path):
    folder, _ = student(tmp_path, "unet")
    with pytest.raises(BadInput, match=r"fill \d+\.\d% of the encoder of 'unet', less than 90%.*--allow-partial"):
        build("unet?widths=4,16", str(folder), 1, 2, (32, 32))
    _, coverage, _ = build("unet?widths=4,16", str(folder), 1, 2, (32, 32), allow_partial=True)
    assert coverage is not None
    assert 0 < coverage.share < 0.9


def test_weights_of_another_kind_are_refused_with_what_would_fit(tmp_path):
    folder, _ = student(tmp_path, "basicunet")
    with pytest.raises(BadInput, match=r"do not fit network 'unet': they are for basicunet"):
        build("unet", str(folder), 1, 2, (32, 32))


@pytest.mark.parametrize("damage", ["short", "text", "missing"])
def test_damaged_weights_are_named(tmp_path, damage):
    folder, _ = student(tmp_path, "unet")
    file = folder / "model.safetensors"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:200] if damage == "short" else b"no weights at all")
    with pytest.raises(BadInput, match="no weights in" if damage == "missing" else "model.safetensors is damaged"):
        build("unet", str(folder), 1, 2, (32, 32))
    with pytest.raises(BadInput, match="is no fine-tuned network of ours or is damaged"):
        load_segmenter(folder)


def test_a_student_is_no_fine_tuned_network(tmp_path):
    folder, _ = student(tmp_path, "unet")
    with pytest.raises(BadInput, match="is no fine-tuned network"):
        load_segmenter(folder)
