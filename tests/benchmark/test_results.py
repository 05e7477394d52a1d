"""Results: written and read again, joined run by run, refused where they were tampered with; and their tracks."""

from dataclasses import replace

import numpy as np
import pytest

from maskgym.benchmark import par, results
from maskgym.benchmark.evaluate import evaluate
from maskgym.benchmark.protocol import Protocol, track
from maskgym.errors import BadInput


@pytest.fixture
def pars(task, par_file):
    return {0.5: par.find(task, 0.5, 6, par_file)}


def test_tracks_go_by_the_most_that_was_asked_for_an_image():
    assert [track(q, False) for q in (0, 1, 16, 17, 64, 256, 257)] == [
        "image", "query-16", "query-16", "query-64", "query-64", "query-256", "open"
    ]  # fmt: skip
    assert track(12, True) == "query-16, white-box"


def test_results_that_were_tampered_with_are_refused_in_a_sentence(task, pars, tmp_path):
    found = evaluate(Protocol(("random",), (0.5,), 2, 6), task, tmp_path / "cells", pars)
    results.save(tmp_path / "results.json", found)
    again, _ = results.read(tmp_path)
    np.testing.assert_array_equal(again[0].mask, found[0].mask)
    good = found[0].encode()
    for change in (
        {"mask": "!"}, {"mask": good["mask"][:-8]}, {"patches": 1 << 40}, {"seeds": [0]}, {"reward": [[1.0]]},
        {"reward": [[None] * 6] * 2}, {"queries": "many"}, {"manifest": 3}, {"ratio": "half"},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=".") as caught:
            results.decode(good | change)
        assert "\n" not in str(caught.value)
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(BadInput, match="holds no results or is damaged"):
        results.read(tmp_path)


def test_runs_are_joined_in_the_order_of_their_seeds(task, pars, tmp_path):
    [found] = [
        one for one in evaluate(Protocol(("random",), (0.5,), 3, 6), task, tmp_path, pars) if one.mode == "sampled"
    ]
    assert found.seeds == (0, 1, 2)
    halves = [replace(found, seeds=(seed,), **{name: getattr(found, name)[[seed]] for name in ("reward", "mask",
              "lesion_cover", "seconds", "queries")}) for seed in found.seeds]  # fmt: skip
    np.testing.assert_array_equal(results.join(halves).reward, found.reward)
