import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from maskgym.errors import BadInput
from maskgym.networks import store
from maskgym.networks.unet import UNet


@pytest.fixture
def network() -> UNet:
    torch.manual_seed(0)
    return UNet(1, 2, (6, 8), 2)


@pytest.fixture
def file(network, tmp_path):
    path = tmp_path / "run" / "model.safetensors"
    store.save(network, path, {"dataset": "phantoms", "loss": 0.25})
    return path


def refused(path, said: str, channels: int = 1, dims: int = 2) -> str:
    with pytest.raises(BadInput, match=said) as caught:
        store.load(str(path), channels, dims)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rewritten(file, weights=None, metadata=None):
    """The same file with other weights, or with another header."""
    with safe_open(file, framework="pt") as opened:
        old = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        header = opened.metadata()
    save_file(old if weights is None else weights(old), file, metadata=header if metadata is None else metadata)


def test_what_was_saved_is_loaded_bit_for_bit(network, file):
    loaded, about = store.load(str(file), channels=1, dims=2)
    assert about == {"dataset": "phantoms", "loss": 0.25}
    assert loaded.settings == network.settings
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_a_run_folder_will_do(file):
    assert store.locate(str(file.parent)) == file


def test_half_precision_halves_the_file_and_is_loaded_in_full(network, file):
    small = file.with_name("half.safetensors")
    store.save(network, small, {}, half=True)
    loaded, _ = store.load(str(small), 1, 2)
    assert all(value.dtype == torch.float32 for value in loaded.parameters())
    for name, value in network.named_parameters():
        torch.testing.assert_close(loaded.get_parameter(name), value, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("keep", [0, 5, 100, 2000])
def test_a_truncated_file_is_refused(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    refused(file, "is no reconstructor of ours or is damaged")


def test_a_corrupt_header_is_refused(file):
    content = bytearray(file.read_bytes())
    content[20:60] = b"\xff" * 40
    file.write_bytes(content)
    refused(file, "is damaged")


def test_a_file_that_is_no_safetensors_is_refused(file):
    torch.save({"weights": torch.zeros(3)}, file)
    refused(file, "is damaged")


def test_safetensors_of_somebody_else_are_refused(file):
    rewritten(file, metadata={"format": "pt"})
    refused(file, "is no reconstructor of ours")
    rewritten(file, metadata={"maskgym": "[1"})
    refused(file, "is no reconstructor of ours")
    rewritten(file, metadata={"maskgym": json.dumps({"kind": "gan", "settings": {}, "about": {}})})
    refused(file, "gan")


def test_a_missing_an_extra_and_a_misshapen_weight_are_refused(file):
    content = file.read_bytes()
    for change in (
        lambda old: {key: old[key] for key in list(old)[1:]},
        lambda old: {**old, "stranger": torch.zeros(2)},
        lambda old: {key: value[:1] if value.dim() else value for key, value in old.items()},
    ):
        file.write_bytes(content)
        rewritten(file, weights=change)
        refused(file, "is damaged")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(network, file, bad):
    network.head.bias.data[0] = bad
    store.save(network, file, {})
    refused(file, "not finite: train or copy it again")


def test_other_channels_and_other_axes_are_refused_by_name(file):
    assert "1 channels, these have 3" in refused(file, "train one for them", channels=3)
    assert "2 axes, these have 3" in refused(file, "train one for them", dims=3)


def test_an_unknown_name_is_answered_with_the_nearest():
    refused("phantom-128", "did you mean 'phantoms-128'")
    refused("qqqq", "bundled are .*phantoms-64")


def test_a_file_that_cannot_be_written_is_one_line_and_leaves_nothing_behind(network, tmp_path, monkeypatch):
    def full(*_args, **_keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("maskgym.files.os.replace", full)
    with pytest.raises(BadInput, match="No space left on device"):
        store.save(network, tmp_path / "model.safetensors", {})
    assert list(tmp_path.iterdir()) == []


def test_the_fingerprint_tells_weights_apart(network):
    before = store.fingerprint(network)
    assert before == store.fingerprint(network)
    network.head.bias.data[0] += 1e-6
    assert store.fingerprint(network) != before


@pytest.mark.parametrize("name", store.bundled())
def test_what_is_bundled_loads_and_is_small(name):
    network, _ = store.load(name, 1, 3 if "3d" in name else 2)
    assert all(value.isfinite().all() for value in network.parameters())
    assert store.locate(name).stat().st_size < 1_500_000
