import pytest
import torch
from maskgym_agents.pathwise import Pathwise, PathwiseSettings

from maskgym.agent import GameSpec
from maskgym.errors import BadInput
from maskgym.learner import Played
from maskgym.masking.patches import Patches
from maskgym.masking.relax import relax


def test_a_relaxed_mask_hides_k_patches_in_all_and_hardens_to_the_top_k() -> None:
    scores = torch.randn(20, 16)
    for softness in (0.05, 0.5, 5.0):
        soft = relax(scores, 12, softness)
        torch.testing.assert_close(soft.sum(1), torch.full((20,), 12.0), atol=1e-3, rtol=0)
        assert bool(((soft >= 0) & (soft <= 1)).all())
    hard = torch.zeros_like(scores).scatter_(1, scores.topk(12, 1).indices, 1.0)
    assert float((relax(scores, 12, 1e-3) - hard).abs().mean()) < 0.02


def test_the_slope_of_a_relaxed_mask_is_that_of_finite_differences() -> None:
    scores = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 6, dtype=torch.float64)
    (slope,) = torch.autograd.grad((relax(scores, 3, 0.7) * weight).sum(), scores)
    step = 1e-2
    for i in range(6):
        moved = torch.zeros_like(scores)
        moved[:, i] = step
        up, down = ((relax(scores.detach() + sign * moved, 3, 0.7) * weight).sum(1) for sign in (1, -1))
        torch.testing.assert_close(slope[:, i], (up - down) / (2 * step), atol=2e-3, rtol=2e-3)


def test_the_policy_climbs_the_reward_and_the_rate_does_not_depend_on_its_scale() -> None:
    agent = Pathwise(GameSpec(Patches((16, 16), (4, 4)), ratio=0.5), PathwiseSettings(width=8))
    images = torch.randn(4, 1, 16, 16)
    gradients = []
    for scale in (1.0, 1000.0):
        agent.drawn.zero_()
        agent.zero_grad()
        proposal = agent.propose(images, 1)
        reward = scale * (proposal.mask * torch.arange(16.0)).mean(2)
        agent.loss(images, proposal, Played(proposal.mask, proposal.mask, reward))["loss"].backward()
        gradients.append(agent.policy.head.weight.grad.clone())
    torch.testing.assert_close(*gradients)
    assert bool(gradients[0].any())


@pytest.mark.parametrize("settings", [{"softness": 0.0}, {"noise": -1.0}, {"width": 0}])
def test_senseless_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        PathwiseSettings(**settings)  # type: ignore[arg-type]
