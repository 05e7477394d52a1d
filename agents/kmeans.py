"""Agents that cluster an image's patches and hide the smaller cluster first: MPS-AMS, and AMLP with its label book."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from maskgym.agent import Agent, GameSpec
from maskgym.errors import BadInput
from maskgym.masking.kmeans import kmeans
from maskgym.pretrain_hooks import PretrainHooks

_UNMET = -1  # the label of a patch of an image that was never clustered
_CHANGED = -log(0.1)  # what the paper's category consistency loss is for a changed label; it has no gradient


@dataclass(frozen=True)
class MpsAmsSettings:
    """Settings of `mps-ams`."""

    similarity: Literal["product", "unscaled", "covariance"] = "product"
    """What is softmaxed: X X^T / D; X X^T; or the covariance matrix, with every patch's mean taken away."""
    restarts: int = 10
    """Restarts of k-means; the best one counts."""


class MpsAms(Agent):
    """Hide the smaller of two clusters first, in the hope that it holds the lesion.

    A patch is described by its softmaxed similarity to all patches of its image, and the rows are clustered in two.
    Inside a cluster patches are as good as each other, as in the paper.
    """

    name = "mps-ams"
    paper = "MPS-AMS"

    Settings = MpsAmsSettings

    def score(self, images: Tensor) -> Tensor:
        """Score 1 in the smaller cluster, 0 in the larger."""
        patches = self.patches.split(images)  # (B, N, D)
        if self.settings.similarity == "covariance":
            patches = patches - patches.mean(-1, keepdim=True)
        scale = 1.0 if self.settings.similarity == "unscaled" else patches.shape[-1]
        rows = (patches @ patches.mT / scale).softmax(-1)  # (B, N, N)
        labels = kmeans(rows, self.draw_keys(len(images), 2 * self.settings.restarts).unflatten(1, (-1, 2))).labels
        return _smaller(labels).float().view(-1, *self.patches.grid)


@dataclass(frozen=True)
class AmlpSettings:
    """Settings of `amlp`."""

    clustering: Literal["kmeans", "hierarchical", "dbscan"] = "kmeans"
    """How patches are clustered; all but k-means need scikit-learn and go image by image."""
    rule: Literal["contrast", "near", "far"] = "contrast"
    """Order inside a cluster: distance to the background's centre less that to the foreground's; nearest to the
    foreground's centre first; or farthest from it first, as the paper's text has it."""
    restarts: int = 10
    """Restarts of k-means; the best one counts."""
    consistency: bool = False
    """In pre-training, add a loss that pulls patch losses towards their labels: the paper's, made differentiable."""
    first: Literal["foreground", "background"] = "foreground"
    """What is hidden first; "background" turns the whole order round, the paper's "easy to hard"."""
    correct: bool = True
    """Correct labels by what patches cost; without it the first clustering stands, the paper's "MPS" alone."""


