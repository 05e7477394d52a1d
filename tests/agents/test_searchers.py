"""The agents that search: survey and slopes."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from maskgym.agent import GameSpec
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking.patches import Patches
from maskgym.networks.unet import UNet
from maskgym.registry import make_agent
from maskgym.rewards import Losses, Reward
from maskgym.searcher import Searcher


@pytest.fixture(scope="module")
def env():
    return gym.make("maskgym:MaskMIMSmall-v0", split="val", piece=16)


def reward(env, agent, images) -> torch.Tensor:
    with torch.no_grad():
        return env.unwrapped.task.game.evaluate(images, agent.to_mask(agent.score(images)).view(-1, 8, 8)).reward


def asked(env, count: int) -> int:
    return env.unwrapped.task.meter.per_image(count)


@pytest.mark.parametrize(
    ("spec", "queries"),
    [("survey?queries=4", 4), ("survey?queries=16", 16), ("slopes?queries=7", 7), ("slopes?queries=24", 24)],
)
def test_a_search_beats_its_start_and_asks_for_as_many_queries_as_it_is_given(env, spec, queries):
    images = env.unwrapped.task.fetch(np.arange(12))
    variance = make_agent("variance", env)
    agent = make_agent(f"{spec}&start=variance", env)
    asked(env, 12)
    found, start = reward(env, agent, images), reward(env, variance, images)
    assert asked(env, 12) == queries
    assert (found >= start - 1e-6).sum() >= (12 if spec.startswith("survey") else 8)  # a slope may lead down at first
    assert found.mean() > start.mean()


@pytest.mark.parametrize("spec", ["survey?queries=20", "slopes?queries=26"])
def test_a_smaller_budget_is_the_same_search_stopped_earlier_and_an_image_is_searched_alike_alone(env, spec):
    images = env.unwrapped.task.fetch(np.arange(3))
    long = list(make_agent(spec, env).anytime(images))
    assert [one.queries for one in long] == list(range(long[0].queries, int(spec[-2:]) + 1))
    short = list(make_agent(f"{spec[:-2]}19", env).anytime(images))[-1]
    same = next(one for one in long if one.queries == short.queries)
    assert torch.equal(short.mask, same.mask)
    one_by_one = make_agent(spec, env)
    alone = torch.cat([list(one_by_one.anytime(image[None]))[-1].mask for image in images])
    assert (alone == long[-1].mask).float().mean() > 0.97  # to rounding: a tie may fall otherwise


def test_the_queries_of_the_start_count(env):
    images = env.unwrapped.task.fetch(np.arange(4))
    agent = make_agent("survey?start=loss-map?masks=5&queries=12", env)
    asked(env, 4)
    assert [one.queries for one in agent.anytime(images)] == list(range(6, 13))
    assert asked(env, 4) == 12
    with pytest.raises(BadInput, match=r"'loss-map' asks 16 queries itself: give survey 20 or more"):
        make_agent("survey?start=loss-map&queries=18", env).score(images)


def test_under_a_reward_that_compares_two_networks_a_mask_costs_two_queries():
    env = gym.make("maskgym:MaskMIMSmall-v0", split="val", piece=16, reward="relative")
    images = env.unwrapped.task.fetch(np.arange(6))
    agent, variance = make_agent("survey?queries=30&start=variance", env), make_agent("variance", env)
    assert reward(env, agent, images).mean() > reward(env, variance, images).mean() + 0.02
    assert asked(env, 6) == 30


def test_slopes_ask_for_gradients_and_survey_does_not(env):
    images = env.unwrapped.task.fetch(np.arange(2)).requires_grad_()
    for spec, backward in (("survey?queries=8", False), ("slopes?queries=10", True)):
        agent = make_agent(spec, env)
        calls = []
        hook = env.unwrapped.task.game.reconstructor.register_forward_hook(
            lambda _m, _i, out, calls=calls: calls.append(out.requires_grad)
        )
        agent.score(images.detach())
        hook.remove()
        assert any(calls) is backward


def test_they_search_against_a_network_that_is_being_trained(env):
    student = UNet(1, 2, (8, 12), 4).train()
    agent = make_agent("survey?queries=9", game_spec=GameSpec(Patches((64, 64), (8, 8))))
    agent.attach(student)
    mask = agent.to_mask(agent.sample(env.unwrapped.task.fetch(np.arange(3))))
    assert (mask.sum(1) == 48).all()
    assert student.training
    assert all(parameter.grad is None for parameter in student.parameters())


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("survey?queries=3", "survey with queries=3, piece=0: give 4 queries or more"),
        ("slopes?queries=6", "slopes with queries=6, piece=0: give 7 queries or more"),
        ("survey?start=nobody", "unknown agent 'nobody'"),
        ("survey?start=a3c:nowhere", "no saved agent in nowhere"),
        ("slopes?steps=0", "steps, rate, soft and hard must be positive"),
    ],
)
def test_bad_settings_are_refused_in_one_line(env, spec, said):
    with pytest.raises(BadInput, match=said) as caught:
        make_agent(spec, env)
    assert "\n" not in str(caught.value)


def test_a_start_of_another_game_is_refused(env, tmp_path):
    make_agent("hpm", game_spec=GameSpec(Patches((64, 64), (16, 16)))).save(tmp_path)
    with pytest.raises(BadInput, match=r"was trained on patches of \(16, 16\), this game has \(8, 8\)"):
        make_agent(f"survey?start=hpm:{tmp_path}", env)


def test_a_network_without_gradients_for_masks_is_refused_by_slopes():
    agent = make_agent("slopes", game_spec=GameSpec(Patches((32, 32), (8, 8))))
    with pytest.raises(BadInput, match="slopes needs gradients for masks, and Identity drops hidden patches"):
        agent.attach(torch.nn.Identity())


def test_a_searcher_of_ones_own_says_how_it_searches(env):
    agent = Searcher(GameSpec(Patches((64, 64), (8, 8))))
    agent.lend(env.unwrapped.task.lent)
    with pytest.raises(TypeError, match="override improve"):
        agent.score(env.unwrapped.task.fetch(np.arange(1)))


class Column(Reward):
    """A hidden patch earns the number of its column, or minus that: no loss says so."""

    def __init__(self, sign: int):
        self.sign = sign

    def __call__(self, losses: Losses) -> torch.Tensor:
        return losses.mask * self.sign * torch.arange(8.0) + 0 * losses.first


@pytest.mark.parametrize(
    "spec", ["loss-map", "anatomask", "survey?queries=16", "slopes?queries=16", "search?queries=16", "foresight"]
)
def test_whoever_looks_plays_by_the_reward_of_the_game_it_is_lent(spec):
    patches = Patches((32, 32), (4, 4))
    images = torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet(widths=(8, 8)).eval()
    columns = []
    for sign in (1, -1):
        agent = make_agent(spec, game_spec=GameSpec(patches, ratio=0.5))
        agent.lend(Game(network, patches, 0.5, reward=Column(sign)))
        hidden = agent.to_mask(agent.score(images)).view(8, 8, 8).float()
        columns.append(float((hidden * torch.arange(8)).sum() / hidden.sum()))
    assert columns[0] > 3.7 > 3.3 > columns[1]  # the mean column is 3.5


def test_a_saved_foresight_plays_by_as_many_queries_as_it_is_asked_to(env, tmp_path):
    images = env.unwrapped.task.fetch(np.arange(3))
    make_agent("foresight?queries=6&width=8", env, seed=2).save(tmp_path)
    for written, queries in (("", 6), ("?queries=9", 9)):
        agent = make_agent(f"foresight:{tmp_path}{written}", env)
        assert [agent.settings.queries, agent.settings.width, agent.seed] == [queries, 8, 2]
        asked(env, 3)
        agent.score(images)
        assert asked(env, 3) == queries
    with pytest.raises(BadInput, match="a saved agent with its own width: only queries and piece may differ at play"):
        make_agent(f"foresight:{tmp_path}?width=9", env)
