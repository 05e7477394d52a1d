import gymnasium as gym
import numpy as np
import pytest
import torch

from maskgym.meter import Meter


@pytest.fixture(scope="module")
def task():
    return gym.make("maskgym:MaskMIMSmall-v0", split="val").unwrapped.task


def mask(count: int) -> torch.Tensor:
    return torch.rand(count, 8, 8) < 0.75


@torch.no_grad()
def test_a_forward_counts_one_for_every_image_and_mask(task):
    images, meter = task.fetch(np.arange(6)), Meter()
    game = task.game.metered(meter)
    game.evaluate(images, mask(6))
    game.evaluate(images, mask(18).view(6, 3, 64))
    game.reconstructor(images[:2], mask(2))
    game.rebuild(images, mask(6))
    assert meter.total == 6 + 18 + 2 + 6
    task.game.evaluate(images, mask(6))
    assert meter.total == 32  # the game's own play costs nobody anything


def test_a_backward_counts_two_more_and_only_when_it_happens(task):
    images, meter = task.fetch(np.arange(4)), Meter()
    game = task.game.metered(meter)
    relaxed = torch.full((4, 64), 0.5, requires_grad=True)
    reward = game.soft_reward(images, relaxed)
    assert meter.total == 4
    reward.sum().backward()
    assert meter.total == 12
    with torch.no_grad():
        game.soft_reward(images, relaxed)
    assert meter.total == 16


@torch.no_grad()
def test_a_reward_that_compares_two_networks_costs_two_queries():
    task = gym.make("maskgym:MaskMIMSmall-v0", split="val", reward="relative").unwrapped.task
    meter = Meter()
    game = task.game.metered(meter)
    game.evaluate(task.fetch(np.arange(3)), mask(3))
    assert meter.total == 3 * game.cost == 6


def test_queries_an_image_are_told_once_and_rounded_up():
    meter = Meter()
    meter.add(7)
    assert meter.per_image(4) == 2
    assert meter.per_image(4) == 0