class Amlp(PretrainHooks, Agent):
    """Hide the foreground, the smaller of two clusters of raw patches, and correct its labels by what patches cost.

    The label book keeps the labels of every image that `sample` met with an index. `observe` corrects those of hidden
    patches: one that cost at least the mean of its image's hidden patches should be foreground, any other background.
    Where the label says so, too, it stays; where it does not, a fair coin decides. Labels change at once and not when
    the epoch is over; that is the same, because an epoch meets an image once.
    """

    name = "amlp"
    paper = "AMLP"
    remembers = True

    Settings = AmlpSettings

    def __init__(self, game_spec: GameSpec, settings: Any = None, seed: int = 0):
        super().__init__(game_spec, settings, seed)
        self.book = torch.empty(0, self.patches.count, dtype=torch.int8, device=game_spec.device)  # (images, N)

    def score(self, images: Tensor) -> Tensor:
        """Cluster the images and score their patches, as if never met before."""
        return self._score(images, self._cluster(images))

    def sample(self, images: Tensor, index: Tensor | None = None) -> Tensor:
        """Score by the labels in the book; images that are not in it yet are clustered and entered."""
        return self.score(images) if index is None else self._score(images, self._labels(images, index))

    def observe(self, images: Tensor, mask: Tensor, patch_loss: Tensor, index: Tensor) -> dict[str, float]:
        """Correct the labels of the patches that were hidden."""
        if not self.settings.correct:
            return {}
        labels, hidden = self._labels(images, index), mask.flatten(1)
        coin = (self.draw_keys(len(images)) & 1).bool()
        disagrees = hidden & (labels != (_excess(patch_loss, mask) >= 0))
        corrected = torch.where(disagrees, coin, labels)
        self.book[index] = corrected.to(torch.int8)
        changed = float((corrected != labels).sum() / hidden.sum())
        return {"labels changed": changed, "category consistency loss": changed * _CHANGED}

    def auxiliary_loss(self, images: Tensor, mask: Tensor, patch_loss: Tensor, index: Tensor) -> Tensor | None:
        """Compare what hidden patches cost with their labels, if `consistency` asks for it."""
        if not self.settings.consistency:
            return None
        hidden = mask.flatten(1)
        target = self._labels(images, index).to(patch_loss.dtype)
        sharp = _excess(patch_loss, mask) / 0.1
        return F.binary_cross_entropy_with_logits(sharp[hidden], target[hidden])

    def get_extra_state(self) -> Tensor:
        """Hand the book over to be saved; its length depends on the images, so it is no ordinary buffer."""
        return self.book

    def set_extra_state(self, state: Tensor) -> None:
        """Take a saved book."""
        self.book = state.to(self.game_spec.device)

    def _labels(self, images: Tensor, index: Tensor) -> Tensor:
        """Look the labels of images up, (B, N) bool, True = foreground, entering those that are new."""
        there, needed = len(self.book), int(index.max()) + 1
        if needed > there:
            self.book = F.pad(self.book, (0, 0, 0, max(needed, 2 * there) - there), value=_UNMET)
        labels = self.book[index]
        unmet = labels[:, :1] == _UNMET
        if bool(unmet.any()):
            labels = torch.where(unmet, self._cluster(images).to(torch.int8), labels)
            self.book[index] = labels
        return labels.bool()

    def _cluster(self, images: Tensor) -> Tensor:
        """Say which patches are foreground, (B, N) bool."""
        patches = self.patches.split(images)
        if self.settings.clustering == "kmeans":
            keys = self.draw_keys(len(images), 2 * self.settings.restarts).unflatten(1, (-1, 2))
            return _smaller(kmeans(patches, keys).labels)
        labels = _by_scikit_learn(patches.cpu().numpy(), self.settings.clustering)
        return torch.from_numpy(labels).to(patches.device)

    def _score(self, images: Tensor, labels: Tensor) -> Tensor:
        """Score foreground between 1 and 3, background between -1 and 1, by the distances to the two centres."""
        patches = self.patches.split(images)
        member = torch.stack([~labels, labels], 1).to(patches.dtype)  # (B, 2, N) background, foreground
        size = member.sum(-1, keepdim=True)
        centres = torch.where(size > 0, member @ patches / size.clamp(min=1), patches.mean(1, keepdim=True))
        far = torch.cdist(patches, centres, compute_mode="donot_use_mm_for_euclid_dist")  # (B, N, 2)
        rules = {"contrast": far[..., 0] - far[..., 1], "near": -far[..., 1], "far": far[..., 1]}
        inside = F.softsign(rules[self.settings.rule])  # in (-1, 1), in the same order
        scores = inside + 2 * labels
        scores = scores if self.settings.first == "foreground" else -scores
        return scores.view(-1, *self.patches.grid)


def _smaller(labels: Tensor) -> Tensor:
    """Say of (B, N) labels 0 and 1 which patches are in the smaller cluster; of equal ones, in that without patch 0."""
    ones, count = labels.sum(1, keepdim=True), labels.shape[1]
    swap = (2 * ones > count) | ((2 * ones == count) & (labels[:, :1] == 1))
    return labels.bool() ^ swap


def _excess(patch_loss: Tensor, mask: Tensor) -> Tensor:
    """Patch loss less the mean over the hidden patches of the same image, (B, N)."""
    loss, hidden = patch_loss.flatten(1), mask.flatten(1)
    return loss - (loss * hidden).sum(1, keepdim=True) / hidden.sum(1, keepdim=True)


def _by_scikit_learn(patches: np.ndarray, clustering: str) -> np.ndarray:
    """Cluster each image of (B, N, D) by itself; all that is not in its largest cluster is foreground, (B, N) bool."""
    try:
        from sklearn.cluster import DBSCAN, AgglomerativeClustering
        from sklearn.neighbors import NearestNeighbors
    except ImportError:
        raise BadInput(
            f"clustering={clustering!r} needs scikit-learn: pip install scikit-learn, or choose kmeans"
        ) from None

    def labels(points: np.ndarray) -> np.ndarray:
        if clustering == "hierarchical":
            return AgglomerativeClustering(2).fit_predict(points)
        fourth = NearestNeighbors(n_neighbors=5).fit(points).kneighbors()[0][:, 3]
        radius = max(float(np.quantile(fourth, 0.9)), 1e-6)  # nine patches in ten lie in a crowd
        return DBSCAN(eps=radius, min_samples=5).fit_predict(points) + 1  # 0 = in no crowd

    found = [labels(points) for points in patches]
    return np.stack([one != np.bincount(one).argmax() for one in found])
