import re

import pytest
import torch
from safetensors.torch import load_file

from maskgym.cli import main
from maskgym.downstream.network import build
from maskgym.networks import store
from maskgym.networks.segmenters import make_segmenter
from maskgym.pretrain import pretrain
from tests.pretrain.runs import tiny

VIT = "width=12&depth=12&heads=3&decoder_width=12&decoder_depth=1"
RUNS = {
    "monai-unet": {},
    "monai-basicunet": {"student": "basicunet", "student_settings": "widths=4,4,4,4"},
    "unetr": {"student": "vit-mae", "student_settings": VIT, "image_size": "32x32", "patch_size": "16"},
    "stunet": {"student": "stunet-s", "student_settings": "widths=4,8"},
}


def command(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code


def run(tmp_path, to="monai-unet"):
    few = {"epochs": 1, "images": 8, "image_size": "32x32", **RUNS[to]}
    return pretrain(tiny(tmp_path / "run", **few)).parent


@pytest.mark.parametrize("to", RUNS)
def test_what_a_run_taught_is_written_under_the_networks_names_and_every_key_is_printed(tmp_path, to, capsys):
    folder = run(tmp_path, to)
    assert command("export", folder, "--to", to, "--out", tmp_path / "w" / "w.safetensors") == 0
    told = capsys.readouterr().out
    weights, student = load_file(tmp_path / "w" / "w.safetensors"), load_file(folder / "model.safetensors")
    for key, value in weights.items():
        source = next(name for name in (key, f"net.{key}") if name in student)
        assert f"  {key} <- {source}, {'x'.join(map(str, value.shape))}\n" in told
    assert all(re.search(rf"(<- |[ ,]){re.escape(key)}[,\n]", told) for key in student)
    assert "100.0% of the encoder's weights filled" in told
    assert "keeps its random start" in told
    for key, value in weights.items():
        assert torch.equal(value, student.get(key, student.get(f"net.{key}")))


def test_exported_weights_are_what_fine_tuning_starts_from(tmp_path, capsys):
    folder = run(tmp_path)
    assert command("export", folder, "--to", "monai-unet", "--out", tmp_path / "w.safetensors") == 0
    network, coverage, _ = build("unet", str(tmp_path / "w.safetensors"), 1, 2, (32, 32))
    assert coverage.share == 1.0
    student, _ = store.load(str(folder), 1, 2)
    first = network.state_dict()["model.0.conv.unit0.conv.weight"]
    assert torch.equal(first, student.state_dict()["net.model.0.conv.unit0.conv.weight"])


def test_the_decoder_goes_along_where_it_is_asked_for(tmp_path, capsys):
    folder = pretrain(tiny(tmp_path / "run", epochs=1, images=8, student_settings="widths=4,6,8")).parent
    command("export", folder, "--to", "monai-unet", "--out", tmp_path / "encoder.safetensors")
    command("export", folder, "--to", "monai-unet", "--out", tmp_path / "both.safetensors", "--decoder")
    encoder, both = (load_file(tmp_path / f"{name}.safetensors") for name in ("encoder", "both"))
    assert set(encoder) < set(both)
    rest = set(both) - set(encoder)
    assert rest == {key for key in rest if key.startswith("model.1.submodule.2.")}  # the head, model.2, is new
    network = build("unet", str(tmp_path / "both.safetensors"), 1, 2, (32, 32), decoder=True)[0].state_dict()
    assert all(torch.equal(network[key], both[key]) for key in rest)  # and fine-tuning takes it


def test_positions_are_resampled_to_the_size_that_is_asked_for(tmp_path, capsys):
    folder = run(tmp_path, "unetr")
    words = ("export", folder, "--to", "unetr", "--out", tmp_path / "w.safetensors", "--image-size", "48x64")
    assert command(*words) == 0
    assert "positions resampled from 2x2 to 3x4 patches" in capsys.readouterr().out
    weights = load_file(tmp_path / "w.safetensors")
    network = make_segmenter("unetr", 1, 2, (48, 64), {"width": 12, "heads": 3})
    assert not network.load_state_dict(weights, strict=False).unexpected_keys
    assert weights["vit.patch_embedding.position_embeddings"].shape == (1, 12, 12)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--to", "unetr"], "do not fit network 'unetr': they are for unet"),
        (["--to", "monai-unet", "--image-size", "32x"], "is not a size"),
        (["--to", "monai-unet", "--image-size", "32x32x32"], "does not suit images of 2 axes"),
    ],
)
def test_bad_input_is_told_in_one_line(tmp_path, words, told, capsys):
    folder = run(tmp_path)
    assert command("export", folder, *words, "--out", tmp_path / "w.safetensors") == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "w.safetensors").exists()


def test_where_there_are_no_weights_or_no_student_or_no_room_to_write_one_line_says_so(tmp_path, capsys):
    from safetensors.torch import save_file

    folder = run(tmp_path)
    save_file({"weight": torch.zeros(1)}, tmp_path / "bare.safetensors")
    (tmp_path / "file").write_text("")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights at all")
    capsys.readouterr()
    for where, out, told in (
        (tmp_path / "nowhere", "w.safetensors", "no weights in"),
        (tmp_path / "bare.safetensors", "w.safetensors", "holds no student of ours"),
        (tmp_path / "broken.safetensors", "w.safetensors", "is damaged or holds no weights"),
        (folder, "file/w.safetensors", "choose another --out"),
        (folder, ".", "choose another --out"),
    ):
        assert command("export", where, "--to", "monai-unet", "--out", tmp_path / out) == 2, told
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
