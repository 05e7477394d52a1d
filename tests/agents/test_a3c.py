import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from maskgym_agents.a3c import A3C, A3CPaper, A3CSettings, PaperSettings, drawing_gradient
from torch import nn

from maskgym.agent import GameSpec
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking.patches import Patches
from maskgym.registry import make_agent

BOARD = GameSpec(Patches((16, 16), (4, 4)), ratio=0.5)


class Blank(nn.Module):
    """Rebuilds nothing: a hidden patch costs what is in it."""

    def forward(self, images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return images


class BrightPays:
    """A vector environment of noise in which four patches are bright, elsewhere in every image."""

    def __init__(self, num_envs: int, game_spec: GameSpec = BOARD):
        self.num_envs, self.task, self.game_spec = num_envs, self, game_spec
        self.game = Game(Blank(), game_spec.patches, game_spec.ratio)
        draw = torch.Generator().manual_seed(0)
        shown = torch.rand(64, game_spec.patches.count, generator=draw).argsort(1) < 4
        pixels = game_spec.patches.spread(shown.view(-1, *game_spec.patches.grid)) * 2.0
        self.images = pixels - pixels.mean((1, 2, 3), keepdim=True)
        self.seeds: list[Any] = []

    def views(self, index: np.ndarray) -> torch.Tensor:
        return ((self.images[index] * 32) + 128).round().to(torch.uint8).movedim(1, -1)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        assert options is not None
        self.seeds.append(seed)
        self.index = options["index"]
        return self.views(self.index), {"index": torch.from_numpy(self.index)}

    def step(self, mask: torch.Tensor) -> tuple[Any, ...]:
        hidden = mask.view(-1, *self.game_spec.patches.grid)
        error = self.game_spec.patches.mean(self.images[self.index].square().mean(1)) * hidden
        return self.views(self.index), error.flatten(1).mean(1), None, None, {"patch_reward": error}


def reward(agent: A3C, game: BrightPays) -> float:
    game.reset(options={"index": np.arange(64)})
    return float(game.step(agent.act(game.views(np.arange(64))))[1].mean())


def best(game: BrightPays) -> float:
    loss = game.game_spec.patches.mean(game.images.square().mean(1)).flatten(1)
    return float(loss.topk(game.game_spec.budget).values.sum(1).mean() / loss.shape[1])


@pytest.mark.parametrize("credit", ["joint", "counterfactual", "centred"])
@pytest.mark.parametrize("policy_gradient", ["sample", "bernoulli"])
def test_learns_what_pays(credit: str, policy_gradient: str) -> None:
    game = BrightPays(32)
    agent = A3C(BOARD, A3CSettings(credit=credit, policy_gradient=policy_gradient, width=16, lr=3e-3), seed=1)  # type: ignore[arg-type]
    before = reward(agent, game)
    agent.learn(game, 32 * 60)
    assert reward(agent, game) > before + 0.8 * (best(game) - before)


def test_the_papers_form_learns_something_too() -> None:
    game = BrightPays(4)
    agent = A3CPaper(BOARD, PaperSettings(width=16, lr=2e-3), seed=1)
    before = reward(agent, game)
    agent.learn(game, 4 * 150)
    assert reward(agent, game) > before + 0.3 * (best(game) - before)


def test_the_drawing_gradient_is_that_of_the_probability_of_the_ordered_sample() -> None:
    logits = torch.randn(5, 9, dtype=torch.float64, requires_grad=True)
    order = torch.rand(5, 9).argsort(1)
    naive = torch.zeros((), dtype=torch.float64)
    for row in range(5):
        left = list(range(9))
        for pick in order[row, :4].tolist():
            naive = naive + logits[row, pick] - logits[row, left].logsumexp(0)
            left.remove(pick)
    naive.backward()
    torch.testing.assert_close(drawing_gradient(logits.detach(), order, 4), logits.grad)


def test_masks_are_drawn_one_by_one_without_replacement() -> None:
    game_spec = GameSpec(Patches((4, 2), (2, 1)), ratio=0.5)  # four patches, two hidden
    agent = A3C(game_spec)
    logits = torch.tensor([[1.0, 0.0, -1.0, 0.5]])
    drawn = agent._drawn(logits.expand(40_000, -1)).argsort(1, descending=True)[:, :2]
    chances = logits[0].softmax(0)
    for first, second in itertools.permutations(range(4), 2):
        expected = float(chances[first] * chances[second] / (1 - chances[first]))
        met = float(((drawn[:, 0] == first) & (drawn[:, 1] == second)).float().mean())
        assert met == pytest.approx(expected, abs=0.01)


def test_hints_take_their_share_of_the_budget_from_chance() -> None:
    agent = A3C(BOARD, A3CSettings(hint_share=0.25))
    logits = torch.zeros(4_000, 16)
    logits[:, :8] = 50.0  # eight patches that the policy is sure of
    hidden = agent.to_mask(agent._drawn(logits)).float()
    assert (hidden.sum(1) == 8).all()
    assert float(hidden[:, :8].sum(1).mean()) == pytest.approx(6 + 2 * 2 / 10, abs=0.1)


def test_every_image_is_shown_as_often_as_it_has_masks_and_none_twice_in_a_round() -> None:
    game, agent = BrightPays(32), A3C(BOARD, A3CSettings(images=8, masks=4, width=8))
    met = []
    for turn in range(8):
        agent.gradients(game, turn)
        assert (game.index.reshape(8, 4) == game.index[::4, None]).all()
        met += game.index[::4].tolist()
    assert sorted(met) == list(range(64))


def test_a_turn_is_the_same_whatever_came_before() -> None:
    game = BrightPays(8)
    gradients = []
    for earlier in ((), (0, 1)):
        agent = A3C(BOARD, A3CSettings(images=2, width=8), seed=3)
        for turn in (*earlier, 7):
            agent.zero_grad()
            agent.gradients(game, turn)
        gradients.append([parameter.grad for parameter in agent.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_the_game_is_seeded_only_where_it_has_chance_of_its_own() -> None:
    game, agent = BrightPays(8), A3C(BOARD, A3CSettings(images=2, width=8))
    agent.gradients(game, 0)
    game.game.hint_share = 0.5
    agent.gradients(game, 0)
    agent.gradients(game, 1)
    assert game.seeds[0] is None
    assert game.seeds[1] != game.seeds[2]


def test_the_scores_of_an_image_keep_their_deviation() -> None:
    agent = A3C(BOARD, A3CSettings(temperature=2.0, width=8))
    with torch.no_grad():
        agent.policy.actor.weight.normal_(std=100.0)  # type: ignore[union-attr,operator]
    scores = agent.score(torch.randn(3, 1, 16, 16)).flatten(1)
    torch.testing.assert_close(scores.std(1), torch.full((3,), 2.0), atol=0.1, rtol=0)


def test_the_same_settings_play_volumes() -> None:
    env = gym.make_vec(
        "maskgym:MaskMIM3D-v0", num_envs=8, image_size="16x16x16", patch_size=4, output="torch", split="test", piece=8
    )
    agent = make_agent("a3c", env, images=2, width=8)
    figures = agent.gradients(env, 0)  # type: ignore[operator]
    assert all(bool(value.isfinite()) for value in figures.values())


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"masks": 1}, "masks"), ({"lr": 0.0}, "lr"), ({"hint_share": 1.5}, "hint_share"), ({"reach": -2}, "reach")],
)
def test_senseless_settings_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        A3CSettings(**settings)


def test_an_environment_too_small_to_compare_masks_is_refused() -> None:
    with pytest.raises(BadInput, match="multiple"):
        A3C(BOARD).learn(BrightPays(1), 10)
