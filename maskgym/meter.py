"""Counting what an agent asks of a network: one query an image and forward, two more where it goes back.

A backward pass costs about two forwards: one for the gradients of the activations, one for those of the weights.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, is_grad_enabled, nn


class Meter:
    """Queries asked so far, over all images."""

    def __init__(self) -> None:
        self.total = 0
        self.backward = 0  # those of them that went back, ever: whoever asked for any has seen gradients

    def add(self, queries: int, backward: bool = False) -> None:
        """Count so many more."""
        self.total += queries
        self.backward += queries if backward else 0

    def per_image(self, images: int) -> int:
        """Give the queries an image and start anew; where images were asked for unevenly, their mean rounded up."""
        total, self.total = self.total, 0
        return -(-total // images)


class Metered(nn.Module):
    """A network that counts: the same answers, and nothing of it can be reached without being counted."""

    def __init__(self, network: nn.Module, meter: Meter):
        super().__init__()
        self.network, self.meter = network, meter

    @property
    def soft_masks(self) -> bool:
        """Whether the network takes masks between 0 and 1."""
        return takes_soft_masks(self.network)

    @property
    def predict_loss(self) -> Callable[..., Tensor]:
        """The prediction of a student that has one; of the whole image it is a query, else the student's own pass."""
        predict: Callable[..., Tensor] = self.network.predict_loss  # type: ignore[assignment]

        def counted(images: Tensor, mask: Tensor | None = None) -> Tensor:
            self.meter.add(len(images) if mask is None else 0)
            return predict(images, mask)

        return counted

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """Ask, (B, C, *size) and (B, *grid) -> (B, C, *size)."""
        self.meter.add(len(images))
        answer = self.network(images, mask)
        if is_grad_enabled() and answer.requires_grad:
            answer.register_hook(lambda _: self.meter.add(2 * len(images), backward=True))
        return answer


def takes_soft_masks(network: nn.Module) -> bool:
    """Say whether a network takes masks between 0 and 1; one that drops hidden patches cannot."""
    return bool(getattr(network, "soft_masks", False))
