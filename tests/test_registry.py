import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import gymnasium as gym
import pytest

from maskgym.agent import GameSpec
from maskgym.cli import run
from maskgym.errors import BadInput
from maskgym.masking.patches import Patches
from maskgym.registry import GROUP, agent_class, make_agent, names

SPEC = GameSpec(Patches((32, 32), (8, 8)))


def test_ours_are_all_found_by_name() -> None:
    assert {"random", "loss-map", "mps-ams", "amlp", "hpm", "anatomask", "sb3-ppo", "sb3-a2c"} <= set(names())


def test_an_unknown_agent_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(BadInput, match="unknown agent 'varience': did you mean variance"):
        agent_class("varience")
    with pytest.raises(BadInput, match=r"unknown agent 'zzz': installed are .*random"):
        agent_class("zzz")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("loss-map?maks=3", "agent 'loss-map' has no setting 'maks': did you mean 'masks'?"),
        ("random?masks=3", "agent 'random' has no setting 'masks': it has none"),
        ("loss-map?masks=many", "setting masks='many' must be of type int"),
        ("amlp?rule=nearest", "rule=nearest is unknown: choose contrast or near or far"),
        ("hpm:somewhere?lr=1", "hpm:somewhere is a saved agent with its own lr: leave the settings away"),
    ],
)
def test_a_wrong_spec_is_refused_in_one_sentence(spec: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        make_agent(spec, game_spec=SPEC)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_are_read_from_the_spec_and_from_keywords_alike() -> None:
    agent = make_agent("loss-map?masks=3&piece=2", game_spec=SPEC)
    assert agent.settings == make_agent("loss-map", game_spec=SPEC, masks=3, piece=2).settings


def test_without_a_game_no_agent_is_made() -> None:
    with pytest.raises(BadInput, match="must know the game: hand in an environment or a game_spec"):
        make_agent("random")
    with pytest.raises(BadInput, match="is no environment of maskgym"):
        make_agent("random", gym.make("CartPole-v1"))


def test_a_saved_agent_may_be_given_another_seed(tmp_path: Path) -> None:
    make_agent("random", game_spec=SPEC, seed=3).save(tmp_path)
    assert make_agent(f"random:{tmp_path}", game_spec=SPEC).seed == 3
    assert make_agent(f"random:{tmp_path}", game_spec=SPEC, seed=5).seed == 5


def test_the_command_lists_who_can_play(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["agents"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["loss-map", "reconstructor", "baseline"] in lines
    assert ["hpm", "rewards", "SelfMedHPM"] in lines  # what training may see of the frozen network
    assert any(line[:2] == ["pathwise", "gradients"] for line in lines)
    assert run(["agents", "pathwise"]) == 0
    assert "learns from  gradients" in " ".join(capsys.readouterr().out.split("\n"))


def test_a_broken_package_is_named_and_hides_no_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [
        EntryPoint("gone", "no.such.module:Agent", GROUP),
        EntryPoint("random", "maskgym_agents.heuristics:Random", GROUP),
    ]
    monkeypatch.setattr("maskgym.registry.entry_points", lambda group: points)
    with pytest.raises(BadInput, match=r"agent 'gone' cannot be loaded from no\.such\.module:Agent"):
        agent_class("gone")
    run(["agents"])
    told = capsys.readouterr().out
    assert "MAE, SimMIM" in told
    assert "gone" in told


def test_a_strangers_agent_is_found_by_its_entry_point(tmp_path: Path) -> None:
    (tmp_path / "stranger.py").write_text(
        "from maskgym_agents.heuristics import Intensity\n"
        "class Dark(Intensity):\n"
        "    'Hide what is dark.'\n"
        "    name = 'dark'\n"
        "    def score(self, images):\n"
        "        return -super().score(images)\n"
    )
    about = tmp_path / "stranger-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[maskgym.agents]\ndark = stranger:Dark\n")
    script = (
        "import numpy, maskgym\n"
        "from maskgym.agent import GameSpec\n"
        "from maskgym.masking.patches import Patches\n"
        "agent = maskgym.make_agent('dark', game_spec=GameSpec(Patches((16, 16), (8, 8)), ratio=0.25))\n"
        "image = numpy.full((16, 16, 1), 200, numpy.uint8)\n"
        "image[8:, :8] = 20\n"
        "print(agent.act(image).tolist())\n"
    )
    path = os.pathsep.join(part for part in (str(tmp_path), os.environ.get("PYTHONPATH", "")) if part)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[0, 0, 1, 0]", done.stderr
