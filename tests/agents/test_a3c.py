import itertools
from itertools import combinations
from typing import Any

import gymnasium as gym
import pytest
import torch
from maskgym_agents.a3c import A3C, A3CSettings, around, drawing_gradient, leave_one_out
from torch import Tensor

from maskgym.agent import GameSpec
from maskgym.errors import BadInput
from maskgym.learner import Played
from maskgym.masking.patches import Patches
from maskgym.registry import make_agent
from maskgym.training.rollout import Rollout
from maskgym.training.update import train

SPEC = GameSpec(Patches((16, 16), (4, 4)), ratio=0.5)
ROW = GameSpec(Patches((2, 12), (2, 2)), ratio=0.5)  # six patches in a row, three hidden


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
    assert not drawing_gradient(logits.detach(), order, 0).any()


def test_masks_are_drawn_one_by_one_without_replacement() -> None:
    agent = fixed(A3C(GameSpec(Patches((4, 2), (2, 1)), ratio=0.5), A3CSettings(field=0.0)), [1.0, 0.0, -1.0, 0.5])
    drawn = agent.sample(torch.zeros(40_000, 1, 4, 2)).flatten(1).argsort(1, descending=True)[:, :2]
    probability = torch.tensor([1.0, 0.0, -1.0, 0.5]).softmax(0)
    for first, second in itertools.permutations(range(4), 2):
        expected = float(probability[first] * probability[second] / (1 - probability[first]))
        met = float(((drawn[:, 0] == first) & (drawn[:, 1] == second)).float().mean())
        assert met == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("hint_share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("field", [0.0, 0.7])
def test_the_score_of_every_patch_is_zero_on_average_so_that_no_patch_is_pushed_for_nothing(
    hint_share: float, field: float
) -> None:
    agent = fixed(A3C(ROW, A3CSettings(hint_share=hint_share, field=field, masks=2)), [2.0, 1.0, 0.0, 0.0, -1.0, -2.0])
    proposal = agent.propose(torch.zeros(20_000, 1, 2, 12), 2)
    pull, mask = proposal.kept[2].flatten(0, 1), proposal.mask.flatten(0, 1)
    assert (mask.sum(1) == 3).all()
    error = pull.std(0) / len(pull) ** 0.5
    assert bool((pull.mean(0).abs() <= 4.5 * error + 1e-6).all())
    if hint_share == 1.0:
        assert not pull.any()
        assert mask.float().mean(0).tolist() == pytest.approx([0.5] * 6, abs=0.02)


def test_the_random_field_is_smooth_and_has_the_deviation_that_was_asked_for() -> None:
    agent = A3C(SPEC, A3CSettings(field=0.7))
    field = agent._field(4_000).view(-1, 4, 4)
    assert float(field[:, 0, 0].std()) == pytest.approx(0.7, rel=0.1)  # a corner is a knot
    near, far = (torch.corrcoef(torch.stack([field[:, 0, 0], field[:, i, i]]))[0, 1] for i in (1, 3))
    assert near > 0.4
    assert far.abs() < 0.1


def joint(mask: Tensor, value: Tensor, weight: float) -> Tensor:
    """The patch rewards (..., N) of a game in which a hidden patch costs more the more neighbours are hidden."""
    hidden = mask.float()
    beside = torch.nn.functional.pad(hidden, (1, 1))
    return hidden * (value + weight * (beside[..., :-2] + beside[..., 2:]))


def all_masks() -> Tensor:
    return torch.stack([torch.isin(torch.arange(6), torch.tensor(picked)) for picked in combinations(range(6), 3)])


def test_the_credit_points_where_the_true_gradient_of_the_joint_reward_does() -> None:
    """Six patches, three hidden: all orders of drawing and their probabilities are counted, nothing is sampled."""
    value = torch.tensor([0.4, 0.7, 0.5, 0.6, 0.45, 0.55])
    logits = torch.tensor([0.3, -0.2, 0.1, 0.4, -0.5, 0.0], requires_grad=True)
    orders = torch.tensor([[*order, *sorted({*range(6)} - {*order})] for order in itertools.permutations(range(6), 3)])
    log_probability = torch.zeros(len(orders))
    for step in range(3):
        log_probability = log_probability + logits[orders[:, step]] - logits[orders[:, step:]].logsumexp(1)
    mask = torch.zeros(len(orders), 6, dtype=torch.bool).scatter_(1, orders[:, :3], True)
    earned = joint(mask, value, 0.4)
    (true,) = torch.autograd.grad((log_probability.exp() * earned.sum(1)).sum(), logits)

    probability = log_probability.detach().exp()
    pull = drawing_gradient(logits.detach().expand(len(orders), -1), orders, 3)
    played = torch.multinomial(probability, 400_000, replacement=True, generator=torch.Generator().manual_seed(0))
    many = played.view(-1, 4)  # four masks of an image, to be compared

    def cosine(reach: int, price: float) -> float:
        agent = A3C(ROW, A3CSettings(reach=reach, price=price))
        pushed = (agent.advantage(earned[many], mask[many]) * pull[many]).mean((0, 1))
        return float(torch.cosine_similarity(pushed, true, dim=0))

    assert cosine(-1, 1.0) > 0.98  # over the whole image the price cancels out: K is fixed
    assert cosine(-1, 0.0) > 0.98
    assert cosine(1, 1.0) > 0.7
    assert cosine(1, 0.0) < 0.4  # without it hiding looks good everywhere


def test_the_advantage_is_what_a_naive_loop_makes_of_it() -> None:
    agent = A3C(ROW, A3CSettings(reach=1, masks=3, price=0.5))
    mask = all_masks()[torch.tensor([[0, 5, 9], [3, 12, 19]])]
    earned = torch.rand(2, 3, 6) * mask
    expected = torch.zeros(2, 3, 6)
    for image in range(2):
        mean = sum(float(earned[image].flatten()[i]) for i in range(18)) / 9  # nine hidden patches an image
        near = torch.zeros(3, 6)
        for m, patch in itertools.product(range(3), range(6)):
            for other in range(max(0, patch - 1), min(5, patch + 1) + 1):
                near[m, patch] += (earned[image, m, other] - 0.5 * mean * mask[image, m, other]) / 9
        for m in range(3):
            expected[image, m] = near[m] - (near.sum(0) - near[m]) / 2
    torch.testing.assert_close(agent.advantage(earned, mask), expected / (expected.std() + 1e-6))


def test_masks_are_compared_with_the_other_masks_of_their_image() -> None:
    values = torch.rand(3, 4, 6)
    above = leave_one_out(values)
    torch.testing.assert_close(above[1, 2], values[1, 2] - values[1, [0, 1, 3]].mean(0))
    shifted = leave_one_out(values + torch.rand(3, 1, 6))  # what all masks of an image share says nothing
    torch.testing.assert_close(above, shifted)


def test_reach_says_how_far_consequences_are_looked_for() -> None:
    spike = torch.zeros(1, 16)
    spike[0, 5] = 9.0
    assert (around(spike, SPEC.patches, 0) > 0).sum() == 1
    assert (around(spike, SPEC.patches, 1) > 0).sum() == 9
    assert around(spike, SPEC.patches, -1).unique().tolist() == [9 / 16]


def interacting(mask: Tensor) -> Tensor:
    """Patch rewards of a game in which patches 3 and 5, hidden together, bring 2 more, which appears at patch 3."""
    hidden = mask.float()
    reward = torch.tensor([0.5, 0.5, 0.5, 0.1, 0.1, 0.1]) * hidden
    reward[..., 3] = reward[..., 3] + 2.0 * hidden[..., 3] * hidden[..., 5]
    return reward


def learned(agent: Any, updates: int) -> list[int]:
    """Which patches of the row an agent hides first when it has learned in the game of `interacting`."""
    optimizer = torch.optim.Adam(agent.parameters(), 0.02)
    images = torch.zeros(4, 1, 2, 12)
    for _ in range(updates):
        proposal = agent.propose(images, agent.settings.masks)
        earned = interacting(proposal.mask)
        optimizer.zero_grad()
        agent.loss(images, proposal, Played(proposal.mask, earned, earned.mean(2)))["loss"].backward()
        optimizer.step()
    return sorted(agent.score(images[:1]).flatten().topk(3).indices.tolist())


def test_where_patches_interact_joint_credit_wins_and_own_credit_loses() -> None:
    """Of its own loss patch 5 sees 0.1 when it is hidden; the 2 that it brings appear at patch 3."""
    wide = A3CSettings(reach=2, width=8, masks=8, field=0.0)
    assert {3, 5} <= set(learned(A3C(ROW, wide, seed=1), 60))
    own = learned(A3C(ROW, A3CSettings(reach=0, width=8, masks=8, field=0.0), seed=1), 60)
    assert not {3, 5} <= set(own)


def test_a_step_teaches_the_critic_the_mean_loss_of_every_patch() -> None:
    agent = A3C(ROW, A3CSettings(width=8, masks=8, value=1.0))
    for parameter in agent.policy.actor.parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.Adam((p for p in agent.parameters() if p.requires_grad), 0.05)
    images = torch.randn(8, 1, 2, 12, generator=torch.Generator().manual_seed(0))
    for _ in range(150):
        proposal = agent.propose(images, 8)
        earned = interacting(proposal.mask)
        optimizer.zero_grad()
        told = agent.loss(images, proposal, Played(proposal.mask, earned, earned.mean(2)))
        told["loss"].backward()
        optimizer.step()
    expected = earned.mean((0, 1)) / earned.mean()
    guess = agent.policy(images)[1].mean(0).detach()
    assert float(torch.corrcoef(torch.stack([guess, expected]))[0, 1]) > 0.9


def test_scores_keep_one_deviation_for_every_image() -> None:
    agent = A3C(SPEC, A3CSettings(temperature=2.0, width=8))
    with torch.no_grad():
        agent.policy.actor.weight.normal_(std=100.0)
    scores = agent.score(torch.randn(3, 1, 16, 16)).flatten(1)
    torch.testing.assert_close(scores.std(1), torch.full((3,), 2.0), atol=0.1, rtol=0)


@pytest.mark.parametrize("name", ["a3c", "pathwise"])
def test_learners_learn_on_the_real_game(name: str) -> None:
    env: Any = gym.make_vec(
        "maskgym:MaskMIMSmall-v0", num_envs=32, image_size="32x32", output="torch", split="test", piece=32
    )
    agent: Any = make_agent(name, env, seed=1, width=16, lr=4e-3)
    images = env.task.fetch(torch.arange(64).numpy())
    grid = env.task.patches.grid

    def reward(agent: Any) -> float:
        mask = agent.to_mask(agent.score(images)).view(-1, *grid)
        with torch.no_grad():
            return float(env.task.game.evaluate(images, mask).reward.mean())

    train(agent, env, 32 * 60)
    assert reward(agent) > 1.15 * reward(make_agent("random", env))


def test_the_same_settings_play_volumes() -> None:
    env: Any = gym.make_vec(
        "maskgym:MaskMIM3D-v0", num_envs=8, image_size="16x16x16", patch_size=4, output="torch", split="test", piece=8
    )
    agent: Any = make_agent("a3c", env, images=2, width=8)
    rollout = Rollout(env, agent)
    images = rollout.images(0)
    proposal = agent.propose(images, 4)
    assert all(
        bool(value.isfinite()) for value in agent.loss(images, proposal, rollout.play(images, proposal, 0)).values()
    )


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"masks": 1}, "masks"), ({"lr": 0.0}, "lr"), ({"hint_share": 1.5}, "hint_share"), ({"reach": -2}, "reach")],
)
def test_senseless_settings_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        A3CSettings(**settings)


def fixed(agent: A3C, logits: list[float]) -> A3C:
    """Make an agent's policy give the same logits for every image."""

    def policy(images: Tensor) -> tuple[Tensor, Tensor]:
        scores = torch.tensor(logits).expand(len(images), -1)
        return scores, torch.zeros_like(scores)

    agent.policy = None  # type: ignore[assignment]
    object.__setattr__(agent, "policy", policy)
    return agent
