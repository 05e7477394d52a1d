"""Points: random masks get 0, par gets 100, and every image is played once, in its order."""

import numpy as np
import pytest
import torch

from maskgym.agent import Agent, GameSpec
from maskgym.benchmark import par as pars
from maskgym.benchmark.evaluate import play
from maskgym.benchmark.players import seat
from maskgym.benchmark.points import agreement, points, points_of_each
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


def test_random_masks_get_0_points_and_par_gets_100(par_file):
    table = pars.read(par_file).tables["0.75"]
    assert points(table.random, table.random, table.reward) == 0
    assert points(table.reward, table.random, table.reward) == pytest.approx(100)
    assert points_of_each(table.random, table.random, table.reward) == pytest.approx(np.zeros(6))
    assert points_of_each(table.reward, table.random, table.reward) == pytest.approx(np.full(6, 100))


def test_playing_pars_masks_gets_100_points_and_full_agreement(par_file, make_task):
    task, table = make_task(), pars.read(par_file).tables["0.75"]
    played = play(Fixed(game_spec_of(task), table.mask), task, 0.75, images=6)
    assert points(played.reward, table.random, table.reward) == pytest.approx(100, abs=1e-3)
    assert (played.mask[0] == table.mask).all()
    assert agreement(played.mask, table.mask)[0] == pytest.approx(np.ones(6))


def test_many_random_agents_get_0_points_on_average(par_file, task):
    table = pars.read(par_file).tables["0.75"]
    runs = [play(seat("random", task, 0.75, seed), task, 0.75, images=6).reward[0] for seed in range(40)]
    assert points(np.stack(runs), table.random, table.reward) == pytest.approx(0, abs=8)


def test_images_with_little_to_win_do_not_decide_the_average():
    random, par = np.array([1.0, 1.0]), np.array([2.0, 1.0 + 1e-9])
    agent = np.array([1.9, 0.9])
    assert points(agent, random, par) == pytest.approx(80)
    assert points_of_each(agent, random, par)[1] < -1e9


def test_points_are_unknown_where_par_is_not_above_random_masks():
    one = np.ones(3)
    assert np.isnan(points(one, one, one))
    assert np.isnan(points_of_each(one, one, one)).all()


def test_playing_brings_what_the_environment_gives_in_the_order_of_the_split(task):
    played = play(seat("variance", task, 0.5, 0), task, 0.5, images=5)
    index = np.arange(5)
    images = task.fetch(index)
    mask = seat("variance", task, 0.5, 0).act(task.observe(images))
    outcome = task.game_at(0.5).evaluate(images, mask.view(-1, *task.patches.grid))
    assert (played.mask[0] == mask.numpy()).all()
    assert played.reward[0] == pytest.approx(outcome.reward.double().numpy())
    assert played.patch_reward[0] == pytest.approx(outcome.patch_reward.flatten(1).numpy())
    assert (played.seconds > 0).all()
    np.testing.assert_array_equal(played.lesion_cover[0], task.lesion_cover(index, outcome.mask.numpy()))


@pytest.mark.parametrize(("spec", "queries"), [("variance", 0), ("loss-map?masks=3", 3), ("search?queries=40", 40)])
def test_every_forward_that_an_agent_asks_for_is_counted(task, spec, queries):
    played = play(seat(spec, task, 0.5, 0), task, 0.5, images=70)  # more than one batch
    assert (played.queries <= queries).all()
    assert (played.queries > 0.9 * queries - 1).all()
    assert not played.white_box


def test_an_agent_that_goes_back_through_the_network_is_told_as_white_box(task):
    class Slope(Agent):
        name = "slope"

        def score(self, images):
            with torch.enable_grad():
                pixels = images.clone().requires_grad_()
                hidden = torch.zeros(len(images), *self.patches.grid, dtype=torch.bool)
                self.network(pixels, hidden).sum().backward()
            return self.patches.mean(pixels.grad.abs().mean(1))

    agent = Slope(game_spec_of(task))
    agent.attach(task.lent.reconstructor)
    played = play(agent, task, 0.5, images=6)
    assert played.white_box
    assert (played.queries == 3).all()


def test_k_patches_are_hidden_whatever_an_agent_asks_for(task):
    for requested in (np.ones((6, 16), bool), np.zeros((6, 16), bool)):

        class Greedy(Fixed):
            def act(self, observation, sample=False):
                return self.masks

        greedy = Greedy(game_spec_of(task), requested)
        assert (play(greedy, task, 0.5, images=6).mask.sum(2) == 8).all()
        with pytest.raises(BadInput, match=r"chooses masks, not scores: score it without --hard-share 0.5"):
            play(greedy, task, 0.5, images=6, hard_share=0.5)


def test_more_images_than_there_are_are_refused(task):
    with pytest.raises(BadInput, match="the test split has 128"):
        play(seat("random", task, 0.5, 0), task, 0.5, images=129)
