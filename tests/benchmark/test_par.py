"""Par: kept, found again, only ever raised, and refused where the game is another one."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors import safe_open

from maskgym.benchmark import par as pars
from maskgym.benchmark.par_search import halved, open_par, raise_par
from maskgym.benchmark.search import Search
from maskgym.cli import run
from maskgym.errors import BadInput

QUICK = Search(chains=2)


def rewards_of_game(game, task, mask):
    images = task.fetch(np.arange(len(mask)))
    return game.evaluate(images, torch.from_numpy(mask).view(-1, *task.patches.grid)).reward.numpy()


def rewards_of(task, ratio, mask):
    return rewards_of_game(task.game_at(ratio), task, mask)


def test_a_file_comes_back_as_it_was_written(par_file, tmp_path):
    par = pars.read(par_file)
    par.save(tmp_path / "copy.safetensors")
    again = pars.read(tmp_path / "copy.safetensors")
    assert again.about == par.about
    for name, table in par.tables.items():
        for part in ("mask", *pars._PARTS):
            np.testing.assert_array_equal(getattr(again.tables[name], part), getattr(table, part))
        assert again.tables[name].sources == table.sources
        assert again.tables[name].digest == table.digest


def test_masks_are_packed_to_a_bit_a_patch_and_nothing_is_pickled(par_file):
    with safe_open(par_file, framework="np") as file:
        assert file.get_tensor("0.5/mask").shape == (6, 2)  # 16 patches
        assert json.loads(file.metadata()["maskgym"])["random_masks"] == 32


def test_stored_masks_hide_the_budget_and_bring_the_stored_rewards(par_file, task):
    for name, table in pars.read(par_file).tables.items():
        ratio = float(name)
        assert (table.mask.sum(1) == task.game_at(ratio).budget).all()
        np.testing.assert_allclose(rewards_of(task, ratio, table.mask), table.reward, rtol=1e-4)
        assert (table.reward > table.random).all()
        assert table.queries == 60
        assert np.isfinite(table.half).all()
        assert all(gain >= 0 for gain in table.doubling())


def test_more_queries_go_on_and_never_lower_a_reward(par_file, task, tmp_path):
    path = tmp_path / "par.safetensors"
    pars.read(par_file).save(path)
    before = pars.read(path).tables["0.75"]
    after = raise_par(task, pars.read(path), path, 0.75, 6, 120, settings=QUICK)
    assert (after.reward >= before.reward).all()
    assert after.queries == 120
    np.testing.assert_allclose(after.half, before.reward)  # half of 120 is what was known at 60
    again = raise_par(task, pars.read(path), path, 0.75, 6, 60, settings=QUICK)
    np.testing.assert_array_equal(again.reward, after.reward)
    assert again.queries == 120


def test_a_search_that_ranks_in_bfloat16_stores_what_float32_gives(task, tmp_path):
    par = pars.start(task, 4)
    table = raise_par(task, par, tmp_path / "par", 0.75, 4, 200, settings=QUICK, bf16=True)
    ranked = rewards_of_game(halved(task.game_at(0.75)), task, table.mask)
    np.testing.assert_array_equal(table.reward, rewards_of(task, 0.75, table.mask))
    assert np.abs(ranked / table.reward - 1).max() < 0.02
    assert (ranked != table.reward).any()
    assert (table.half <= table.reward).all()
    assert (table.reward > table.random).all()


def test_a_reward_that_no_search_would_find_again_stays(par_file, task, tmp_path):
    par, path = pars.read(par_file), tmp_path / "par.safetensors"
    par.tables["0.75"].reward[:] = 1e6
    assert (raise_par(task, par, path, 0.75, 6, 120, settings=QUICK).reward == 1e6).all()


def test_an_agent_among_the_starts_brings_a_round_once(par_file, task, tmp_path):
    par, path = pars.read(par_file), tmp_path / "par.safetensors"
    table = raise_par(task, par, path, 0.75, 6, 60, ["variance"], QUICK)
    assert (table.queries, table.sources) == (120, ["variance"])
    assert raise_par(task, par, path, 0.75, 6, 60, ["variance"], QUICK).queries == 120


def test_an_agents_masks_are_kept_where_they_are_better(task, tmp_path, monkeypatch):
    """Even where the search itself is too short to find anything."""
    from maskgym.benchmark import par_search

    par = pars.start(task, 4)
    good = raise_par(task, par, tmp_path / "good", 0.75, 4, 200, settings=QUICK)
    monkeypatch.setattr(par_search, "_masks_of", lambda *args: good.mask)
    fresh = pars.start(task, 4)
    table = raise_par(task, fresh, tmp_path / "new", 0.75, 4, 20, ["variance"], QUICK)
    assert (table.reward >= good.reward - 1e-6).all()


def test_volumes_have_par_too(make_task, tmp_path):
    task = make_task("volumes")
    table = raise_par(task, pars.start(task, 3), tmp_path / "par", 0.5, 3, 60, settings=QUICK)
    assert table.mask.shape == (3, 64)
    assert (table.reward > table.random).all()


def test_more_images_extend_a_file_and_keep_what_it_knows(par_file, task, tmp_path):
    """Four images, then more: once the file could not be used for more ever again."""
    path = tmp_path / "par.safetensors"
    par = pars.start(task, 2)
    raise_par(task, par, path, 0.75, 2, 60, settings=QUICK)
    with pytest.raises(BadInput, match="knows 2 images at ratio 0.75, not 5: extend it with `maskgym par --out"):
        pars.find(task, 0.75, 5, path)
    few = pars.read(path).tables["0.75"]
    par = open_par(task, 5, path)
    raise_par(task, par, path, 0.75, 5, 60, settings=QUICK)
    known = pars.find(task, 0.75, 5, path).table
    np.testing.assert_array_equal(known.mask[:2], few.mask)
    np.testing.assert_array_equal(known.random, pars.read(par_file).tables["0.75"].random[:5])
    assert known.spent.tolist() == [60] * 5
    raise_par(task, open_par(task, 2, path), path, 0.75, 2, 80, settings=QUICK)  # fewer images forget nothing
    assert pars.read(path).tables["0.75"].spent.tolist() == [80, 80, 60, 60, 60]


def test_points_are_never_against_a_file_of_ones_own_unless_it_is_named(par_file, task, tmp_path, monkeypatch):
    monkeypatch.setenv("MASKGYM_CACHE", str(tmp_path))
    (tmp_path / "par").mkdir()
    (tmp_path / "par" / "mine.safetensors").write_bytes(par_file.read_bytes())
    with pytest.raises(BadInput, match="no par of 4 images of this game ships at ratio 0.75: search one with"):
        pars.find(task, 0.75, 4)
    known = pars.find(task, 0.75, 4, par_file)
    assert len(known.table) == len(known.table.mask) == 4
    assert str(known) == f"own par, par.safetensors ({known.table.digest})"


def test_the_par_that_ships_is_named_and_a_new_file_starts_from_it(par_file, task, tmp_path, monkeypatch):
    monkeypatch.setattr(pars, "_BUNDLED", par_file.parent)
    known = pars.shipped(task, 0.75, 4)
    assert str(known) == f"par v1 ({known.table.digest})"
    new = open_par(task, 5, tmp_path / "new.safetensors")
    assert set(new.tables) == {"0.5", "0.75"}
    assert len(new.look) == len(new.tables["0.5"]) == 5
    assert open_par(task, 5, par_file).tables.keys() == {"0.5", "0.75"}


def test_another_mask_is_another_hash(par_file):
    table = pars.read(par_file).tables["0.75"]
    before = table.digest
    table.mask[0, :2] ^= True
    assert table.digest != before


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"reward": "band"}, "is of another reward: loss, this game has band"),
        ({"network": "other"}, "is of another reward or network"),
        ({"split": "val"}, "is of another split: test, this game has val"),
        ({"patch_size": 16}, "is of another patch size"),
        ({"image_size": "64x64"}, "is of another image size"),
        ({"dataset": "phantoms?seed=3"}, "is of other images"),
    ],
)
def test_par_of_another_game_is_refused_in_one_line(par_file, make_task, other, words):
    with pytest.raises(BadInput, match=words) as caught:
        pars.find(make_task(**other), 0.75, 6, par_file)
    assert "\n" not in str(caught.value)
    assert "maskgym par" in str(caught.value)


def test_par_of_other_images_of_the_same_kind_is_refused(par_file, task):
    par = pars.read(par_file)
    par.look = par.look[::-1]
    assert "is of other images" in pars.refusal(par, task)


def test_too_few_images_or_another_ratio_are_refused(par_file, task):
    with pytest.raises(BadInput, match="knows 6 images at ratio 0.75, not 7"):
        pars.find(task, 0.75, 7, par_file)
    with pytest.raises(BadInput, match=r"has no ratio 0\.25, only 0\.5, 0\.75"):
        pars.find(task, 0.25, 6, par_file)


def test_a_damaged_file_is_refused(par_file, task, tmp_path):
    short = tmp_path / "short.safetensors"
    short.write_bytes(par_file.read_bytes()[:-50])
    with pytest.raises(BadInput, match="is damaged"):
        pars.find(task, 0.75, 6, short)
    with pytest.raises(BadInput, match="there is no par file"):
        pars.find(task, 0.75, 6, tmp_path / "none")


def test_two_searches_do_not_write_one_file(tmp_path, monkeypatch):
    monkeypatch.setenv("MASKGYM_CACHE", str(tmp_path))
    with pars.alone(tmp_path / "par"), pytest.raises(BadInput, match="another `maskgym par` is writing"):
        with pars.alone(tmp_path / "par"):
            pass


@pytest.mark.slow
def test_a_search_killed_in_the_middle_is_taken_up_where_it_was(game_options, tmp_path):
    """Killed with the signal that nothing can catch, once something is stored."""
    path = tmp_path / "par.safetensors"
    code = "import sys, maskgym.benchmark.par_search as s; s._SAVE_EVERY = 0.0; "
    code += "from maskgym.cli import run; run(sys.argv[1:])"
    words = ["par", *game_options, "--ratio", "0.75", "--queries", "1500", "--out", str(path)]
    child = subprocess.Popen([sys.executable, "-c", code, *words], env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        for _ in range(600):
            if path.exists() and "0.75" in (known := pars.read(path)).tables and known.tables["0.75"].queries > 40:
                break
            time.sleep(0.1)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    before = pars.read(path).tables["0.75"]
    assert 40 < before.queries < 1500
    table_of = ["par", *game_options, "--ratio", "0.75", "--out", str(path), "--search.chains", "2"]
    assert run([*table_of, "--queries", str(before.queries)]) == 0
    killed = pars.read(path).tables["0.75"]
    assert (killed.reward >= before.reward).all()
    assert killed.goal.tolist() == [1500] * 6  # what was asked for stands until it is done
