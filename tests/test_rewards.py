from importlib.metadata import EntryPoint

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from maskgym import rewards
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking.patches import Patches
from maskgym.rewards import Band, Loss, Losses, Reducible, Relative, make_reward

SMALL = "maskgym:MaskMIMSmall-v0"
FIRST = torch.tensor([[[0.4, 0.0], [0.2, 0.2]], [[1.0, 3.0], [0.0, 0.0]]])
REFERENCE = torch.tensor([[[0.1, 0.0], [0.2, 0.3]], [[1.0, 1.0], [0.0, 0.0]]])
LOSSES = Losses(FIRST, REFERENCE, FIRST > 0.3, 0.4)


def test_each_reward_is_its_formula():
    torch.testing.assert_close(Loss()(LOSSES), FIRST)
    torch.testing.assert_close(Reducible()(LOSSES), FIRST - REFERENCE)
    torch.testing.assert_close(Relative(floor=0.1)(LOSSES), (FIRST - REFERENCE) / (FIRST + 0.1))
    band = Band(multiple=1.25)(LOSSES).mean((1, 2))  # T = 0.5; the images lose 0.2 and 1.0
    torch.testing.assert_close(band, torch.tensor([1 - 0.3 / 0.5, 1 - 0.5 / 0.5]))


def test_a_band_tells_patches_which_way_to_go():
    below, above = Band()(LOSSES)
    assert below[0, 0] > below[0, 1]  # too easy: the patch that loses more earns more
    assert above[0, 1] < above[1, 0]  # too hard: the patch that loses less earns more


@pytest.mark.parametrize("reward", ["loss", "reducible", "relative", "band?multiple=1.1"])
def test_every_environment_plays_every_reward(reward):
    single = gym.make(SMALL, split="val", reward=reward)
    check_env(single.unwrapped)
    vector = gym.make_vec(SMALL, num_envs=3, split="val", reward=reward)
    assert (vector.reset(seed=4)[1]["index"][2]) == single.reset(seed=6)[1]["index"]
    actions = np.random.default_rng(0).integers(0, 2, (3, 64))
    _, rewards_, _, _, told = vector.step(actions)
    _, alone, _, _, info = single.step(actions[2])
    assert alone == pytest.approx(rewards_[2], abs=1e-4) == pytest.approx(info["patch_reward"].mean(), abs=1e-4)
    np.testing.assert_allclose(told["patch_reward"][2], info["patch_reward"], atol=1e-4)


def test_stable_baselines_checks_an_environment_under_another_reward():
    from stable_baselines3.common.env_checker import check_env as check

    check(gym.make(SMALL, split="val", reward="relative"))


def test_a_bundled_network_is_the_reference_of_its_own_early_snapshot():
    games = {reward: gym.make(SMALL, split="val", reward=reward).unwrapped.task for reward in ("loss", "reducible")}
    explicit = gym.make(
        SMALL, split="val", reward="reducible", reconstructor="phantoms-64-early", reference="phantoms-64"
    ).unwrapped.task
    images = games["loss"].fetch(np.arange(8))
    keys = torch.arange(8 * 64).view(8, 64) * 7919 % 1009
    late, both, named = (task.game.play(images, keys, keys) for task in (games["loss"], games["reducible"], explicit))
    torch.testing.assert_close(both.patch_reward, both.patch_loss - late.patch_loss)
    assert torch.equal(both.patch_reward, named.patch_reward)
    assert both.reward.mean() > 0.02  # there is something that training longer takes away
    assert games["reducible"].fingerprint == explicit.fingerprint != games["loss"].fingerprint


class Squared(rewards.Reward):
    """A stranger's reward."""

    def __call__(self, losses):
        return losses.first.square()


class Stranger:
    """A class that is no reward."""


def test_a_reward_of_ones_own_is_found_by_its_entry_point(monkeypatch):
    points = [EntryPoint("squared", f"{__name__}:Squared", rewards.GROUP)]
    points += [EntryPoint("gone", "nowhere.at:all", rewards.GROUP), EntryPoint("odd", "pathlib:Path", rewards.GROUP)]
    monkeypatch.setattr("maskgym.rewards.entry_points", lambda group: [one for one in points if one.group == group])
    monkeypatch.setattr(EntryPoint, "load", lambda self: {"squared": Squared, "odd": Stranger}.get(self.name) or nope())

    def nope():
        raise ImportError("no module")

    assert make_reward("squared") == Squared()
    assert rewards.names() == ["loss", "reducible", "relative", "band", "gone", "odd", "squared"]
    env = gym.make(SMALL, split="val", reward="squared").unwrapped
    env.reset(seed=0)
    outcome = env.task.game.evaluate(env.task.fetch(np.array([0])), torch.ones(1, 8, 8, dtype=torch.bool))
    torch.testing.assert_close(outcome.patch_reward, outcome.patch_loss.square())
    for name, said in (("gone", "cannot be loaded from nowhere.at:all"), ("odd", "is no reward")):
        with pytest.raises(BadInput, match=said):
            make_reward(name)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"reward": "relativ"}, "unknown reward 'relativ': did you mean 'relative'"),
        ({"reward": "xyzzy"}, "unknown reward 'xyzzy': choose one of loss, reducible, relative, band"),
        ({"reward": "band?multiple=x"}, "setting multiple='x' of reward 'band' must be a number"),
        ({"reward": "band?multiple=-1"}, "multiple -1.0 must be positive"),
        ({"reward": "relative?floor=0"}, "floor 0.0 must be positive"),
        ({"reward": "loss?floor=1"}, "reward 'loss' has no setting 'floor': it has none"),
        ({"reference": "phantoms-64"}, "reference 'phantoms-64' is not used by reward 'loss': leave it out"),
        ({"reward": "relative", "reference": "phantom-64"}, "unknown reconstructor 'phantom-64'"),
        ({"reward": "relative", "reconstructor": "phantoms-64-early"}, "has no early snapshot: name a longer-trained"),
    ],
    ids=str,
)
def test_wrong_rewards_and_references_are_refused_in_one_line(keywords, said):
    with pytest.raises(BadInput, match=said) as caught:
        gym.make(SMALL, split="val", **keywords)
    assert "\n" not in str(caught.value)


def test_a_game_without_a_reference_cannot_play_a_reward_that_compares():
    with pytest.raises(BadInput, match="compares two networks"):
        Game(torch.nn.Identity(), Patches((16, 16), (8, 8)), reward="reducible")
