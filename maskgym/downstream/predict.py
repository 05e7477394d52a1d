"""From images to label maps: in batches, or by windows that slide over what is too large for the network."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn


def segment(
    network: nn.Module,
    images: np.ndarray,
    window: tuple[int, ...] | None = None,
    batch: int = 16,
    device: str | torch.device = "cpu",
    precision: AbstractContextManager[None] | None = None,
) -> np.ndarray:  # (n, *size) uint8, 0 = background
    """Label images (n, C, *size).

    Args:
        network: gives logits (B, classes, *size).
        images: z-scored.
        window: what the network takes, where it is smaller than the images: windows overlap by half, their middles
            count most.
        batch: images, or windows, at once.
        device: the network's.
        precision: a context to compute in.
    """
    maps = np.empty((len(images), *images.shape[2:]), np.uint8)
    sliding = window is not None and tuple(window) != images.shape[2:]
    step = 1 if sliding else batch
    learning = network.training
    network.eval()
    with torch.no_grad(), precision or nullcontext():
        for start in range(0, len(images), step):
            part = torch.from_numpy(np.array(images[start : start + step])).to(device)
            logits = _slide(network, part, window, batch) if sliding else network(part)
            maps[start : start + step] = logits.argmax(1).to(torch.uint8).cpu().numpy()
    network.train(learning)
    return maps


def _slide(network: nn.Module, images: Tensor, window: tuple[int, ...] | None, batch: int) -> Tensor:
    from monai.inferers import sliding_window_inference

    assert window is not None
    logits = sliding_window_inference(images, window, batch, network, overlap=0.5, mode="gaussian")
    assert isinstance(logits, Tensor)
    return logits
