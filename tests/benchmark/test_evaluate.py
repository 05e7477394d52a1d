"""Scoring: its files, going on after a kill, no stale figures, and the lines that refuse bad input first."""

import csv
import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskgym.benchmark import evaluate as evaluation
from maskgym.benchmark import manifest, par, players, results
from maskgym.benchmark.evaluate import evaluate
from maskgym.benchmark.protocol import Protocol, runs
from maskgym.cli import run
from maskgym.errors import BadInput
from maskgym.masking.observation import from_observation

FILES = {"score.csv", "score.json", "score.md", "score.png", "cells", "results.json", "settings.json"}


@pytest.fixture
def command(game_options, par_file, tmp_path):
    return [*game_options, "--par", str(par_file), "--ratio", "0.5", "0.75", "--seeds", "3", "--out", str(tmp_path)]


@pytest.fixture
def pars(task, par_file):
    return {ratio: par.find(task, ratio, 6, par_file) for ratio in (0.5, 0.75)}


def scored(protocol, task, out, pars):
    return {(one.agent, one.ratio, one.mode): one for one in evaluate(protocol, task, out, pars)}


def test_heuristics_are_scored_beside_each_other_and_all_files_are_written(command, tmp_path, capsys):
    assert run(["score", "gradient", "loss-map?masks=2", *command]) == 0
    assert {path.name for path in tmp_path.iterdir()} == FILES
    told = json.loads((tmp_path / "score.json").read_text())
    assert {line["agent"] for line in told["lines"]} == {"gradient", "loss-map?masks=2", "variance", "random"}
    for line in told["lines"]:
        assert line["points"]["low"] <= line["points"]["value"] <= line["points"]["high"]
        assert line["track"] == ("query-16" if "masks" in line["agent"] else "image")
    assert told["pars"]["0.5"]["queries"] == 60
    with open(tmp_path / "score.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 2 * 2 * 3 * 6  # agents, ratios, modes, seeds, images
    assert {row["hidden"] for row in rows if row["ratio"] == "0.75"} == {"12"}  # K of 16
    mean = np.mean([float(row["reward"]) for row in rows if (row["agent"], row["ratio"]) == ("gradient", "0.5")])
    line = next(line for line in told["lines"] if (line["agent"], line["ratio"]) == ("gradient", 0.5))
    assert line["reward"] == pytest.approx(mean, rel=1e-4)
    with Image.open(tmp_path / "score.png") as picture:
        assert picture.width > 800
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines() if "%" in line and "[" in line)
    assert "3 runs of" in shown  # fewer than a claim needs


def test_a_result_tells_all_that_it_was_made_by(command, tmp_path, task, monkeypatch):
    out = tmp_path / "a folder's $name"
    words = ["score", "random", *command[:-1], str(out), "--ratio", "0.5"]
    monkeypatch.setattr(sys, "argv", ["maskgym", *words])
    assert run(words) == 0
    (found, *_), about = results.read(out)
    told = about["manifest"]
    assert shlex.split(told["command"]) == ["maskgym", *words]
    assert told["versions"].keys() >= {"python", "maskgym", "torch", "gymnasium"}
    assert len(told["commit"]) >= 12 or not (Path(manifest.__file__).parents[2] / ".git").exists()
    assert told["processor"]
    assert told["game"]["env"] == "MaskMIMSmall-v0"
    assert told["game"]["network"] == task.fingerprint
    assert told["game"]["split_hash"] == manifest.images_hash(task, 6)
    assert told["par"]["0.5"].startswith("own par, par.safetensors (")
    assert told["agents"]["random"]["distribution"].startswith("maskgym ")
    assert (found.seeds, found.reward.shape, found.mask.shape) == ((0, 1, 2), (3, 6), (3, 6, 16))


