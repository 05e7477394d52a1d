from typing import Any

import pytest
import torch
from maskgym_agents.hpm import Hpm, ranking_loss
from torch import Tensor, nn
from torch.nn import functional as F

from maskgym.agent import GameSpec
from maskgym.masking.patches import Patches
from maskgym.registry import make_agent

SPEC = GameSpec(Patches((32, 32), (8, 8)), ratio=0.5)


def naive(scores: Tensor, loss: Tensor, mask: Tensor) -> Tensor:
    """The double loop over ordered pairs of hidden patches, as the paper writes it, as a mean."""
    terms = []
    for s, cost, hidden in zip(scores.flatten(1), loss.flatten(1), mask.flatten(1), strict=True):
        for i in range(len(s)):
            for j in range(len(s)):
                if i != j and hidden[i] and hidden[j] and cost[i] != cost[j]:
                    target = (cost[i] > cost[j]).to(s.dtype)
                    terms.append(F.binary_cross_entropy_with_logits(s[i] - s[j], target))
    return torch.stack(terms).mean()


def case(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = (torch.randn(3, 4, 4, generator=generator, dtype=torch.float64) * 3).requires_grad_()
    loss = torch.randint(0, 6, (3, 4, 4), generator=generator).double()  # with equal ones
    return scores, loss, torch.rand(3, 4, 4, generator=generator) < 0.6


def test_the_ranking_loss_and_its_gradient_equal_the_double_loop() -> None:
    scores, loss, mask = case()
    ours, theirs = ranking_loss(scores, loss, mask), naive(scores, loss, mask)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, scores)[0], torch.autograd.grad(theirs, scores)[0])


def test_the_losses_that_are_ranked_get_no_gradient() -> None:
    scores, loss, mask = case()
    loss.requires_grad_()
    ranking_loss(scores, loss, mask).backward()
    assert loss.grad is None
    assert scores.grad is not None
    assert not scores.grad[~mask].any()


def test_confident_wrong_pairs_do_not_saturate() -> None:
    wrong = ranking_loss(torch.tensor([[-50.0, 50.0]]), torch.tensor([[2.0, 1.0]]), torch.ones(1, 2, dtype=torch.bool))
    assert float(wrong) == pytest.approx(100.0)


def test_nothing_to_rank_costs_nothing() -> None:
    scores = torch.randn(1, 4, requires_grad=True)
    loss = ranking_loss(scores, torch.ones(1, 4), torch.ones(1, 4, dtype=torch.bool))
    assert float(loss.detach()) == 0.0
    loss.backward()


@pytest.mark.parametrize("trunk", ["conv", "vit"])
def test_the_ranker_learns_which_patches_cost(trunk: str) -> None:
    agent = make_agent("hpm", game_spec=SPEC, trunk=trunk, ema=0.9)
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(16)
    for _ in range(40):
        images = torch.randn(16, 1, 32, 32, generator=generator)
        images *= (torch.rand(16, 1, 4, 4, generator=generator) * 2).repeat_interleave(8, 2).repeat_interleave(8, 3)
        cost = SPEC.patches.mean(images[:, 0].square())
        mask = agent.to_mask(agent.sample(images)).view(16, 4, 4)
        agent.observe(images, mask, cost * mask, index)
    mask = agent.to_mask(agent.score(images))
    best = cost.flatten(1).topk(8).values.sum()
    random = cost.sum() / 2
    assert float(((cost.flatten(1) * mask).sum() - random) / (best - random)) > 0.8


def test_sampling_leaves_a_share_random() -> None:
    images = torch.randn(1, 1, 32, 32).expand(4000, -1, -1, -1)
    agent = make_agent("hpm", game_spec=SPEC, share=0.5)
    often = agent.to_mask(agent.sample(images)).float().mean(0)
    hard = agent.score(images[:1]).flatten().topk(4).indices
    assert often[hard].tolist() == [1.0] * 4
    rest = often[[i for i in range(16) if i not in hard.tolist()]]
    assert rest.tolist() == pytest.approx([4 / 12] * 12, abs=0.05)


def test_the_teacher_follows_slowly() -> None:
    agent = make_agent("hpm", game_spec=SPEC, ema=0.9)
    assert isinstance(agent, Hpm)
    before = [parameter.clone() for parameter in agent.teacher.parameters()]
    agent.observe(
        torch.randn(2, 1, 32, 32), torch.ones(2, 4, 4, dtype=torch.bool), torch.rand(2, 4, 4), torch.arange(2)
    )
    for old, teacher, ranker in zip(before, agent.teacher.parameters(), agent.ranker.parameters(), strict=True):
        torch.testing.assert_close(teacher, 0.9 * old + 0.1 * ranker)
        assert not teacher.requires_grad


class Predictor(nn.Module):
    """A student that predicts its own losses, as in SelfMedHPM's pre-training."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.asked: list[Any] = []

    def predict_loss(self, images: Tensor, mask: Tensor | None) -> Tensor:
        self.asked.append(mask)
        return SPEC.patches.mean(images[:, 0].square()) * self.scale


def test_a_student_that_predicts_its_losses_takes_the_rankers_place() -> None:
    agent = make_agent("hpm", game_spec=SPEC)
    student, teacher = Predictor(1.0), Predictor(-1.0)
    agent.attach(student, teacher)
    images, mask = torch.randn(2, 1, 32, 32), torch.rand(2, 4, 4) < 0.5
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    assert torch.equal(agent.score(images), -SPEC.patches.mean(images[:, 0].square()))
    assert teacher.asked == [None]  # the teacher sees the whole image
    loss = agent.auxiliary_loss(images, mask, torch.rand(2, 4, 4), torch.arange(2))
    assert loss is not None
    loss.backward()
    assert student.asked[0] is mask
    assert student.scale.grad is not None
    assert teacher.scale.grad is None
    assert agent.observe(images, mask, torch.rand(2, 4, 4), torch.arange(2)) == {}
    assert all(torch.equal(value, before[name]) for name, value in agent.state_dict().items())
