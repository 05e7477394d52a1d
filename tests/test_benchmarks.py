import json

import pytest

from benchmarks import speed_pretrain, speed_view
from benchmarks.__main__ import Speed
from benchmarks.timing import Times, race, ratio
from maskgym.errors import BadInput

TINY = {"image_size": "16x16", "patch_size": "4", "batch": 4, "student": "unet", "student_settings": "widths=4,8"}


@pytest.mark.parametrize("recipe", ["mps-ams", "amlp", "ahm"])
def test_a_recipe_is_raced_against_random_masks(monkeypatch, recipe):
    contest = ("ours", recipe, TINY, TINY, "1.05")
    monkeypatch.setattr(speed_pretrain, "_CONTESTS", [contest])
    (row,) = speed_pretrain.agents("cpu", repeats=2)
    assert row.what == "pre-training step, ours over random masks"
    assert float(row.figure) > 0
    assert row.target == "1.05"


def test_every_contest_can_be_started(monkeypatch):
    """Settings are read and networks fit, without a step."""
    from maskgym.pretrain.recipes import make_settings

    for _, recipe, own, plain, _ in speed_pretrain._CONTESTS:
        settings = make_settings("out", recipe, **{"image_size": "128x128", **own})
        beside = make_settings("out", "random", **{"image_size": "128x128", **plain})
        assert settings.patches == beside.patches
        assert settings.student == beside.student
        assert settings.target == beside.target


def test_the_speed_bench_prints_a_table_and_writes_it(tmp_path, capsys):
    out = tmp_path / "speed.json"
    Speed(only="selection", repeats=2, out=out)()
    rows = json.loads(out.read_text())
    assert [row["what"].split()[-2] for row in rows] == ["64", "256", "1024", "4096"]


def test_contestants_of_a_race_take_turns():
    heard: list[str] = []
    times = race({"a": lambda: heard.append("a"), "b": lambda: heard.append("b")}, repeats=3)
    assert heard == ["a", "b"] * 4  # once to warm up
    assert len(times["a"].seconds) == 3


def test_a_ratio_of_times_is_taken_pair_by_pair():
    middle, _ = ratio(Times((2.0, 20.0, 4.0)), Times((1.0, 10.0, 1.0)))
    assert middle == 2.0


def test_the_answers_of_the_page_are_timed():
    rows = list(speed_view.answers(("MaskMIMSmall-v0",), "cpu", repeats=1))
    assert [row.what.split(": ")[1].partition(" (")[0] for row in rows] == [
        "a painted mask",
        "another image",
        "variance",
        "loss-map",
    ]
    assert all(float(row.figure.removesuffix(" ms")) > 0 for row in rows)


def test_an_unknown_part_is_told_with_those_there_are():
    with pytest.raises(BadInput, match="choose one of step, query, vectors"):
        Speed(only="steps")()
