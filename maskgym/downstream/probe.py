"""What a frozen encoder knows without being taught: a linear head on its features, and how it tells lesion patches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskgym.data.cases import Cases, Frames
from maskgym.dimensions import CONV
from maskgym.masking.patches import Patches
from maskgym.networks.segmenters import stages_of

PROBED = "patch_AUROC"  # what a probe is measured by, beside DSC
_BATCH = 16  # images at once


class Probe(nn.Module):
    """A segmenter's encoder, frozen, and one linear layer on the features of all its stages.

    Args:
        segmenter: whose encoder is probed.
        kind: of segmenter.
        outputs: classes and the background.
        size: of the images.
    """

    def __init__(self, segmenter: nn.Module, kind: str, outputs: int, size: tuple[int, ...]):
        super().__init__()
        self.segmenter, self.size = segmenter.requires_grad_(False).eval(), size
        self._stages = stages_of(kind, segmenter)
        channels: Any = next(iter(segmenter.parameters()))
        with torch.no_grad():
            first = torch.zeros(1, _inputs(segmenter), *size, device=channels.device)
            width = self.features(first).shape[1]
        self.norm = nn.InstanceNorm1d(width)  # stages differ in scale by orders of magnitude
        self.head = CONV[len(size)](width, outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits (B, outputs, *size)."""
        with torch.no_grad():
            features = self.features(images)
            features = self.norm(features.flatten(2)).view_as(features)
        logits = self.head(features)
        return F.interpolate(logits, images.shape[2:], mode="bilinear" if len(self.size) == 2 else "trilinear")

    def features(self, images: Tensor) -> Tensor:
        """Give the features of all stages, (B, F, *size of the finest)."""
        seen: list[Tensor] = []

        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            answer = output[-1] if isinstance(output, tuple | list) else output
            if answer.dim() == 3:  # tokens (B, N, F) of a transformer
                grid = [side // 16 for side in self.size]
                answer = answer.mT.reshape(len(answer), -1, *grid)
            seen.append(answer)

        hooks = [stage.register_forward_hook(note) for stage in self._stages]
        try:
            self.segmenter(images)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([F.interpolate(one, seen[0].shape[2:]) for one in seen], 1)

    def train(self, mode: bool = True) -> Probe:
        """Leave the encoder as it is."""
        super().train(mode)
        self.segmenter.eval()
        return self


def patch_side(size: tuple[int, ...]) -> int:
    """Side of the patches that a probe is asked about: the longest that divides every axis, up to an eighth.

    >>> patch_side((256, 256)), patch_side((64, 48)), patch_side((30, 25))
    (32, 4, 1)
    """
    return max(side for side in range(1, max(1, min(size) // 8) + 1) if math.gcd(*size) % side == 0)


def patch_auroc(network: nn.Module, cases: Cases, size: tuple[int, ...], patch: int, device: Any) -> dict[str, float]:
    """Say how well each class's patches are told from the others: the area under the curve, over all patches.

    A patch is scored by the mean of the class's log-probability over it, and holds the class if any of its pixels does.
    """
    patches, frames = Patches(size, (patch,) * len(size)), Frames(cases, cases.view(size))
    told, there = [], []
    network.eval()
    with torch.no_grad():
        for start in range(0, len(frames), _BATCH):
            rows = range(start, min(start + _BATCH, len(frames)))
            images = torch.from_numpy(np.stack([frames.load(row) for row in rows])).to(device)
            shares = network(images).float().log_softmax(1).cpu()
            labels = torch.from_numpy(np.stack([np.asarray(frames.label(row)) for row in rows]))
            told.append(torch.stack([patches.mean(shares[:, value]) for value in range(shares.shape[1])], -1))
            there.append(torch.stack([patches.any(labels == value) for value in range(shares.shape[1])], -1))
    scores, holds = torch.cat(told).flatten(0, -2).numpy(), torch.cat(there).flatten(0, -2).numpy()
    return {name: auroc(scores[:, value], holds[:, value]) for value, name in enumerate(cases.classes, 1)}


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the curve: how often a positive scores above a negative, ties counting half; NaN without either.

    >>> auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    from scipy.stats import rankdata

    hits = int(positive.sum())
    misses = len(positive) - hits
    if not hits or not misses:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


def _inputs(segmenter: nn.Module) -> int:
    """Channels of the images a segmenter takes."""
    channels = getattr(segmenter, "channels", None)  # of our small U-Net, whose first layer sees folded pixels
    if isinstance(channels, int):
        return channels
    first = next(module for module in segmenter.modules() if isinstance(module, nn.Conv2d | nn.Conv3d))
    return int(first.in_channels)
