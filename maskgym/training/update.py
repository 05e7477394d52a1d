"""One update of a learner's weights, guarded against NaN, and the loop that trains a learner in one process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from maskgym.errors import BadInput
from maskgym.learner import Learner, Optimization, OwnLoop, Report
from maskgym.training.rates import cosine
from maskgym.training.rollout import Rollout

TELL_EVERY = 0.5  # seconds between two reports: only then do metrics leave the device
_LOST = 100  # updates that may be skipped in a row
KEYS_A_MASK = 8  # rows of random keys that a proposal may draw for each mask


def make_optimizer(agent: Learner) -> torch.optim.Optimizer:
    """Make Adam over the weights that learn; fused, because it can skip a step without asking the device about it."""
    weights = [weight for weight in agent.parameters() if weight.requires_grad]
    return torch.optim.Adam(weights, lr=agent.optimization().lr, fused=True)


def rate(how: Optimization, done: float) -> float:
    """Say the learning rate after the share `done` of a training."""
    shares = {"cosine": cosine(done), "steps": 0.9 ** int(8 * min(done, 1.0)), "constant": 1.0}
    return how.lr * shares[how.schedule]


def update(
    shared: Learner, local: Learner, optimizer: torch.optim.Optimizer, rollout: Rollout, number: int, done: float
) -> dict[str, Tensor]:
    """Compute update `number` on `local` and step the weights of `shared`; alone, both are the same agent.

    A gradient that is not finite is not stepped, and counted in the metric "skipped". The gradients are cleared where
    they were made: an optimizer's `zero_grad` would forget those of the shared weights and let the local ones add up.

    Args:
        shared: whose weights are trained.
        local: whose copy of them plays.
        optimizer: over the shared weights.
        rollout: the games.
        number: of this update, from 0.
        done: share of the training that is over.
    """
    if local is not shared:
        copy_weights(shared, local)
    local.zero_grad(set_to_none=True)
    how = local.optimization()
    metrics = _backward(local, rollout, number)
    norm = nn.utils.clip_grad_norm_(local.parameters(), how.clip)
    if local is not shared:
        for ours, theirs in zip(local.parameters(), shared.parameters(), strict=True):
            theirs.grad = ours.grad
        with torch.no_grad():
            for seen, kept in zip(local.buffers(), shared.buffers(), strict=True):
                kept.copy_(torch.where(norm.isfinite(), seen, kept))
    for group in optimizer.param_groups:
        group["lr"] = rate(how, done)
    skipped = (~norm.isfinite()).float()
    optimizer.found_inf, optimizer.grad_scale = skipped, None  # type: ignore[attr-defined]
    optimizer.step()
    shared.after_step()
    return metrics | {"gradient norm": norm.detach(), "skipped": skipped}


def _backward(agent: Learner, rollout: Rollout, number: int) -> dict[str, Tensor]:
    """Play one batch of masks and leave the gradients of its loss in the weights."""
    agent.drawn.fill_(number * rollout.num_envs * KEYS_A_MASK)  # all randomness of an update grows from its number
    images = rollout.images(number)
    views = rollout.views(images)
    agent.train()
    with torch.enable_grad(), rollout.autocast():
        proposal = agent.propose(views, rollout.masks)
        if proposal.mask.is_floating_point() and agent.allowed != "gradients":
            raise BadInput(f"learner {agent.name!r} proposes soft masks: only one that is allowed gradients may")
        played = rollout.play(images, proposal, number)
        told = agent.loss(views, proposal, played)
    told["loss"].backward()
    return {"reward": played.reward.detach().mean()} | {name: value.detach() for name, value in told.items()}


def updates(
    agent: Learner, env: Any, steps: int, optimizer: torch.optim.Optimizer, first: int = 0, precision: str = "32"
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Train in this process until `steps` masks have been played; yields the updates done since the very beginning."""
    rollout, number = Rollout(env, agent, precision), first
    while number * rollout.num_envs < steps:
        metrics = update(agent, agent, optimizer, rollout, number, number * rollout.num_envs / steps)
        number += 1
        yield number, metrics


def train(agent: Learner, env: Any, steps: int, report: Report | None = None) -> Learner:
    """Train an agent in this process for so many env steps; `maskgym train` does it with many workers.

    Args:
        agent: made for the environment.
        env: a vector environment made with `gymnasium.make_vec`.
        steps: masks to be played.
        report: hears env steps and metrics now and then, and at the end.
    """
    if not isinstance(agent, Learner):
        raise BadInput(f"agent {getattr(agent, 'name', agent)!r} does not learn: there is nothing to train")
    if isinstance(agent, OwnLoop):
        agent.learn(env, steps, report)
        return agent
    watch, told = SkipWatch(), time.monotonic()
    for number, metrics in updates(agent, env, steps, make_optimizer(agent)):
        done = number * env.num_envs
        watch.add(metrics)
        if done >= steps or time.monotonic() - told > TELL_EVERY:
            told = time.monotonic()
            plain = watch.tell(metrics)
            if report is not None:
                report(done, plain)
    return agent


class SkipWatch:
    """Counts skipped updates where they happen, and refuses to go on where nothing but skipping does."""

    def __init__(self) -> None:
        self._all, self._lost = 0.0, 0  # skipped in all; updates in a row of which none was stepped
        self._since, self._updates = torch.zeros(()), 0  # skipped since the last report, of so many

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Note an update, without asking the device about it."""
        self._since = metrics["skipped"] + self._since.to(metrics["skipped"].device)
        self._updates += 1

    def tell(self, metrics: dict[str, Tensor]) -> dict[str, float]:
        """Bring the metrics of an update to Python, `skipped` as the count since the beginning."""
        skipped = float(self._since)
        self._all += skipped
        self._lost = self._lost + self._updates if skipped == self._updates else 0
        self._since, self._updates = torch.zeros_like(self._since), 0
        if self._lost >= _LOST:
            raise BadInput(
                f"{self._lost} updates in a row had gradients that are not finite and were skipped: lower the learning "
                "rate or check the images with `maskgym data check`"
            )
        return {name: float(value) for name, value in metrics.items()} | {"skipped": self._all}


@torch.no_grad()
def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy parameters and buffers in place."""
    for kept in (nn.Module.parameters, nn.Module.buffers):
        for ours, theirs in zip(kept(source), kept(target), strict=True):
            theirs.copy_(ours)
