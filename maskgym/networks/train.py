"""Training a reconstructor: whole-image loss under random masks of every ratio, so that reward means the same at each.

All chance of step s is drawn from (seed, s), so a run that was killed and resumed ends with the weights of one that was
not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maskgym import checkpoint
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking import rng
from maskgym.masking.layout import channels_last
from maskgym.masking.patches import Patches
from maskgym.masking.select import budget, select
from maskgym.networks import baselines
from maskgym.networks.frozen import freeze


@dataclass(frozen=True)
class TrainSettings:
    """How a reconstructor is trained."""

    steps: int = 6000
    """Optimiser steps."""
    batch: int = 32
    """Images a step."""
    lr: float = 2e-3
    """Peak learning rate of AdamW; a short warm-up before it, a cosine to zero after it."""
    weight_decay: float = 1e-4
    """Weight decay of AdamW."""
    lowest_ratio: float = 0.1
    """The lowest share of patches that is hidden; each image draws its own share."""
    highest_ratio: float = 0.9
    """The highest share."""
    widths: tuple[int, ...] = (48, 64, 96)
    """Channels of the U-Net's levels."""
    fold: int = 4
    """Side of the pixel blocks that are folded into channels before the first level."""
    precision: str = "32"
    """Of the forward and backward pass: 32, or bf16, twice as fast on processors that have it."""
    seed: int = 0
    """Of the weights and of all chance."""
    device: str = "cpu"
    """Where to train."""


Report = Callable[[int, float], None]  # (steps done, loss)


def train(
    images: np.ndarray,
    patches: Patches,
    settings: TrainSettings,
    folder: Path,
    report: Report | None = None,
    save_every: int = 200,
) -> nn.Module:
    """Train on images (n, C, *size), going on from the folder's checkpoint if there is one; returns the network."""
    from maskgym.networks.unet import UNet

    if settings.precision not in ("32", "bf16"):
        raise BadInput(f"unknown precision {settings.precision!r}: choose 32 or bf16")
    device = torch.device(settings.device)
    torch.manual_seed(settings.seed)
    network = UNet(images.shape[1], patches.dims, settings.widths, settings.fold).to(device)
    for weight in network.parameters():
        weight.data = channels_last(weight.data) if weight.dim() > 2 else weight.data
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, betas=(0.9, 0.95), fused=True
    )
    first = _resume(folder, settings, network, optimiser)
    writer = _board(folder) if first < settings.steps else None
    network.train()
    for step in range(first, settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.lr * _share_of_peak(step, settings.steps)
        batch, mask = _draw(images, patches, settings, step)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            loss = Game(network, patches).evaluate(batch.to(device), mask.to(device)).reward.mean()
        if not bool(loss.isfinite()):
            raise BadInput(f"the loss is {loss.item()} at step {step}: lower lr {settings.lr} or check the images")
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        done = step + 1
        if done % 20 == 0 or done == settings.steps:
            assert writer is not None
            writer.add_scalar("loss", loss.item(), done)
            writer.add_scalar("learning rate", optimiser.param_groups[0]["lr"], done)
            if report is not None:
                report(done, loss.item())
        if done % save_every == 0 or done == settings.steps:
            _save(folder, settings, network, optimiser, done)
    if writer is not None:
        writer.close()
    return network.eval()


def held_out(network: nn.Module, images: Tensor, patches: Patches, ratio: float, seed: int = 0) -> dict[str, float]:
    """Mean squared error on the hidden pixels of images (n, C, *size): the network's and that of both baselines."""
    keys = rng.keys(torch.arange(len(images)) + (seed << 32), patches.count)
    mask = select(keys, budget(ratio, patches.count), keys).view(-1, *patches.grid)
    hidden = mask.float().mean()
    game = Game(freeze(network).cpu(), patches, ratio, piece=16)
    errors = {}
    with torch.no_grad():
        errors["network"] = float((game.evaluate(images, mask).patch_loss * mask).mean() / hidden)
        for name, fill in (("patch mean", baselines.patch_mean), ("blurred", baselines.blurred)):
            error = (fill(images, mask, patches) - images).square().mean(1)
            errors[name] = float((patches.mean(error) * mask).mean() / hidden)
    return errors


def _draw(images: np.ndarray, patches: Patches, settings: TrainSettings, step: int) -> tuple[Tensor, Tensor]:
    """The images and masks of one step: random images, flips, a ratio for each image, random patches."""
    random = np.random.default_rng((settings.seed, step))
    batch = torch.from_numpy(images[np.sort(random.integers(len(images), size=settings.batch))])
    for axis in range(2, batch.dim()):
        if random.random() < 0.5:
            batch = batch.flip(axis)
    order = torch.from_numpy(random.random((settings.batch, patches.count))).argsort(1).argsort(1)
    ratios = random.uniform(settings.lowest_ratio, settings.highest_ratio, settings.batch)
    counts = np.clip((ratios * patches.count).astype(np.int64), 1, patches.count - 1)
    mask = order < torch.from_numpy(counts)[:, None]
    return batch, mask.view(-1, *patches.grid)


def _share_of_peak(step: int, steps: int) -> float:
    warm = max(1, min(200, steps // 10))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + cos(pi * (step - warm) / max(1, steps - warm)))


def _save(folder: Path, settings: TrainSettings, network: nn.Module, optimiser: Any, step: int) -> None:
    state = {
        "settings": json.dumps(asdict(settings)),
        "step": step,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    checkpoint.write(folder, state)


def _resume(folder: Path, settings: TrainSettings, network: nn.Module, optimiser: Any) -> int:
    """Load the folder's checkpoint if it has one made with the same settings; returns the steps already done."""
    done = []

    def take(state: dict[str, Any]) -> None:
        then, now = json.loads(state["settings"]), json.loads(json.dumps(asdict(settings)))
        if differ := [f"{key} was {then.get(key)!r}, is {now[key]!r}" for key in now if then.get(key) != now[key]]:
            raise BadInput(f"{folder} holds a run with other settings ({'; '.join(differ)}): choose another --out")
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        done.append(int(state["step"]))

    checkpoint.read(folder, settings.device, take)
    return done[0] if done else 0


def _board(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))