def test_at_a_hard_share_the_top_scores_are_hidden_and_the_rest_at_random(command, tmp_path, task, capsys):
    images = task.fetch(np.arange(6))
    seen = from_observation(task.observe(images))
    scores = players.seat("gradient", task, 0.5, 0).score(seen).flatten(1)
    for share in (1.0, 0.5):
        out = tmp_path / f"{share}"
        words = ["score", "gradient", *command[:-1], str(out), "--ratio", "0.5", "--hard-share", str(share)]
        assert run(words) == 0
        (found, *_), about = results.read(out)
        assert about["manifest"]["hard_share"] == share
        assert ("50% of them by score" in capsys.readouterr().out) == (share == 0.5)
        assert ("hard share 0.5" in (out / "score.md").read_text()) == (share == 0.5)
        assert (found.mask.sum(2) == 8).all()
        top = torch.zeros(6, 16, dtype=torch.bool).scatter_(1, scores.topk(round(8 * share), 1).indices, True).numpy()
        assert found.mask[:, top].all()
        assert (found.mask == found.mask[0]).all() == (share == 1)
    again = task.game_at(0.5).evaluate(images, torch.from_numpy(found.mask[0]).view(6, 4, 4)).reward
    np.testing.assert_allclose(found.reward[0], again.numpy(), rtol=1e-4)  # of the mask that was really hidden
    with pytest.raises(BadInput, match="hard share 0.5: score again without"):
        run(["submit", str(out), "--agent", "gradient", "--method", "Edges come first", "--out", str(tmp_path / "x")])


@pytest.mark.slow
def test_a_learner_is_trained_once_a_seed_and_once_a_ratio_where_it_is_told_to(command, tmp_path, capsys):
    words = ["score", "hpm?width=8", *command, "--seeds", "2", "--steps", "64"]
    assert run(words) == 0
    assert len(list((tmp_path / "agents").iterdir())) == 2
    assert "Trained at 75% and scored at 50%: hpm" in capsys.readouterr().out
    first = (tmp_path / "score.csv").read_text()
    seen = {path: path.stat().st_mtime_ns for path in (tmp_path / "agents").glob("*/agent.*")}
    assert run(words) == 0  # everything is there
    assert (tmp_path / "score.csv").read_text() == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "agents").glob("*/agent.*")} == seen
    capsys.readouterr()
    with pytest.raises(BadInput, match="steps was 64, is 96"):
        run([*words[:-1], "96"])
    assert run([*words, "--train-at", "each", "--fresh"]) == 0
    assert sorted(path.name.split("-ratio-")[1][:4] for path in (tmp_path / "agents").iterdir()) == [
        *["0.5-"] * 2, *["0.75"] * 2
    ]  # fmt: skip
    assert "Trained at" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_run_goes_on_and_comes_to_the_same_figures(task, tmp_path, monkeypatch, pars):
    protocol = Protocol(("random", "variance"), (0.5, 0.75), 2, 6)
    whole = scored(protocol, task, tmp_path / "whole", pars)
    play, calls = evaluation.play, []

    def killed(*args, **how):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return play(*args, **how)

    monkeypatch.setattr(evaluation, "play", killed)
    with pytest.raises(KeyboardInterrupt):
        scored(protocol, task, tmp_path / "killed", pars)
    resumed = scored(protocol, task, tmp_path / "killed", pars)
    assert len(calls) == 4 + 8 - 3  # 2 agents, 2 seeds, 2 ratios, of which 3 were done
    for cell, result in whole.items():
        np.testing.assert_array_equal(resumed[cell].reward, result.reward)
        np.testing.assert_array_equal(resumed[cell].mask, result.mask)
        np.testing.assert_array_equal(resumed[cell].lesion_cover, result.lesion_cover)
    for path in (tmp_path / "whole" / "cells").glob("*.json"):
        path.write_text(path.read_text()[:100])  # cut short: played again
    again = scored(protocol, task, tmp_path / "whole", pars)
    np.testing.assert_array_equal(again["random", 0.5, "sampled"].reward, whole["random", 0.5, "sampled"].reward)


