"""Curves: means over seeds with bands, read from what trainings and scorings left."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from maskgym.benchmark import plots
from maskgym.benchmark.curves import against_queries, read_run, training
from maskgym.benchmark.players import labels, short
from maskgym.benchmark.statistics import Interval
from maskgym.cli import run
from maskgym.errors import BadInput


def make_run(folder, agent="a3c", seed=0, gain=10.0, seconds=(1, 2, 4, 8), **settings):
    """A run whose points grow by `gain` a thousand env steps."""
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps({"agent": agent, "settings": settings, "seed": seed}))
    rows = ["env_steps,seconds,points,above random"]
    rows += [
        f"{at},{second},{gain * at / 1000},5" for at, second in zip((1000, 2000, 4000, 8000), seconds, strict=True)
    ]
    (folder / "metrics.csv").write_text("\n".join([rows[0], "500,0.5,,", *rows[1:]]) + "\n")
    return folder


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_runs_of_one_agent_are_one_line_with_a_band_and_settings_tell_agents_apart(tmp_path, capsys):
    ours = [make_run(tmp_path / f"a{seed}", seed=seed, gain=9 + seed, width=48) for seed in range(3)]
    wide = [make_run(tmp_path / f"w{seed}", seed=seed, gain=5, width=96) for seed in range(2)]
    other = make_run(tmp_path / "ppo", agent="sb3-ppo")
    out = tmp_path / "curves.png"
    assert run(["curves", *map(str, [*ours, *wide, other]), "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert picture.width > 1000
    rows = table(tmp_path / "curves.csv")
    assert {row["agent"]: (row["kind"], row["runs"]) for row in rows} == {
        "a3c?width=48": ("interval", "3"), "a3c?width=96": ("range", "2"), "sb3-ppo": ("range", "1")
    }  # fmt: skip
    last = [row for row in rows if (row["agent"], row["against"]) == ("a3c?width=48", "env_steps")][-1]
    assert float(last["at"]) == 8000
    value, low, high = (float(last[name]) for name in ("points", "low", "high"))
    assert value == pytest.approx(80)  # the mean of 9, 10 and 11 a thousand steps
    assert (low, high) == pytest.approx((80 - 4.303 * 8 / np.sqrt(3), 80 + 4.303 * 8 / np.sqrt(3)), abs=0.01)


def test_a_run_that_went_on_after_a_stop_counts_its_seconds_on(tmp_path):
    read = read_run(make_run(tmp_path / "a", seconds=(1, 2, 1, 3)), "points")
    assert read.at["seconds"].tolist() == [1, 2, 3, 5]
    where, line = training([read], "seconds")["a3c"]
    assert (where[0], where[-1]) == pytest.approx((1, 5))
    assert line[-1].value == pytest.approx(80)


def test_points_against_queries_join_agents_that_differ_in_a_whole_number(game_options, par_file, tmp_path):
    out, picture = tmp_path / "score", tmp_path / "queries.png"
    agents = ["loss-map?masks=2", "loss-map?masks=8", "variance"]
    how = ["--par", str(par_file), "--ratio", "0.5", "0.75", "--seeds", "3", "--out", str(out)]
    assert run(["score", *agents, *game_options, *how]) == 0
    assert run(["curves", str(out), "--against", "queries", "--out", str(picture)]) == 0
    *rows, half, whole = (row for row in table(tmp_path / "queries.csv") if row["ratio"] == "0.75")
    assert (float(half["queries"]), float(whole["queries"])) == (30, 60)  # of the search that made par
    assert float(half["points"]) < float(whole["points"]) == pytest.approx(100)
    assert [(row["agent"], float(row["queries"])) for row in rows] == [
        ("loss-map?masks=2", 2), ("loss-map?masks=8", 8), ("variance", 0), ("random", 0)
    ]  # fmt: skip
    told = {
        line["agent"]: line for line in json.loads((out / "score.json").read_text())["lines"] if line["ratio"] == 0.75
    }
    for row in rows:
        assert float(row["points"]) == pytest.approx(told[row["agent"]]["points"]["value"], abs=1e-3)
    with Image.open(picture) as drawn:
        assert drawn.width > 1000
    short = [*how[:-3], "1", "--out", str(tmp_path / "short")]
    assert run(["score", "variance", *game_options, *short]) == 0
    for folders in ([tmp_path / "short", out], [out, tmp_path / "short"]):  # of two scorings the one of more runs
        assert [line.runs for line in against_queries(folders)[0.75]["random"]] == [3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere is no run of `maskgym train`"),
        (["nowhere", "--against", "queries"], "there are no results in nowhere"),
        (["{run}", "{run}"], "two runs of a3c have one seed"),
        (["{blind}"], "holds no 'points': train with --eval-every, or choose another --measure"),
        (["{run}", "--out", "picture.jpg"], "picture.jpg is no PNG"),
        (["{run}", "--out", "{run}/settings.json/x.png"], "cannot write"),
    ],
)
def test_bad_input_is_one_line(tmp_path, words, said):
    one, blind = make_run(tmp_path / "run"), make_run(tmp_path / "blind")
    (blind / "metrics.csv").write_text("env_steps,seconds,points\n1000,1,\n")
    filled = [word.format(run=one, blind=blind) for word in words]
    if "--out" not in filled:
        filled += ["--out", str(tmp_path / "c.png")]
    with pytest.raises(BadInput) as caught:
        run(["curves", *filled])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_saved_agents_of_one_kind_are_two_curves(game_options, par_file, tmp_path, capsys):
    for name in ("one", "other"):
        train = ["train", "foresight", *game_options[:-2], "--ratio", "0.5", "--steps", "32", "--workers", "1"]
        assert run([*train, "--eval-every", "0", "--out", str(tmp_path / name)]) == 0
    agents = [f"foresight:{tmp_path / name}?queries=12" for name in ("one", "other")]
    how = ["--par", str(par_file), "--ratio", "0.5", "--seeds", "1", "--out", str(tmp_path / "score")]
    assert run(["score", *agents, *game_options, *how]) == 0
    names = set(against_queries([tmp_path / "score"])[0.5])
    assert {"foresight:one", "foresight:other"} <= names
    assert "foresight" not in names
    printed = capsys.readouterr().out
    rows = [line.split()[0] for line in printed.splitlines() if line.startswith("foresight:")]
    assert sorted(rows) == ["foresight:one", "foresight:other"]


def test_an_agent_is_named_without_the_way_to_any_folder():
    spec = "foresight:runs/a?start=a3c:/data/runs/a3c-{seed}&queries=16"
    assert short(spec) == "foresight?start=a3c:a3c-{seed}&queries=16"


def test_labels_keep_the_order_and_show_folders_only_where_they_must():
    specs = ["a3c:runs/b-{seed}", "random", "hpm:runs/x", "a3c:runs/c-{seed}", "survey?start=a3c:runs/b&queries=16"]
    names = ["a3c:b-{seed}", "random", "hpm", "a3c:c-{seed}", "survey?start=a3c:b&queries=16"]
    assert list(labels(specs).items()) == list(zip(specs, names, strict=True))
    assert labels(specs, brief=True)[specs[-1]] == "survey?start=a3c"
    alike = ["a3c:here/b", "a3c:there/b"]
    assert list(labels(alike).values()) == alike
    two = ["survey?start=a3c:runs/b", "survey?start=a3c:runs/c"]
    assert list(labels(two, brief=True).values()) == ["survey?start=a3c:b", "survey?start=a3c:c"]


def test_names_beside_points_are_moved_apart_only_where_they_would_meet():
    figure = plots.new_figure(6, 4)
    panel = figure.subplots()
    same = [Interval(50.0, 49.0, 51.0)]
    plots.named_points(panel, {name: (np.array([x]), same) for name, x in {"a": 16, "b": 48, "c": 8000}.items()})
    heights = {text.get_text(): text.xy[1] for text in panel.texts}
    assert heights["c"] == 50
    assert abs(heights["a"] - heights["b"]) == pytest.approx(3.6)
