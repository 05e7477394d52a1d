"""k-means for many images and many restarts at once, on their Gram matrices.

A centre is a mean of points, so every distance Lloyd's algorithm needs is a sum of inner products. With N patches of D
numbers, the D numbers are touched once, for the (N, N) Gram matrix; after that a step costs one small matrix product
for all restarts of all images together.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Clusters(NamedTuple):
    """The best of the restarts of each image."""

    labels: Tensor  # (B, N) int64 in [0, clusters)
    inertia: Tensor  # (B,) sum of squared distances to the nearest centre


def kmeans(points: Tensor, keys: Tensor, iterations: int = 100) -> Clusters:
    """Cluster each sample of (B, N, D) points by itself.

    Every restart begins by k-means++ and runs until no label changes; the lowest inertia wins. A cluster that runs
    empty is given the point farthest from its centre, so it stays empty only where points are too few or too equal.

    Args:
        points: (B, N, D), floating.
        keys: (B, restarts, k) int64 random keys (see `masking.rng`), the only source of randomness.
        iterations: at most so many steps.
    """
    clusters = keys.shape[2]
    points = points - points.mean(1, keepdim=True)  # smaller numbers, sharper differences
    gram = points @ points.mT  # (B, N, N)
    square = gram.diagonal(dim1=1, dim2=2)  # (B, N) squared lengths
    labels = _first_labels(gram, square, keys)  # (B, R, N)
    for _ in range(iterations):
        size, own, far = _measure(gram, labels, clusters)
        moved, nearest = _nearest(far)
        if not bool(size.all()):
            moved = _refilled(moved, nearest, square, size[..., 0] == 0)
        if torch.equal(moved, labels):
            break
        labels = moved
    size, own, _ = _measure(gram, labels, clusters)
    inertia = square.sum(1, keepdim=True) - (own / size.clamp(min=1)).sum((2, 3))  # (B, R)
    best = inertia.argmin(1, keepdim=True)
    labels = labels.gather(1, best[..., None].expand(-1, -1, labels.shape[2]))[:, 0]
    return Clusters(labels, inertia.gather(1, best)[:, 0])


def _first_labels(gram: Tensor, square: Tensor, keys: Tensor) -> Tensor:
    """Draw first centres by k-means++, each by the squared distance to those before it, and label by the nearest."""
    restarts, clusters = keys.shape[1:]
    part = keys.to(torch.float64) / 2**63  # (B, R, k) in [0, 1)
    count = gram.shape[1]
    weight = torch.ones(gram.shape[0], restarts, count, dtype=torch.float64, device=gram.device)
    nearest, labels = torch.full_like(weight, torch.inf), torch.zeros_like(weight, dtype=torch.int64)
    for cluster in range(clusters):
        heap = weight.cumsum(-1)
        drawn = part[..., cluster, None] * heap[..., -1:]
        picked = torch.searchsorted(heap, drawn, right=True).clamp_(max=count - 1)  # (B, R, 1)
        row = gram.gather(1, picked.expand(-1, -1, count))  # (B, R, N) inner products with the picked point
        far = (square[:, None] - 2 * row + square.gather(1, picked[..., 0])[..., None]).clamp_(min=0).to(torch.float64)
        labels = torch.where(far < nearest, cluster, labels)
        nearest = torch.minimum(nearest, far)
        weight = nearest
    return labels


def _measure(gram: Tensor, labels: Tensor, clusters: int) -> tuple[Tensor, Tensor, Tensor]:
    """Measure the clusters that (B, R, N) labels make.

    Returns:
        their sizes (B, R, k, 1); the squared lengths of their sums (B, R, k, 1); the squared distance of every point to
        every centre less the point's own squared length (B, R, k, N), infinite where a cluster is empty.
    """
    names = torch.arange(clusters, device=labels.device)[:, None]
    held = (labels[:, :, None] == names).to(gram.dtype)  # (B, R, k, N)
    cross = (held[:, :, :-1].flatten(1, 2) @ gram).unflatten(1, (-1, clusters - 1))  # their sums times every point
    cross = torch.cat([cross, -cross.sum(2, keepdim=True)], 2)  # points are centred: the sums of all clusters cancel
    size, own = held.sum(-1, keepdim=True), (cross * held).sum(-1, keepdim=True)
    some = size.clamp(min=1)
    offset = torch.where(size > 0, own / some.square(), torch.inf)
    return size, own, torch.addcmul(offset, cross, -2 / some)


def _nearest(far: Tensor) -> tuple[Tensor, Tensor]:
    """Label (B, R, k, N) distances by the nearest centre; a loop over few clusters beats argmin along a short axis."""
    nearest = far[:, :, 0]
    labels = torch.zeros_like(nearest, dtype=torch.int64)
    for cluster in range(1, far.shape[2]):
        closer = far[:, :, cluster] < nearest
        labels = labels.masked_fill(closer, cluster)
        nearest = torch.minimum(nearest, far[:, :, cluster])
    return labels, nearest


def _refilled(labels: Tensor, nearest: Tensor, square: Tensor, empty: Tensor) -> Tensor:
    """Give each cluster that is empty (B, R, k) the point farthest from its centre, another one for each."""
    clusters = empty.shape[-1]
    place = (empty.cumsum(-1) - 1).clamp(min=0)  # the first empty cluster takes the farthest point, and so on
    distance, point = (part.gather(-1, place) for part in (nearest + square[:, None]).topk(clusters, dim=-1))
    worth = empty & (distance > 1e-5 * square.amax(1)[:, None, None])  # a point on its centre would only go back
    taken = F.one_hot(point, labels.shape[-1]).bool() & worth[..., None]  # (B, R, k, N)
    return torch.where(taken.any(2), taken.to(torch.int64).argmax(2), labels)