def test_cells_of_another_game_are_not_taken(make_task, tmp_path, pars):
    protocol, cell = Protocol(("variance",), (0.5,), 1, 6), ("variance", 0.5, "deterministic")
    one = scored(protocol, make_task(), tmp_path, pars)[cell]
    other = scored(protocol, make_task("other"), tmp_path, pars)[cell]
    assert not np.allclose(one.reward, other.reward)


STRANGER = """
from stranger.parts import sign
from maskgym.agent import Agent

class Bright(Agent):
    name = "bright"

    def score(self, images):
        return sign() * self.patches.mean(images[:, 0])
"""


@pytest.mark.slow
def test_an_agent_of_another_package_is_scored_again_after_its_code_changed(command, tmp_path, monkeypatch):
    """A stranger's agent, found by its entry point; once the old figure was told again, silently."""
    site = tmp_path / "site"
    (site / "stranger").mkdir(parents=True)
    (site / "stranger" / "agent.py").write_text(STRANGER)
    (site / "stranger" / "parts.py").write_text("def sign():\n    return 1.0\n")
    info = site / "stranger-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 0.1\n")
    (info / "top_level.txt").write_text("stranger\n")
    (info / "entry_points.txt").write_text("[maskgym.agents]\nbright = stranger.agent:Bright\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def points():
        for name in [name for name in sys.modules if name.partition(".")[0] == "stranger"]:
            monkeypatch.delitem(sys.modules, name)  # as a new process would find it
        both = ["bright", "mirror?start=bright"]
        assert run(["score", *both, *command[:-1], str(tmp_path / "out"), "--ratio", "0.5", "--seeds", "1"]) == 0
        told = json.loads((tmp_path / "out" / "score.json").read_text())
        agents = told["manifest"]["agents"]
        assert agents["bright"]["distribution"] == agents[both[1]]["starts"][0]["distribution"] == "stranger 0.1"
        one, mirrored = (
            next(line["points"]["value"] for line in told["lines"] if line["agent"] == agent) for agent in both
        )
        assert one == pytest.approx(mirrored)  # the mean of a patch is its mirror image's
        return one

    told = [points(), points()]
    agent, parts = site / "stranger" / "agent.py", site / "stranger" / "parts.py"
    agent.write_text(STRANGER.replace("return sign() *", "return -sign() *"))
    told.append(points())
    parts.write_text("def sign():\n    return -1.0\n")
    told.append(points())
    assert told[0] == told[1] == told[3]
    assert abs(told[2] - told[0]) > 5


def test_a_saved_agent_is_one_run_and_one_folder_a_seed_is_many(task, tmp_path, pars):
    for seed in (0, 1):
        players.seat("hpm", task, 0.5, seed).save(tmp_path / f"hpm-{seed}")
    each, one = f"hpm:{tmp_path}/hpm-{{seed}}", f"hpm:{tmp_path}/hpm-1"
    assert (runs(each, 2), runs(one, 2), runs("hpm", 2)) == (2, 1, 2)
    found = scored(Protocol((each, one), (0.5,), 2, 6), task, tmp_path / "out", pars)
    first, second = (found[spec, 0.5, "deterministic"].mask for spec in (each, one))
    np.testing.assert_array_equal(first[1], second[0])
    assert not (first[0] == second[0]).all()


def test_a_folder_trained_again_is_played_again(task, tmp_path, pars):
    spec, masks = f"hpm:{tmp_path}/hpm", []
    for seed in (0, 1):
        players.seat("hpm", task, 0.5, seed).save(tmp_path / "hpm")
        found = scored(Protocol((spec,), (0.5,), 1, 6), task, tmp_path / "out", pars)
        masks.append(found[spec, 0.5, "deterministic"].mask)
    assert not (masks[0] == masks[1]).all()
    start = f"search?queries=16&start={spec}"  # weights named among the settings count, too
    assert players.folders(start) == players.folders(spec) == [tmp_path / "hpm"]
    assert players.folders(f"survey?queries=16&start=mirror?start={spec}") == [tmp_path / "hpm"]


def test_a_network_named_in_a_spec_is_asked_in_place_of_the_games_and_trained_again_it_is_another(
    networks, task, tmp_path, pars
):
    named, masks = tmp_path / "own.safetensors", []
    for name in ("one", "other"):
        shutil.copy(networks[name], named)
        spec = f"loss-map?masks=2&network={named}"
        found = scored(Protocol((spec, "loss-map?masks=2"), (0.5,), 1, 6), task, tmp_path / "out", pars)
        masks.append(found[spec, 0.5, "deterministic"].mask)
        assert (found[spec, 0.5, "deterministic"].queries == 2).all()
    np.testing.assert_array_equal(masks[0], found["loss-map?masks=2", 0.5, "deterministic"].mask)  # the game's is "one"
    assert not (masks[0] == masks[1]).all()


def test_a_saved_agent_plays_the_game_it_was_trained_in_or_says_why_not(networks, par_file, task, tmp_path):
    """Without --env it once played MaskMIM-v0, whatever it was trained on."""
    folder = tmp_path / "run"
    players.seat("hpm", task, 0.75, 0).save(folder)
    words = ["score", f"hpm:{folder}", "--images", "6", "--par", str(par_file), "--ratio", "0.75", "--seeds", "1"]
    words += ["--out", str(tmp_path / "out")]
    with pytest.raises(BadInput, match="does not say which game 'hpm' was trained in: give --env"):
        run(words)
    env = {"id": "MaskMIMSmall-v0", "image_size": "32x32", "patch_size": 8, "reconstructor": networks["one"]}
    told = {"env": {**env, "reward": "loss", "device": "cpu", "ratio": 0.75, "piece": 32}}
    (folder / "settings.json").write_text(json.dumps(told))
    for spec, out in ((words[1], "out"), (f"mirror?start={words[1]}", "start")):  # that of a start, too
        assert run(["score", spec, *words[2:-1], str(tmp_path / out)]) == 0
        found, told = results.read(tmp_path / out)
        assert told["manifest"]["game"]["network"] == task.fingerprint
        assert {one.manifest.get("trained_at") for one in found if one.agent == spec} == {0.75}
    other = tmp_path / "other"
    players.seat("hpm", task, 0.75, 0).save(other)
    (other / "settings.json").write_text(json.dumps({"env": {**env, "id": "MaskMIM-v0"}}))
    with pytest.raises(BadInput, match="give --env"):
        run([*words[:2], f"hpm:{other}", *words[2:]])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hpn"], "unknown agent 'hpn': did you mean hpm"),
        (["hpm:nowhere"], "no saved agent in nowhere"),
        (["hpm:"], "agent 'hpm:' names no folder: write hpm:FOLDER, or hpm"),
        (["loss-map?maks=3"], "no setting 'maks'"),
        (["variance", "--ratio", "1.5"], "ratio 1.5 is outside"),
        (["variance", "--hard-share", "1.5"], "hard_share 1.5 is outside"),
        (["variance", "--hard-share", "nan"], "hard_share nan is outside"),
        (["variance", "--images", "500"], "the test split has 128"),
        (["variance", "--seeds", "0"], "seeds 0"),
        (["variance", "--env", "MaskMIMSmal-v0"], "did you mean MaskMIMSmall-v0?"),
        (["variance", "--split", "val"], "is of another split"),
        (["variance", "--ratio", "0.25"], "has no ratio 0.25"),
        (["variance", "--images", "7"], "knows 6 images at ratio 0.5, not 7"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_run(command, tmp_path, monkeypatch, words, said):
    monkeypatch.setattr(evaluation, "evaluate", lambda *args: pytest.fail("something was run"))
    with pytest.raises(BadInput) as caught:
        run(["score", words[0], *command, *words[1:]])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(Path(tmp_path).iterdir())


def test_an_output_folder_that_cannot_be_written_is_one_line(command, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="file"):
        run(["score", "variance", *command[:-1], str(tmp_path / "file")])
