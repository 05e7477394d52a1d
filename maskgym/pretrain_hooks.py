"""What an agent adds that rides on the network being pre-trained."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class PretrainHooks:
    """Mixed into an agent, it is told what pre-training does, step by step.

    `attach(student, teacher)` comes first; then, every epoch, `start_epoch`; and every step the agent's `sample`, the
    student's forward, `auxiliary_loss`, the student's step, `observe`.
    """

    remembers: ClassVar[bool] = False  # does it keep something of every image's patches, so that they must not move?

    ranks: ClassVar[bool] = False  # does it teach a student that predicts its own losses to do so?

    def attach(self, student: nn.Module | None, teacher: nn.Module | None = None) -> None:
        """Take the student and, where the method has one, its teacher."""
        super().attach(student, teacher)  # type: ignore[misc]

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Hear that epoch `epoch` (from 1) of `epochs` begins."""

    def auxiliary_loss(self, images: Tensor, mask: Tensor, patch_loss: Tensor, index: Tensor) -> Tensor | None:
        """Add a term to the student's loss; arguments as in `observe`, patch loss differentiable."""
        return None

    def observe(self, images: Tensor, mask: Tensor, patch_loss: Tensor, index: Tensor) -> dict[str, float]:
        """Learn from what a step cost; returns metrics worth plotting.

        Args:
            images: (B, C, *size).
            mask: (B, *grid) bool, True = hidden.
            patch_loss: (B, *grid).
            index: (B,) which images these are.
        """
        return {}
