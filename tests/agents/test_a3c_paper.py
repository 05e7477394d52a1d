from typing import Any

import torch
from maskgym_agents.a3c_paper import A3CPaper, A3CPaperSettings
from torch import Tensor, nn

from maskgym.agent import GameSpec
from maskgym.game import Game
from maskgym.learner import Played
from maskgym.masking.patches import Patches
from maskgym.training.update import train

SPEC = GameSpec(Patches((16, 16), (4, 4)), ratio=0.5)


class Blank(nn.Module):
    """Rebuilds nothing: a hidden patch costs what is in it, whatever else is hidden."""

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        return images


class Bright:
    """Images in which four patches are bright, elsewhere in every image."""

    def __init__(self, num_envs: int):
        self.num_envs, self.task, self.device, self.patches = num_envs, self, torch.device("cpu"), SPEC.patches
        self.game = Game(Blank(), SPEC.patches, SPEC.ratio)
        shown = torch.rand(64, SPEC.patches.count, generator=torch.Generator().manual_seed(0)).argsort(1) < 4
        pixels = SPEC.patches.spread(shown.view(-1, *SPEC.patches.grid)) * 2.0
        self.images = pixels - pixels.mean((1, 2, 3), keepdim=True)

    def fetch(self, index: Any) -> Tensor:
        return self.images[torch.as_tensor(index)]

    def reward(self, agent: A3CPaper) -> float:
        mask = agent.to_mask(agent.score(self.images)).view(-1, *SPEC.patches.grid)
        return float(self.game.evaluate(self.images, mask).reward.mean())

    def best(self) -> float:
        loss = SPEC.patches.mean(self.images.square().mean(1)).flatten(1)
        return float(loss.topk(SPEC.budget).values.sum(1).mean() / loss.shape[1])


def test_it_learns_where_a_patchs_own_loss_is_all_there_is() -> None:
    game = Bright(4)
    agent = A3CPaper(SPEC, A3CPaperSettings(width=16, lr=2e-3), seed=1)
    untrained = game.reward(agent)
    train(agent, game, 4 * 150)
    assert game.reward(agent) > untrained + 0.3 * (game.best() - untrained)


def test_a_patch_is_credited_with_its_own_loss_less_what_the_critic_expected() -> None:
    agent = A3CPaper(SPEC, A3CPaperSettings(width=8))
    earned, values = torch.rand(2, 3, 16), torch.rand(2, 16)
    expected = torch.stack([earned[:, m] - values for m in range(3)], 1)
    torch.testing.assert_close(agent.advantage(earned, values), expected)


def test_the_critic_learns_the_loss_and_gives_the_policy_no_gradient() -> None:
    agent = A3CPaper(SPEC, A3CPaperSettings(width=8, masks=2))
    images = torch.randn(3, 1, 16, 16)
    proposal = agent.propose(images, 2)
    earned = torch.rand(3, 2, 16)
    told = agent.loss(images, proposal, Played(proposal.mask, earned, earned.mean(2)))
    values = proposal.kept[1]
    torch.testing.assert_close(told["value loss"], (earned.mean(1) - values).square().mean())
    (gradient,) = torch.autograd.grad(told["policy loss"], values, retain_graph=True, allow_unused=True)
    assert gradient is None
    (gradient,) = torch.autograd.grad(told["loss"], values)
    torch.testing.assert_close(gradient, 2 * (values - earned.mean(1)).detach() / values.numel())


def test_coins_that_were_tossed_are_pushed_by_their_advantage_and_hints_are_not() -> None:
    agent = A3CPaper(SPEC, A3CPaperSettings(width=8, hint_share=0.5))
    images = torch.randn(50, 1, 16, 16)
    proposal = agent.propose(images, 1)
    logits, values, decided, hint = proposal.kept
    assert (decided.sum(2) == 4).all()
    assert (hint.sum(2) == 4).all()
    assert torch.equal(decided | hint, proposal.mask)
    earned = values.detach()[:, None] + 1.0  # everything was better than expected
    loss = agent.loss(images, proposal, Played(proposal.mask, earned, earned.mean(2)))["policy loss"]
    (gradient,) = torch.autograd.grad(loss, logits)
    assert not gradient[hint[:, 0]].any()
    assert bool((gradient[decided[:, 0]] < 0).all())  # what was hidden shall be hidden more often
    assert bool((gradient[~proposal.mask[:, 0]] > 0).all())


def test_hints_take_their_share_of_the_budget_at_random() -> None:
    agent = A3CPaper(SPEC, A3CPaperSettings(width=8, hint_share=0.25))
    logits = torch.zeros(16)
    logits[:8] = 50.0  # eight patches that the policy is sure of
    object.__setattr__(agent, "policy", lambda images: (logits.expand(len(images), -1), logits.expand(len(images), -1)))
    agent._modules.pop("policy")
    hidden = agent.propose(torch.zeros(4_000, 1, 16, 16), 1).mask[:, 0].float()
    assert (hidden.sum(1) == 8).all()
    assert abs(float(hidden[:, :8].sum(1).mean()) - (6 + 2 * 2 / 10)) < 0.1
