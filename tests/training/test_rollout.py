from typing import Any

import gymnasium as gym
import pytest
import torch

from maskgym.errors import BadInput
from maskgym.learner import Proposal
from maskgym.registry import make_agent
from maskgym.training.rollout import Rollout


def test_every_image_is_shown_once_in_a_round_in_an_order_of_the_seeds_own(toy: Any, games: Any) -> None:
    env = games(6)  # 3 images an update; 8 images make no whole number of updates
    rollout, other = Rollout(env, toy(seed=1)), Rollout(env, toy(seed=2))
    shown = torch.cat([rollout.images(number) for number in range(8)])
    where = [int((env.task.images == image).flatten(1).all(1).nonzero()) for image in shown]
    assert [sorted(where[start : start + 8]) for start in (0, 8, 16)] == [list(range(8))] * 3
    assert where[:8] != where[8:16]
    assert not torch.equal(shown, torch.cat([other.images(number) for number in range(8)]))
    assert torch.equal(Rollout(env, toy(seed=1)).images(5), shown[15:18])  # whatever came before


@pytest.mark.parametrize("hint_share", [0.0, 0.5])
def test_a_rollout_brings_what_the_environment_gives_for_the_same_masks(hint_share: float) -> None:
    env: Any = gym.make_vec(
        "maskgym:MaskMIMSmall-v0", num_envs=8, image_size="32x32", output="torch", split="test", piece=8,
        autoreset_mode="Disabled", hint_share=hint_share,
    )  # fmt: skip
    agent: Any = make_agent("a3c", env, width=8, images=2, masks=4)
    rollout = Rollout(env, agent)
    images = rollout.images(3)
    played = rollout.play(images, agent.propose(rollout.views(images), 4), 3)
    assert (played.mask.sum(2) == agent.game_spec.budget).all()
    index = rollout._order(0)[6:8].numpy()
    observations, _ = env.reset(options={"index": index.repeat(4)})
    assert torch.equal(rollout.views(images), (observations[::4].movedim(-1, 1).float() - 128) / 32)
    if hint_share:
        return  # the environment would draw hints of its own
    _, reward, _, _, infos = env.step(played.mask.flatten(0, 1))
    torch.testing.assert_close(played.patch_reward.flatten(0, 1), infos["patch_reward"].flatten(1))
    torch.testing.assert_close(played.reward.flatten(), reward)


def test_hints_of_the_game_differ_from_update_to_update_and_are_the_same_again(toy: Any, games: Any) -> None:
    env = games(4)
    env.task.game.hint_share = 1.0
    rollout, images = Rollout(env, toy()), env.task.images[:2]
    proposal = Proposal(torch.zeros(2, 2, 4, dtype=torch.bool))
    masks = [rollout.play(images, proposal, number).mask for number in (*range(6), 0)]
    assert torch.equal(masks[0], masks[-1])
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) > 3
    assert (masks[0].sum(2) == 2).all()


def test_an_environment_too_small_to_compare_masks_is_refused(toy: Any, games: Any) -> None:
    with pytest.raises(BadInput, match="multiple"):
        Rollout(games(3), toy())


def test_soft_masks_bring_rewards_that_can_be_differentiated() -> None:
    env: Any = gym.make_vec(
        "maskgym:MaskMIMSmall-v0", num_envs=2, image_size="32x32", output="torch", split="test", piece=8
    )
    agent: Any = make_agent("pathwise", env, width=8, images=2)
    rollout = Rollout(env, agent)
    images = rollout.images(0)
    soft = torch.full((2, 1, 16), 0.75, requires_grad=True)
    played = rollout.play(images, Proposal(soft), 0)
    played.reward.sum().backward()
    assert played.patch_reward.shape == (2, 1, 16)
    assert soft.grad is not None
    assert bool((soft.grad != 0).any())
    hard = torch.zeros(2, 1, 16).index_fill_(2, torch.arange(12), 1.0)
    expected = rollout.play(images, Proposal(hard.bool()), 0).reward
    torch.testing.assert_close(rollout.play(images, Proposal(hard), 0).reward, expected)
