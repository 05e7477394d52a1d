"""Points: chance is 0, par is 100, and every image is played once, in its order."""

import numpy as np
import pytest
import torch

from maskgym.agent import Agent, GameSpec
from maskgym.benchmark import par as pars
from maskgym.benchmark.contestants import seat
from maskgym.benchmark.points import agreement, play, points, points_of_each
from maskgym.errors import BadInput
from maskgym.registry import game_spec_of


class Fixed(Agent):
    """Hides the masks it was given, image by image."""

    name = "fixed"

    def __init__(self, game_spec: GameSpec, masks: np.ndarray):
        super().__init__(game_spec)
        self.masks, self.at = torch.from_numpy(masks), 0

    def score(self, images):
        self.at += len(images)
        return self.masks[self.at - len(images) : self.at].float()


def test_chance_is_0_and_par_is_100(par_file):
    table = pars.read(par_file).tables["0.75"]
    assert points(table.random, table.random, table.reward) == 0
    assert points(table.reward, table.random, table.reward) == pytest.approx(100)
    assert points_of_each(table.random, table.random, table.reward) == pytest.approx(np.zeros(6))
    assert points_of_each(table.reward, table.random, table.reward) == pytest.approx(np.full(6, 100))


def test_playing_pars_masks_gets_100_points_and_full_agreement(par_file, make_task):
    task, table = make_task(), pars.read(par_file).tables["0.75"]
    played = play(Fixed(game_spec_of(task), table.mask), task, 0.75, images=6)
    assert points(played.reward, table.random, table.reward) == pytest.approx(100, abs=1e-3)
    assert (played.mask == table.mask).all()
    assert agreement(played.mask, table.mask) == pytest.approx(np.ones(6))


def test_many_random_agents_get_0_points_on_average(par_file, task):
    table = pars.read(par_file).tables["0.75"]
    runs = [play(seat("random", task, 0.75, seed), task, 0.75, images=6).reward for seed in range(40)]
    assert points(np.stack(runs), table.random, table.reward) == pytest.approx(0, abs=8)


def test_images_with_little_to_win_do_not_decide_the_average():
    random, par = np.array([1.0, 1.0]), np.array([2.0, 1.0 + 1e-9])
    agent = np.array([1.9, 0.9])
    assert points(agent, random, par) == pytest.approx(80)
    assert points_of_each(agent, random, par)[1] < -1e9


def test_points_are_unknown_where_par_is_not_above_chance():
    one = np.ones(3)
    assert np.isnan(points(one, one, one))
    assert np.isnan(points_of_each(one, one, one)).all()


def test_playing_pays_what_the_environment_pays_in_the_order_of_the_split(task):
    agent = seat("variance", task, 0.5, 0)
    played = play(agent, task, 0.5, images=5)
    index = np.arange(5)
    images = task.fetch(index)
    mask = seat("variance", task, 0.5, 0).act(task.observe(images))
    from maskgym.benchmark.points import game_at

    paid = game_at(task, 0.5).evaluate(images, mask.view(-1, *task.patches.grid))
    assert (played.mask == mask.numpy()).all()
    assert played.reward == pytest.approx(paid.reward.double().numpy())
    assert played.patch_loss.shape == played.mask.shape
    assert (played.seconds > 0).all()
    cover = task.lesion_cover(index, paid.mask.numpy())
    np.testing.assert_array_equal(played.lesion_cover, cover)


def test_k_patches_are_hidden_whatever_an_agent_asks_for(task):
    for wish in (np.ones((6, 16), bool), np.zeros((6, 16), bool)):

        class Greedy(Fixed):
            def act(self, observation, sample=False):
                return self.masks

        assert (play(Greedy(game_spec_of(task), wish), task, 0.5, images=6).mask.sum(1) == 8).all()


def test_more_images_than_there_are_are_refused(task):
    with pytest.raises(BadInput, match="the test split has 128"):
        play(seat("random", task, 0.5, 0), task, 0.5, images=129)
