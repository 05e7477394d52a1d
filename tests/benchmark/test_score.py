"""Scoring: its files, going on after a kill, and the lines that refuse bad input before anything runs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskgym.benchmark import contestants, score
from maskgym.benchmark.score import Cell, Plan
from maskgym.benchmark.table import _plain
from maskgym.cli import run
from maskgym.errors import BadInput

FILES = {"score.csv", "score.json", "score.md", "score.png", "cells"}


@pytest.fixture
def command(game_options, par_file, tmp_path):
    return [*game_options, "--par", str(par_file), "--ratio", "0.5", "0.75", "--seeds", "2", "--out", str(tmp_path)]


def no_games():
    raise AssertionError("nothing here is to be trained")


def test_heuristics_are_scored_beside_each_other_and_all_files_are_written(command, tmp_path, capsys):
    assert run(["score", "gradient", "variance", *command]) == 0
    assert {path.name for path in tmp_path.iterdir()} == FILES
    told = json.loads((tmp_path / "score.json").read_text())
    assert {line["agent"] for line in told["lines"]} == {"gradient", "variance", "random"}
    assert {(line["ratio"], line["mode"]) for line in told["lines"]} == {
        (ratio, mode) for ratio in (0.5, 0.75) for mode in ("deterministic", "sampled")
    }
    for line in told["lines"]:
        assert line["points"]["low"] <= line["points"]["value"] <= line["points"]["high"] < 130
    assert told["pars"]["0.5"]["evaluations"] == 60
    with open(tmp_path / "score.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 2 * 2 * 6  # agents, ratios, modes, seeds, images
    assert {row["hidden"] for row in rows if row["ratio"] == "0.75"} == {"12"}  # K of 16
    mean = np.mean([float(row["reward"]) for row in rows if (row["agent"], row["ratio"]) == ("gradient", "0.5")])
    line = next(line for line in told["lines"] if (line["agent"], line["ratio"]) == ("gradient", 0.5))
    assert line["reward"] == pytest.approx(mean, rel=1e-4)
    text = (tmp_path / "score.md").read_text()
    assert "12 of 16 patches hidden" in text
    assert "60 evaluations an image (par.safetensors)" in text
    with Image.open(tmp_path / "score.png") as picture:
        assert picture.width > 800
    shown = capsys.readouterr().out
    assert "gradient" in shown
    assert all(len(line) <= 80 for line in shown.splitlines() if "%" in line and "[" in line)


def test_a_learner_is_trained_once_a_seed_and_scored_at_every_ratio(command, tmp_path, monkeypatch):
    learned = []
    trained = contestants.trained

    def counted(spec, seed, env, *rest):
        return trained(spec, seed, lambda: learned.append(seed) or env(), *rest)

    monkeypatch.setattr(contestants, "trained", counted)
    words = ["score", "hpm?width=8", *command, "--steps", "64", "--num-envs", "8"]
    assert run(words) == 0
    assert learned == [0, 1]
    before = (tmp_path / "score.csv").read_text()
    assert run(words) == 0  # everything is there
    assert learned == [0, 1]
    assert (tmp_path / "score.csv").read_text() == before
    assert run([*words[:-3], "128", *words[-2:]]) == 0  # another training is another agent
    assert learned == [0, 1, 0, 1]


def test_a_killed_run_goes_on_and_comes_to_the_same_figures(task, tmp_path, monkeypatch):
    plan = Plan(("random", "variance"), (0.5, 0.75), 2, 6, 1, ())
    whole = score.score(plan, task, tmp_path / "whole", no_games)
    play, calls = score.play, []

    def killed(*args, **how):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return play(*args, **how)

    monkeypatch.setattr(score, "play", killed)
    with pytest.raises(KeyboardInterrupt):
        score.score(plan, task, tmp_path / "killed", no_games)
    done = len(list((tmp_path / "killed" / "cells").glob("*.json")))
    assert 0 < done < 16
    resumed = score.score(plan, task, tmp_path / "killed", no_games)
    assert len(calls) == 4 + 8 - 3  # 2 agents, 2 seeds, 2 ratios, of which 3 were done
    for cell, played in whole.items():
        np.testing.assert_array_equal(resumed[cell].reward, played.reward)
        np.testing.assert_array_equal(resumed[cell].mask, played.mask)
        np.testing.assert_array_equal(resumed[cell].lesion_cover, played.lesion_cover)


def test_a_cell_cut_short_is_played_again(task, tmp_path):
    plan = Plan(("variance",), (0.5,), 1, 6, 1, ())
    whole = score.score(plan, task, tmp_path, no_games)
    for path in (tmp_path / "cells").glob("*.json"):
        path.write_text(path.read_text()[:100])
    again = score.score(plan, task, tmp_path, no_games)
    cell = Cell("variance", 0, 0.5, "deterministic")
    np.testing.assert_array_equal(again[cell].reward, whole[cell].reward)


def test_cells_of_another_game_are_not_taken(make_task, tmp_path):
    plan = Plan(("variance",), (0.5,), 1, 6, 1, ())
    cell = Cell("variance", 0, 0.5, "deterministic")
    one = score.score(plan, make_task(), tmp_path, no_games)[cell]
    other = score.score(plan, make_task("other"), tmp_path, no_games)[cell]
    assert not np.allclose(one.reward, other.reward)


def test_a_saved_agent_is_one_run_and_one_folder_a_seed_is_many(task, tmp_path):
    for seed in (0, 1):
        contestants.seat("hpm", task, 0.5, seed).save(tmp_path / f"hpm-{seed}")
    each, one = f"hpm:{tmp_path}/hpm-{{seed}}", f"hpm:{tmp_path}/hpm-1"
    assert (contestants.runs(each, 2), contestants.runs(one, 2), contestants.runs("hpm", 2)) == (2, 1, 2)
    played = score.score(Plan((each, one), (0.5,), 2, 6, 1, ()), task, tmp_path / "out", no_games)
    mode = "deterministic"
    np.testing.assert_array_equal(played[Cell(each, 1, 0.5, mode)].mask, played[Cell(one, 0, 0.5, mode)].mask)
    assert not (played[Cell(each, 0, 0.5, mode)].mask == played[Cell(one, 0, 0.5, mode)].mask).all()


def test_a_folder_trained_again_is_played_again(task, tmp_path):
    spec, plan = f"hpm:{tmp_path}/hpm", Plan((f"hpm:{tmp_path}/hpm",), (0.5,), 1, 6, 1, ())
    masks = []
    for seed in (0, 1):
        contestants.seat("hpm", task, 0.5, seed).save(tmp_path / "hpm")
        masks.append(score.score(plan, task, tmp_path / "out", no_games)[Cell(spec, 0, 0.5, "deterministic")].mask)
    assert not (masks[0] == masks[1]).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hpn"], "unknown agent 'hpn': did you mean hpm"),
        (["hpm:nowhere"], "no saved agent in nowhere"),
        (["loss-map?maks=3"], "no setting 'maks'"),
        (["variance", "--ratio", "1.5"], "ratio 1.5 is outside"),
        (["variance", "--images", "500"], "the test split has 128"),
        (["variance", "--seeds", "0"], "seeds 0"),
        (["variance", "--num-envs", "6"], "repeat must divide num_envs"),
        (["variance", "--env", "MaskMIMSmal-v0"], "did you mean MaskMIMSmall-v0?"),
        (["variance", "--split", "val"], "is of another split"),
        (["variance", "--ratio", "0.25"], "has no ratio 0.25"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_run(command, tmp_path, monkeypatch, words, said):
    monkeypatch.setattr(score, "score", lambda *args: pytest.fail("something was run"))
    with pytest.raises(BadInput) as caught:
        run(["score", words[0], *command, *words[1:]])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(Path(tmp_path).iterdir())


def test_an_output_folder_that_cannot_be_written_is_one_line(command, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="cannot write to .*file"):
        run(["score", "variance", *command[:-1], str(tmp_path / "file")])


def test_what_is_not_a_number_is_nothing_in_json():
    assert json.dumps(_plain({"a": float("nan"), "b": [1.0, float("nan")]})) == '{"a": null, "b": [1.0, null]}'
