"""Manifests of pre-trainings, fine-tunings and studies: what a run was made by, in its folder."""

import json
import shlex

import pytest

from maskgym.benchmark import manifest
from maskgym.cli import main
from maskgym.commands import study as studies

TINY = ["--image-size", "32x32", "--batch", "4", "--steps", "2", "--workers", "1", "--quiet"]
STUDY = """
data = ["phantoms"]
seeds = [3, 4]
[[method]]
name = "scratch"
"""


def told_by(folder):
    return json.loads((folder / manifest.NAME).read_text())


def command(*words):
    with pytest.raises(SystemExit) as left:
        main(list(words))
    assert left.value.code == 0
    return shlex.join(["maskgym", *words])


@pytest.mark.slow
def test_a_pretraining_and_a_fine_tuning_tell_all_that_they_were_made_by(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["maskgym"])
    first, second = tmp_path / "a $folder", tmp_path / "second"
    learner = ["--student", "unet", "--student-settings", "widths=4,8", "--patch-size", "8", "--agent", "variance"]
    typed = command("pretrain", "--out", str(first), "--images", "8", "--seed", "5", *learner, *TINY)
    told = told_by(first)
    assert told["command"] == typed
    assert told["versions"].keys() >= {"python", "maskgym", "torch"}
    assert told["processor"]
    assert told["date"]
    assert "commit" in told
    assert (told["seeds"], told["spec"]["steps"], told["device"]) == ([5], 2, "cpu")
    assert told["agents"]["variance"]["distribution"].startswith("maskgym ")
    assert set(told["networks"]) >= {"model"}
    few = ["--labels", "2", "--metrics", "overlap", "--seed", "6"]
    typed = command("finetune", "--out", str(second), "--weights", str(first), *few, *TINY)
    tuned = told_by(second)
    assert tuned["command"] == typed
    assert tuned["inputs"]["weights"] == told["networks"]["model"]
    assert (tuned["seeds"], tuned["networks"].keys()) == ([6], {"model"})
    assert tuned["split_hash"] != told["split_hash"]  # it sees the test split, too


def test_a_study_tells_what_it_was_made_by_before_its_first_job(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["maskgym"])
    monkeypatch.setattr(studies.RunStudy, "_run", lambda *_: 0)
    (tmp_path / "s.toml").write_text(STUDY)
    typed = command("study", str(tmp_path / "s.toml"), "--out", str(tmp_path / "out"))
    told = told_by(tmp_path / "out")
    assert (told["command"], told["seeds"], told["spec"]["data"]) == (typed, [3, 4], ["phantoms"])


def test_the_hash_of_a_split_follows_its_cases(tmp_path):
    from maskgym.pretrain.settings import PretrainSettings

    found = set()
    (tmp_path / ".model.7-ab.safetensors").write_bytes(b"half")  # of a run that was killed: no network
    for data in ("phantoms", "phantoms?seed=1"):
        settings = PretrainSettings(out=tmp_path, data=data, image_size="32x32")
        manifest.of_run(tmp_path, settings, [0], ("val",))
        found.add(told_by(tmp_path)["split_hash"])
        assert told_by(tmp_path)["networks"] == {}
    assert len(found) == 2


def test_what_a_killed_run_left_half_written_is_not_hashed(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    whole = manifest.folder_hash(tmp_path)
    (tmp_path / ".model.7-ab.safetensors").write_bytes(b"wei")  # as files.replacing names its draft
    assert manifest.folder_hash(tmp_path) == whole
    (tmp_path / "model.safetensors").write_bytes(b"others")
    assert manifest.folder_hash(tmp_path) != whole
