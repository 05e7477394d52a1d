"""What an agent offers to be trained update by update, and the loop that trains it in one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from maskgym.errors import BadInput

Report = Callable[[int, dict[str, float]], None]  # (masks so far, figures)


class Learner(Protocol):
    """An agent whose updates can be computed by any number of workers.

    All chance of a turn must grow from the agent's seed and the number of the turn, so that a run that was killed and
    resumed goes on as if nothing had happened.
    """

    def games(self) -> int:
        """Say `num_envs` of the vector environment that each worker plays; the agent chooses the images it shows."""
        ...

    def optimiser(self) -> torch.optim.Optimizer:
        """Make the optimiser over the agent's parameters."""
        ...

    def rate(self, share: float) -> float:
        """Say the learning rate after this share of the training."""
        ...

    def gradients(self, env: Any, turn: int) -> dict[str, Tensor]:
        """Play one batch of masks and leave its gradients, cut to a sane length, in the parameters."""
        ...


def is_learner(agent: Any) -> bool:
    """Whether an agent can be trained update by update; others are trained by their own `learn`."""
    return all(hasattr(agent, name) for name in ("games", "optimiser", "rate", "gradients"))


def train_alone(
    agent: Any,
    env: Any,
    steps: int,
    report: Report | None = None,
    optimiser: torch.optim.Optimizer | None = None,
    turn: int = 0,
) -> int:
    """Train in this process until `steps` masks are paid for; returns the turns played since the very beginning."""
    optimiser = agent.optimiser() if optimiser is None else optimiser
    while turn * env.num_envs < steps:
        figures = update(agent, agent, optimiser, env, turn, turn * env.num_envs / steps)
        turn += 1
        if report is not None:
            report(turn * env.num_envs, numbers(figures))
    return turn


def update(
    shared: Any, local: Any, optimiser: torch.optim.Optimizer, env: Any, turn: int, share: float
) -> dict[str, Tensor]:
    """Compute one update on `local` and step the optimiser of `shared`; alone, both are the same agent.

    The gradients are cleared where they were made: an optimiser's `zero_grad` would forget those of the shared weights
    and let the local ones add up from turn to turn.
    """
    if local is not shared:
        copy_weights(shared, local)
    local.zero_grad(set_to_none=True)
    figures = local.gradients(env, turn)
    if local is not shared:
        for ours, theirs in zip(local.parameters(), shared.parameters(), strict=True):
            theirs.grad = ours.grad
        with torch.no_grad():
            for ours, theirs in zip(local.buffers(), shared.buffers(), strict=True):
                theirs.copy_(ours)
    for group in optimiser.param_groups:
        group["lr"] = local.rate(share)
    optimiser.step()
    return figures


def numbers(figures: dict[str, Tensor]) -> dict[str, float]:
    """Bring figures to Python, and refuse to go on with weights that are lost."""
    plain = {name: float(value) for name, value in figures.items()}
    lost = [name for name, value in plain.items() if value != value or abs(value) == float("inf")]
    if lost:
        raise BadInput(f"{' and '.join(lost)} became NaN or infinite: lower the learning rate or check the images")
    return plain


@torch.no_grad()
def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy parameters and buffers in place."""
    for kept in (nn.Module.parameters, nn.Module.buffers):
        for ours, theirs in zip(kept(source), kept(target), strict=True):
            theirs.copy_(ours)
