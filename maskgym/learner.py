"""What a learner adds to an agent: it proposes masks, and turns what came back into a loss.

The order of images, environments, seeds, clipping, schedule, guarding against NaN, metrics, checkpoints, workers and
devices belong to the trainer in `maskgym.training`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor

from maskgym.agent import Agent
from maskgym.pretrain_hooks import PretrainHooks

Report = Callable[[int, dict[str, float]], None]  # (env steps so far, metrics)


class Proposal(NamedTuple):
    """Masks that a learner wants to see played, M of each image."""

    mask: Tensor  # (I, M, N) bool, True = hidden; float in [0, 1] from a learner that is allowed gradients
    kept: Any = None  # whatever `loss` will need again


class Played(NamedTuple):
    """What came back for a proposal; differentiable in the mask for a learner that is allowed gradients."""

    mask: Tensor  # (I, M, N) what was really hidden: bool, or the float mask that was proposed
    patch_reward: Tensor  # (I, M, N): what each patch brought; the patch loss, unless the game has another reward
    reward: Tensor  # (I, M): its mean


@dataclass(frozen=True)
class Optimization:
    """How the trainer steps a learner's weights: Adam at this rate."""

    lr: float = 1e-3
    """Learning rate at the start."""
    schedule: Literal["cosine", "steps", "constant"] = "cosine"
    """How it falls: to zero along a cosine; by a tenth eight times, as AHM has it; or not at all."""
    clip: float = 1.0
    """Greatest length of a gradient."""


class Learner(Agent):
    """An agent that is trained by playing; `isinstance(agent, Learner)` is how the house asks whether one learns.

    Its settings have `images`, how many an update shows, and `masks`, how many of each are proposed.
    """

    allowed: ClassVar[Literal["rewards", "gradients"]] = "rewards"  # what training may see of the frozen network

    def optimization(self) -> Optimization:
        """Say how the weights are stepped."""
        return Optimization(lr=self.settings.lr)

    def propose(self, images: Tensor, masks: int) -> Proposal:
        """Propose `masks` masks for each of z-scored images (I, C, *size)."""
        raise TypeError(f"learner {type(self).__name__} does not say what it plays: override propose(images, masks)")

    def loss(self, images: Tensor, proposal: Proposal, played: Played) -> dict[str, Tensor]:
        """Turn what came back into `{"loss": a scalar to be minimised}`, and metrics beside it."""
        raise TypeError(f"learner {type(self).__name__} does not say what it minimises: override loss(...)")

    def after_step(self) -> None:
        """Hear that the weights were stepped, so that an average may follow them; on those that all workers share."""


class OwnLoop(Learner):
    """A learner that brings a training loop of its own; it has no workers and cannot be resumed."""

    def learn(self, env: Any, steps: int, report: Report | None = None) -> None:
        """Train for so many env steps against a vector environment."""
        raise TypeError(f"learner {type(self).__name__} has no loop: override learn(env, steps, report)")


def trained_first(kind: type[Agent]) -> bool:
    """Must agents of this kind be trained in an environment before they mask a pre-training?

    Learners that ride on the network being pre-trained learn there.
    """
    return issubclass(kind, Learner) and not issubclass(kind, PretrainHooks)
