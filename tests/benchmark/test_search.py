"""The search: it stays in the game, only gets better, and knows what a flip is worth."""

import itertools

import pytest
import torch

from maskgym.benchmark.search import Found, Search, random_masks, search
from maskgym.climbing import credit
from maskgym.errors import BadInput


@pytest.fixture(params=["one", "volumes"])
def any_task(request, make_task):
    return make_task(request.param)


def setting(task, images=4, starts=1, ratio=0.5):
    game, pictures = task.game_at(ratio), task.fetch(torch.arange(images).numpy())
    seeds = torch.arange(images) + 7
    return game, pictures, random_masks(game, seeds, starts), seeds


def rewards(game, images, mask):
    return game.evaluate(images, mask.view(-1, *game.patches.grid)).reward


def test_random_masks_hide_the_budget_and_differ(any_task):
    game, _, masks, _ = setting(any_task, images=5, starts=6)
    assert masks.shape == (6, 5, game.patches.count)
    assert (masks.sum(2) == game.budget).all()
    assert len({tuple(row.tolist()) for row in masks.flatten(0, 1)}) == 30


@pytest.mark.parametrize("ratio", [0.07, 0.5, 0.93])
def test_every_mask_it_tells_of_hides_the_budget_and_brings_what_it_says(any_task, ratio):
    game, images, starts, seeds = setting(any_task, ratio=ratio)
    told: list[Found] = []
    search(game, images, starts, 300, seeds, Search(chains=3), told.append)
    assert told
    for found in told[:: max(1, len(told) // 5)]:
        assert (found.mask.sum(1) == game.budget).all()
        torch.testing.assert_close(found.reward, rewards(game, images, found.mask), rtol=1e-4, atol=1e-6)


def test_it_never_gets_worse_and_never_asks_too_much(any_task):
    game, images, starts, seeds = setting(any_task, starts=2)
    told: list[Found] = []
    last = search(game, images, starts, 203, seeds, Search(chains=4), told.append)
    for before, after in itertools.pairwise(told):
        assert (after.reward >= before.reward).all()
        assert before.queries < after.queries
    assert 190 < last.queries <= 203


def test_the_queries_it_counts_are_the_masks_it_plays(task, monkeypatch):
    game, images, starts, seeds = setting(task)
    calls = []
    play = game.evaluate
    monkeypatch.setattr(game, "evaluate", lambda images, mask: calls.append(len(mask)) or play(images, mask))
    found = search(game, images, starts, 250, seeds, Search(chains=4))
    assert sum(calls) == found.queries * len(images)


def test_it_beats_every_start_and_as_many_random_masks(task):
    game, images, starts, seeds = setting(task, images=6, starts=3)
    found = search(game, images, starts, 300, seeds)
    assert (found.reward > torch.stack([rewards(game, images, start) for start in starts]).amax(0)).all()
    at_random = torch.stack([rewards(game, images, mask) for mask in random_masks(game, seeds, 300)]).amax(0)
    assert found.reward.mean() > at_random.mean()


def test_it_finds_the_best_mask_where_all_masks_can_be_tried(make_task):
    task = make_task(patch_size=16)  # 4 patches, 6 masks of 2
    game, images, starts, seeds = setting(task)
    every = torch.tensor([[i in pair for i in range(4)] for pair in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))])
    best = torch.stack([rewards(game, images, mask.expand(4, 4)) for mask in every]).amax(0)
    torch.testing.assert_close(search(game, images, starts, 200, seeds).reward, best)


def test_an_image_is_searched_alone_as_among_many(task):
    game, images, starts, seeds = setting(task)
    many = search(game, images, starts, 200, seeds)
    alone = search(game, images[2:3], starts[:, 2:3], 200, seeds[2:3])
    torch.testing.assert_close(alone.reward, many.reward[2:3])
    assert torch.equal(alone.mask, many.mask[2:3])


def test_credits_add_up_to_the_change_and_go_to_the_flips_nearby():
    cells = torch.arange(20.0)[:, None]
    nearness = torch.exp(-torch.cdist(cells, cells).square() / 2) + 1e-6
    flipped = torch.zeros(1, 20, dtype=torch.bool)
    flipped[0, [3, 15]] = True
    change = torch.zeros(1, 20)
    change[0, [2, 3, 4]], change[0, 16] = 1.0, -2.0
    share = credit(change, flipped, nearness)
    assert share.sum().item() == pytest.approx(1.0)
    assert share[0, 3].item() == pytest.approx(3.0, abs=1e-3)
    assert share[0, 15].item() == pytest.approx(-2.0, abs=1e-3)
    assert (share[~flipped] == 0).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda starts: starts[:, :2], "must be"),
        (lambda starts: starts | True, "does not hide 8 patches"),
        (lambda starts: starts.repeat(60, 1, 1), "are too few for 60 starts"),
    ],
)
def test_bad_starts_are_refused_in_one_line(task, change, words):
    game, images, starts, seeds = setting(task)
    with pytest.raises(BadInput, match=words) as caught:
        search(game, images, change(starts), 50, seeds)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [{"chains": 0}, {"temperature": 0.0}, {"crossing": 1.5}, {"survey": 0}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(BadInput):
        Search(**bad).check()
