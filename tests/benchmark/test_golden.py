"""The headline numbers, from rewards made by hand, through the very functions that print the tables and the report."""

import json
from dataclasses import replace

import numpy as np
import pytest

from maskgym.benchmark import plots, tables
from maskgym.benchmark.par import NamedPar, Table
from maskgym.benchmark.results import Result

# Eight images, of which each agent wins a known share of what there is to win: random masks bring 1, par brings 3.
IMAGES, PATCHES = 8, 4
EASY = np.array([0.4, 0.5, 0.6, 0.5, 0.4, 0.6, 0.5, 0.5])
LUCK = np.array([-0.10, -0.05, 0.00, 0.05, 0.10])  # of the five runs
HIDDEN = np.array([True, True, False, False])


def result(agent, share, mode="deterministic", runs=5, queries=0, white_box=False):
    rewards = 1 + 2 * (EASY + share + LUCK[:runs, None])
    mask = np.broadcast_to(HIDDEN if agent == "good" else HIDDEN[::-1], (runs, IMAGES, PATCHES))
    same = np.ones((runs, IMAGES))
    about = {"trained_at": 0.75} if agent == "good" else {}
    seeds = tuple(range(runs))
    return Result(
        agent, 0.5, mode, seeds, rewards, mask, 0.25 * same, 0.002 * same, queries * same, white_box, None, about
    )


def known_par():
    one = np.ones(IMAGES, np.float32)
    table = Table(np.broadcast_to(HIDDEN, (IMAGES, PATCHES)), 3 * one, one, one, one, one)
    return {0.5: NamedPar(table, "par v1")}


@pytest.fixture
def pars():
    return known_par()


@pytest.fixture
def found():
    good = [result("good", 0.2), result("good", 0.1, mode="sampled")]
    poor = [result("poor", 0.02, mode=mode, queries=12) for mode in ("deterministic", "sampled")]
    lone = [
        result("lone", 0.05, mode=mode, runs=1, queries=40, white_box=True) for mode in ("deterministic", "sampled")
    ]
    return [*good, *poor, *lone]


@pytest.fixture
def scores(found, pars):
    game = {"env": "MaskMIMSmall-v0", "split": "test", "patches": PATCHES}
    return tables.summarise(found, pars, {"command": "maskgym score good poor lone", "game": game})


def test_points_are_the_share_of_what_there_is_to_win_with_students_interval_over_runs_and_images(scores):
    best, poor, lone = scores.of(0.5)
    assert [one.agent for one in (best, poor, lone)] == ["good", "poor", "lone"]
    # Runs: deviation 7.91 points of 5; images: 7.56 points of 8; no rest. So the error is 4.43 points on 8.3 degrees.
    error = np.hypot(7.9057 / np.sqrt(5), 7.5593 / np.sqrt(8))
    degrees = error**4 / ((7.9057**2 / 5) ** 2 / 4 + (7.5593**2 / 8) ** 2 / 7)
    assert best.points.error == pytest.approx(error, rel=1e-3)
    assert best.points.degrees == pytest.approx(degrees, rel=1e-3)
    assert best.points[:3] == pytest.approx((70.0, 59.85, 80.15), abs=0.05)
    assert poor.points[:3] == pytest.approx((52.0, 41.85, 62.15), abs=0.05)
    assert str(lone.points) == "45.0 (1 run)"
    assert scores.of(0.5, "sampled")[0].points.value == pytest.approx(60.0)


def test_the_inter_quartile_mean_is_of_points_and_not_of_rewards(scores):
    best = scores.of(0.5)[0]
    middle = np.sort((100 * (EASY + 0.2 + LUCK[:, None])).ravel())[10:30].mean()
    assert best.points_iqm.value == pytest.approx(middle)
    assert 60 < best.points_iqm.low < best.points_iqm.value < best.points_iqm.high < 80


def test_a_comparison_has_the_sign_and_the_side_of_the_one_named_first(scores):
    found = {(one.agent, one.other): one for one in scores.comparisons}
    there, back = found["good", "poor"], found["poor", "good"]
    # The images cancel: only the runs of both sides are left, and they are drawn by themselves.
    reach = 2.306 * np.sqrt(2 * 62.5 / 5)
    assert there.difference[:3] == pytest.approx((18.0, 18.0 - reach, 18.0 + reach), abs=0.05)
    assert back.difference[:3] == pytest.approx((-18.0, -18.0 - reach, -18.0 + reach), abs=0.05)
    assert there.improvement.value == pytest.approx(24 / 25)  # the worst run of the one against the best of the other
    assert back.improvement.value == pytest.approx(1 - there.improvement.value)
    assert there.improvement[1:3] == pytest.approx((0.445, 0.999), abs=0.001)
    assert back.improvement[1:3] == pytest.approx((0.001, 0.555), abs=0.001)
    assert found["good", "lone"].difference.kind == "range"


def test_the_printed_table_holds_these_numbers(scores):
    rows = tables.rows(scores, 0.5)
    assert list(rows) == ["image", "query-16", "query-64, white-box"]
    named = {track: dict(zip(tables.HEADINGS, lines[0], strict=True)) for track, lines in rows.items()}
    assert named["image"] == {
        "agent": "good", "runs": "5", "trained at": "75%", "points": "70.0 [59.8, 80.2]",
        "sampled": "60.0 [49.8, 70.2]", "IQM": "70.0 [60.2, 79.8]", "reward": "2.4000", "lesion": "25%",
        "agrees": "100 / 50%", "queries": "0", "ms": "2.00",
    }  # fmt: skip
    assert named["query-16"]["agrees"] == "0 / 50%"
    assert tables.narrow(scores, 0.5)["image"][0][:5] == ["good", "5", "70.0 [59.8, 80.2]", "60.0", "70.0"]
    text = tables.to_markdown(scores)
    assert "| good | 5 | 75% | 70.0 [59.8, 80.2] |" in text
    assert "18.0 [6.5, 29.5]; 0.96 [" in text
    assert "Random masks 1.0000, par v1 (" in text
    assert "1 run of lone: no interval, only the range of the runs (a claim needs 5)." in text
    assert "Trained at 75% and scored at 50%: good" in text


def test_the_files_hold_these_numbers(scores, found, pars, tmp_path):
    tables.write(scores, found, pars, tmp_path)
    told = json.loads((tmp_path / "score.json").read_text())
    assert told["lines"][0]["points"]["value"] == pytest.approx(70.0)
    assert told["pars"]["0.5"]["reward"] == 3.0
    first = (tmp_path / "score.csv").read_text().splitlines()[1]
    assert first == "good,0.5,deterministic,0,0,2,1,3,50,2,0.25,1,0,0.002"


def test_a_name_that_looks_like_a_formula_is_drawn_as_it_stands(found, pars, tmp_path):
    """A folder named so once ended the drawing in mathtext."""
    named = [replace(one, agent=f"{one.agent}?start=hpm:money$x_{{$") for one in found]
    game = {"env": "money$x_{$", "split": "test", "patches": PATCHES}
    plots.bars(tables.summarise(named, pars, {"game": game}), tmp_path / "bars.png")
    figure = plots.new_figure(3, 3)
    panel = figure.subplots()
    plots.bands(panel, {named[0].agent: (np.array([1.0]), [tables.line(named[0], pars[0.5]).points])})
    panel.legend()
    plots.save(figure, tmp_path / "bands.png")
    assert (tmp_path / "bars.png").stat().st_size > 1000 < (tmp_path / "bands.png").stat().st_size
