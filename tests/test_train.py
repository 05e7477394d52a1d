import json
from pathlib import Path
from typing import Any

import pytest
import torch

from maskgym.agent import GameSpec
from maskgym.commands.train import Train
from maskgym.errors import BadInput
from maskgym.masking.patches import Patches
from maskgym.registry import make_agent
from maskgym.training.devices import native_precision

GAME: dict[str, Any] = {"env": "maskgym:MaskMIMSmall-v0", "image_size": "32x32", "piece": 8, "quiet": True}
SHORT: dict[str, Any] = {"steps": 32, "eval_every": 0}


@pytest.mark.parametrize("more", [{"workers": 1}, {"mode": "synchronous"}])
def test_trains_a3c_and_leaves_an_agent_that_can_be_loaded(tmp_path: Path, more: dict[str, Any]) -> None:
    from maskgym.envs.task import Settings, Task
    from maskgym.registry import game_spec_of

    out = tmp_path / "run"
    assert Train("a3c?width=8", out, **GAME, **SHORT, **more)() == 0
    about = json.loads((out / "settings.json").read_text())
    assert about["agent"] == "a3c"
    assert about["settings"]["width"] == 8
    task = Task(Settings(image_size="32x32", reconstructor="phantoms-64", split="val", piece=8))
    assert make_agent(f"a3c:{out}", game_spec=game_spec_of(task)).settings.width == 8
    assert about["precision"] == native_precision(torch.device("cpu"))
    with pytest.raises(BadInput, match="width.*--fresh"):
        Train("a3c?width=16", out, **GAME, **SHORT, **more)()
    written = (out / "agent.safetensors").read_bytes()
    assert Train("a3c?width=8", out, **GAME, **SHORT, **more)() == 0  # it is trained already
    assert (out / "agent.safetensors").read_bytes() == written
    assert Train("a3c?width=16", out, fresh=True, **GAME, **SHORT, **more)() == 0
    assert json.loads((out / "agent.json").read_text())["settings"]["width"] == 16


def test_hpm_is_trained_by_workers_and_goes_on_where_it_was(tmp_path: Path) -> None:
    hpm = "hpm?width=8&images=8"
    out = tmp_path / "run"
    assert Train(hpm, out, **GAME, **SHORT, workers=2)() == 0
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    assert sum(state["updates"]) * 8 >= 32
    teacher, ranker = (state["weights"][f"{part}.head.weight"] for part in ("teacher", "ranker"))
    assert not torch.equal(teacher, ranker)  # it follows slowly, in the weights that all workers share
    fresh = make_agent(hpm, game_spec=GameSpec(Patches((32, 32), (8, 8))))
    assert not torch.equal(teacher, fresh.state_dict()["teacher.head.weight"])


@pytest.mark.slow
def test_an_agent_with_a_loop_of_its_own_starts_over_unless_it_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sb3 = "sb3-a2c?rollout=8"
    assert Train(sb3, tmp_path / "run", **GAME, **{**SHORT, "steps": 128})() == 0
    assert (tmp_path / "run" / "agent.json").exists()
    assert Train(sb3, tmp_path / "run", **GAME, **{**SHORT, "steps": 128})() == 0
    assert "starting over" not in capsys.readouterr().out
    metrics = tmp_path / "run" / "metrics.csv"
    metrics.write_text(metrics.read_text().splitlines()[0] + "\n64\n")  # as if it had been killed
    assert Train(sb3, tmp_path / "run", **GAME, **{**SHORT, "steps": 128})() == 0
    assert "starting over" in capsys.readouterr().out


def test_on_a_gpu_one_process_has_all_batches_unless_told_otherwise(tmp_path: Path) -> None:
    assert not Train("a3c", tmp_path).synchronous
    assert Train("a3c", tmp_path, device="cuda").synchronous
    assert not Train("a3c", tmp_path, device="cuda", mode="asynchronous").synchronous


@pytest.mark.parametrize(
    ("agent", "more", "told"),
    [
        ("a3c", {"steps": 0}, "steps 0"),
        ("a3c", {"workers": 0}, "workers 0"),
        ("random", {}, "does not learn"),
        ("a3c?credit=envy", {}, "credit"),
        ("a3c:runs/a3c", {}, "saved agent"),
        ("a3c", {"env": "maskgym:MaskMIMSmal-v0"}, "did you mean"),
        ("a3c", {"device": "cuda:99"}, "cuda"),
    ],
)
def test_bad_input_is_told_in_one_line(tmp_path: Path, agent: str, more: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told) as error:
        Train(agent, tmp_path / "run", **{**GAME, **more})()
    assert "\n" not in str(error.value)


def test_more_workers_than_cores_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    Train("a3c?width=8", tmp_path / "run", workers=2, **GAME, **SHORT)()
    assert "2 workers on 1 cores" in capsys.readouterr().out
