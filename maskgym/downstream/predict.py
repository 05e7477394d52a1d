"""From cases to label maps on their own grids: image by image, or by windows that slide over the native volume."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from maskgym.data.case import Case
from maskgym.data.cases import Cases
from maskgym.data.view import View

_BATCH = 16  # images, or windows, at once


def predict(
    network: nn.Module,
    cases: Cases,
    size: tuple[int, ...],
    window: bool = False,
    device: str | torch.device = "cpu",
) -> Iterator[tuple[Case, np.ndarray]]:
    """Label cases, one after the other: (*case.shape) uint8, 0 = background; what no image shows is background.

    Args:
        network: gives logits (B, classes, *size).
        cases: what is labelled.
        size: what the network takes.
        window: slide it over all of the case at its own resolution, windows overlapping by half, their middles
            counting most; else bring every image to this size.
        device: the network's.
    """
    learning = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield from (_by_windows if window else _by_images)(network, cases, size, device)
    finally:
        network.train(learning)


def _by_images(
    network: nn.Module, cases: Cases, size: tuple[int, ...], device: str | torch.device
) -> Iterator[tuple[Case, np.ndarray]]:
    view = cases.view(size)
    for group in _groups(cases, view):
        images = [view.load(case, index) for case, indices in group for index in indices]
        shares: list[np.ndarray] = []
        for start in range(0, len(images), _BATCH):
            part = torch.from_numpy(np.stack(images[start : start + _BATCH])).to(device)
            shares += list(network(part).float().softmax(1).cpu().numpy())
        for case, indices in group:
            yield case, _native(view, case, shares[: len(indices)], indices)
            del shares[: len(indices)]


def _groups(cases: Cases, view: View) -> Iterator[list[tuple[Case, list[int]]]]:
    """Take cases together until there are images enough for a batch."""
    group: list[tuple[Case, list[int]]] = []
    for case in cases:
        group.append((case, view.shown(case)[0]))
        if sum(len(indices) for _, indices in group) >= _BATCH:
            yield group
            group = []
    if group:
        yield group


def _native(view: View, case: Case, shares: list[np.ndarray], indices: list[int]) -> np.ndarray:
    """Lay probabilities (K, *size) of some images back on the case's grid."""
    if not indices:
        return np.zeros(case.shape, np.uint8)
    return view.to_native(case, shares, indices)  # type: ignore[arg-type]


def _by_windows(
    network: nn.Module, cases: Cases, size: tuple[int, ...], device: str | torch.device
) -> Iterator[tuple[Case, np.ndarray]]:
    from monai.inferers import sliding_window_inference

    view = cases.view(size)
    for case in cases:
        whole = view.whole(case)
        indices = whole.shown(case)[0]
        shares = []
        for index in indices:
            image = torch.from_numpy(whole.load(case, index))[None].to(device)
            logits = sliding_window_inference(image, size, _BATCH, network, overlap=0.5, mode="gaussian")
            assert isinstance(logits, Tensor)
            shares.append(logits[0].float().softmax(0).cpu().numpy())
        yield case, _native(whole, case, shares, indices)
