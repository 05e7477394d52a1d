from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maskgym.agent import Agent, GameSpec
from maskgym.errors import BadInput
from maskgym.masking.patches import Patches
from maskgym.registry import make_agent

PATCHES = Patches((32, 32), (4, 4))  # 64 patches
SPEC = GameSpec(PATCHES, ratio=0.5)


class Nothing(nn.Module):
    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        return images


def anatomask(network: nn.Module | None = None, **settings: Any) -> Agent:
    agent = make_agent("anatomask", game_spec=SPEC, **settings)
    agent.attach(network or Nothing())
    return agent


def ramp() -> Tensor:
    """An image whose patches cost more from left to right."""
    return torch.linspace(0, 2, 32).expand(1, 1, 32, 32) * torch.tensor([1.0, -1.0]).repeat(16)


def test_share_of_k_is_scored_by_its_loss_and_the_rest_is_random() -> None:
    scores = anatomask(share=0.5).score(ramp()).flatten(1)
    assert int((scores > scores.min()).sum()) == 16  # half of 32
    assert scores.unique(return_counts=True)[1].tolist()[0] == 48  # all others are one below


def test_the_worst_of_the_random_mask_are_taken() -> None:
    all_of_it, worst = anatomask(share=1.0).score(ramp()).flatten(), anatomask(share=0.5).score(ramp()).flatten()
    assert int((all_of_it > all_of_it.min()).sum()) == 32
    assert torch.equal(worst.topk(16).values, all_of_it.topk(16).values)


def test_of_low_significance_are_the_best_rebuilt() -> None:
    class Zero(nn.Module):
        def forward(self, images: Tensor, mask: Tensor) -> Tensor:
            return torch.zeros_like(images)

    images = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))

    def chosen(**settings: Any) -> Tensor:
        scores = anatomask(Zero(), **settings).score(images).flatten()
        return scores > scores.min()

    hidden, worst, best = chosen(share=1.0), chosen(share=0.5), chosen(share=0.5, significance="low")
    assert int(best.sum()) == 16
    assert torch.equal(best, hidden & ~worst)


def test_a_share_of_nothing_is_plain_random_masking() -> None:
    agent = anatomask(share=0.0)
    often = agent.to_mask(agent.score(ramp().expand(2000, -1, -1, -1))).float().mean(0)
    assert often.tolist() == pytest.approx([0.5] * 64, abs=0.06)


def test_the_normalised_target_is_the_one_of_training() -> None:
    class Zero(nn.Module):
        def forward(self, images: Tensor, mask: Tensor) -> Tensor:
            return torch.zeros_like(images)

    images = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 7 + 3
    scores = anatomask(Zero(), share=1.0, target="normalised").score(images)
    cost = scores[scores > scores.min()]
    assert cost.tolist() == pytest.approx([1.0] * len(cost), abs=1e-3)  # variance 1 over all pixels of a patch


def test_a_share_outside_its_range_is_refused() -> None:
    with pytest.raises(BadInput, match=r"share 1\.5 is outside"):
        make_agent("anatomask?share=1.5", game_spec=SPEC)


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(BadInput, match="target=rwa is unknown: choose raw or normalised"):
        make_agent("anatomask?target=rwa", game_spec=SPEC)
