"""The network that grades images: an encoder, the mean of its deepest features, one linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maskgym.networks.features import Features


class Classifier(Features):
    """A segmenter's encoder that tells grades; its decoder stays as it is and is not asked.

    Args:
        segmenter: whose encoder it is.
        kind: of segmenter.
        outputs: grades.
        size: of the images.
        channels: of the images.
    """

    def __init__(self, segmenter: nn.Module, kind: str, outputs: int, size: tuple[int, ...], channels: int):
        super().__init__(segmenter, kind)
        with torch.no_grad():
            width = super().forward(torch.zeros(1, channels, *size)).shape[1]
        self.norm = nn.BatchNorm1d(width, affine=False)  # instance norms leave means that hardly differ
        self.head = nn.Linear(width, outputs)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Give logits (B, outputs)."""
        return self.head(self.norm(super().forward(*inputs)))
