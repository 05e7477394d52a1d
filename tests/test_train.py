import json
from pathlib import Path
from typing import Any

import pytest

from maskgym.commands.train import Train, masks
from maskgym.errors import BadInput

GAME: dict[str, Any] = {"env": "maskgym:MaskMIMSmall-v0", "image_size": "32x32", "piece": 8, "quiet": True}
SHORT: dict[str, Any] = {"steps": "32", "judge_every": "0"}


@pytest.mark.parametrize("more", [{"workers": 1}, {"synchronous": True}])
def test_trains_a3c_and_leaves_an_agent_that_can_be_loaded(tmp_path: Path, more: dict[str, Any]) -> None:
    from maskgym.envs.task import Settings, Task
    from maskgym.registry import game_spec_of, make_agent

    out = tmp_path / "run"
    assert Train("a3c?width=8", out, **GAME, **SHORT, **more)() == 0
    about = json.loads((out / "settings.json").read_text())
    assert about["agent"] == "a3c"
    assert about["settings"]["width"] == 8
    task = Task(Settings(image_size="32x32", reconstructor="phantoms-64", split="val", piece=8))
    assert make_agent(f"a3c:{out}", game_spec=game_spec_of(task)).settings.width == 8
    with pytest.raises(BadInput, match="--resume"):
        Train("a3c?width=8", out, **GAME, **SHORT, **more)()
    with pytest.raises(BadInput, match="width"):
        Train("a3c?width=16", out, resume=True, **GAME, **SHORT, **more)()
    assert Train("a3c?width=8", out, resume=True, **GAME, **SHORT, **more)() == 0


def test_trains_an_agent_with_a_way_of_its_own(tmp_path: Path) -> None:
    assert Train("hpm?width=8", tmp_path / "run", **GAME, **SHORT)() == 0
    assert (tmp_path / "run" / "agent.json").exists()


@pytest.mark.parametrize(
    ("agent", "more", "told"),
    [
        ("a3c", {"steps": "0"}, "steps 0"),
        ("a3c", {"workers": 0}, "workers 0"),
        ("a3c", {"steps": "many"}, "no number"),
        ("a3c", {"resume": True}, "no run"),
        ("random", {}, "does not learn"),
        ("a3c?credit=envy", {}, "credit"),
        ("a3c", {"env": "maskgym:MaskMIMSmal-v0"}, "did you mean"),
        ("a3c", {"device": "cuda:99"}, "cuda"),
        ("hpm", {"resume": True}, "one go"),
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


def test_numbers_of_masks_may_be_grouped() -> None:
    assert masks("200_000") == masks("200,000") == masks("200000") == 200_000
