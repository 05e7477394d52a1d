import subprocess
import sys

import pytest
from PIL import Image

from maskgym import cli


def left(words: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    return int(caught.value.code or 0)


def test_envs_lists_every_id(capsys):
    from maskgym.envs.registry import IDS

    assert left(["envs"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in IDS)


@pytest.mark.parametrize("env", ["MaskMIMSmall-v0", "MaskMIM3D-v0"])
def test_render_writes_a_row_for_each_image(env, tmp_path, capsys):
    out = tmp_path / "deep" / "x.png"
    assert left(["render", "--env", env, "--images", "2", "--agent", "variance", "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert picture.height > 2 * 208
        assert picture.width > 4 * 208


def test_a_learner_that_nobody_trained_plays_and_is_told_so(tmp_path, capsys):
    game = ["render", "--env", "MaskMIMSmall-v0", "--images", "1", "--out", str(tmp_path / "x.png")]
    assert left([*game, "--agent", "a3c?width=8"]) == 0
    assert "a3c?width=8 plays untrained: `maskgym train a3c` trains one, a3c:FOLDER" in capsys.readouterr().err
    assert left([*game, "--agent", "variance"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["render", "--env", "MaskMIM-v9", "--out", "x.png"], "unknown environment 'MaskMIM-v9'"),
        (["render", "--agent", "randm", "--out", "x.png"], "did you mean random"),
        (["render", "--images", "0", "--out", "x.png"], "images 0 must be at least 1"),
        (["reconstructor", "train", "--out", "r", "--steps", "0"], "steps 0 must be at least 1"),
        (["reconstructor", "train", "--out", "r", "--patch-size", "7"], "does not divide"),
        (["reconstructor", "bundle", "--out", "r", "--only", "MaskMIM"], "choose MaskMIM-v0, MaskMIMSmall-v0"),
        (["reconstructor", "train", "--out", "r", "--precision", "8"], "invalid choice '8'"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_leaves_with_two(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert left(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_demo_trains_plays_prints_and_draws(tmp_path):
    command = [sys.executable, "-m", "maskgym.cli", "demo", "--out", str(tmp_path / "demo"), "--seeds", "1"]
    run = subprocess.run([*command, "--steps", "256"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert all(agent in run.stdout for agent in ("random", "variance", "loss-map", "a3c"))
    with Image.open(tmp_path / "demo" / "gallery.png") as picture:
        assert min(picture.size) > 200
