"""Training a reconstructor: the whole image's loss under random masks of every ratio, so that none is favoured."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from maskgym.game import Game
from maskgym.masking.layout import convolutions_last
from maskgym.masking.patches import Patches
from maskgym.networks.unet import UNet
from maskgym.training.devices import make_fabric
from maskgym.training.fit import Job, Plan, fit
from maskgym.training.journal import Journal


@dataclass(frozen=True)
class TrainSettings:
    """How a reconstructor is trained."""

    steps: int = 6000
    """Optimiser steps."""
    batch: int = 32
    """Images in an optimiser step."""
    lr: float = 2e-3
    """Peak learning rate of AdamW; a short warm-up before it, a cosine to zero after it."""
    weight_decay: float = 1e-4
    """Weight decay of AdamW."""
    lowest_ratio: float = 0.1
    """The lowest share of patches that is hidden; each image draws its own share."""
    highest_ratio: float = 0.9
    """The highest share of patches that is hidden."""
    widths: tuple[int, ...] = (48, 64, 96)
    """Channels of the U-Net's levels."""
    fold: int = 4
    """Side of the pixel blocks that are folded into channels before the first level."""
    precision: Literal["32", "bf16"] = "32"
    """Precision of the forward and backward pass; bf16 is twice as fast on processors that have it."""
    seed: int = 0
    """Seed of the weights and of all randomness."""
    device: str = "cpu"
    """Where to train: cpu, cuda or cuda:1."""
    save_every: int = 200
    """Steps between two checkpoints."""

    @property
    def plan(self) -> Plan:
        """How the network is fitted."""
        warm_up = min(200 / self.steps, 0.1)
        return Plan(self.steps, self.lr, "cosine", warm_up, 1.0, self.seed, self.save_every)


class Reconstructing(Job):
    """A small U-Net that learns to fill random masks in.

    Args:
        images: (n, C, *size).
        patches: the grid.
        settings: of the training.
        folder: for the journal; none = no journal.
        quiet: print no progress.
    """

    def __init__(
        self,
        images: np.ndarray,
        patches: Patches,
        settings: TrainSettings,
        folder: Path | None = None,
        quiet: bool = False,
    ):
        self.images, self.patches, self.settings, self.folder, self.quiet = images, patches, settings, folder, quiet
        self.fabric: Any = make_fabric(settings.device, settings.precision)
        torch.manual_seed(settings.seed)
        self.network = UNet(images.shape[1], patches.dims, settings.widths, settings.fold)
        convolutions_last(self.network.to(self.fabric.device)).train()
        weights = self.network.parameters()
        self.optimiser = torch.optim.AdamW(
            weights, lr=settings.lr, weight_decay=settings.weight_decay, betas=(0.9, 0.95), fused=True
        )
        self.journal: Journal | None = None

    def begin(self) -> Any:
        """Open the journal."""
        if self.folder is None:
            return super().begin()
        columns, steps = ("seconds", "loss", "learning rate", "waiting"), self.settings.steps
        self.journal = Journal(self.folder, "training", steps, self.done, columns, self.quiet)
        return closing(self.journal)

    def make(self, step: int) -> tuple[Tensor, Tensor]:
        """Draw the images and masks of one step: random images, flips, a ratio for each image, random patches."""
        settings, count = self.settings, self.patches.count
        random = np.random.default_rng((settings.seed, step))
        batch = torch.from_numpy(np.array(self.images[np.sort(random.integers(len(self.images), size=settings.batch))]))
        for axis in range(2, batch.dim()):
            if random.random() < 0.5:
                batch = batch.flip(axis)
        order = torch.from_numpy(random.random((settings.batch, count))).argsort(1).argsort(1)
        ratios = random.uniform(settings.lowest_ratio, settings.highest_ratio, settings.batch)
        hidden = np.clip((ratios * count).astype(np.int64), 1, count - 1)
        return batch, (order < torch.from_numpy(hidden)[:, None]).view(-1, *self.patches.grid)

    def gradients(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Compute the mean squared error of the whole image, and its gradients."""
        images, mask = (part.to(self.fabric.device) for part in batch)
        with self.fabric.autocast():
            loss = Game(self.network, self.patches).evaluate(images, mask).reward.mean()
        self.fabric.backward(loss)
        return loss

    def tell(self, metrics: dict[str, float]) -> None:
        """Write down what the last steps were like."""
        if self.journal is not None:
            self.journal.note(self.done, metrics, {"seconds": round(self.seconds, 2)})
            self.journal.show(self.done, f"loss {metrics['loss']:.4f}")


def train(
    images: np.ndarray, patches: Patches, settings: TrainSettings, folder: Path, quiet: bool = False
) -> UNet | None:
    """Train on images (n, C, *size), going on from the folder's checkpoint; None if it was interrupted."""
    job = Reconstructing(images, patches, settings, folder, quiet)
    finished = fit(job, settings.plan, folder)
    network: Any = job.network
    return network.cpu().eval() if finished else None
