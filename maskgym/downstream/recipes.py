"""Ways to fine-tune: the papers' optimisers and schedules, as a table.

The budget is counted in steps, so that all label shares cost the same. Where a paper counts epochs, its whole training
is laid over the budget: "every 3 of 200 epochs" is every 1.5 % of the steps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import torch
from torch import nn

from maskgym.errors import BadInput
from maskgym.training.fit import Decay


@dataclass(frozen=True)
class Recipe:
    """How a network is fine-tuned."""

    paper: str
    """Where the numbers are from."""
    optimiser: Literal["adam", "adamw", "sgd"]
    """Adam, AdamW, or SGD with Nesterov momentum 0.99."""
    lr: float
    """Peak learning rate."""
    weight_decay: float
    """Weight decay."""
    batch: int
    """Images a step."""
    decay: Decay
    """Cosine to zero, x 0.9 every 3 of 200 epochs (stairs), or (1 - share)^0.9 (poly)."""
    warm_up: float = 0.0
    """Share of the steps in which the learning rate rises linearly."""
    layer_decay: float = 1.0
    """The learning rate of each layer of the encoder over that of the next."""
    drop_path: float = 0.0
    """How often the last branch of a transformer is left out; earlier ones less often."""
    clip: float = 0.0
    """Largest norm of the gradient; 0 = any."""
    augment: Literal["none", "flips", "light", "full"] = "light"
    """What training images go through."""


RECIPES: dict[str, Recipe] = {
    "default": Recipe("ours", "adamw", 1e-3, 1e-4, 8, "cosine", warm_up=0.05, clip=1.0),
    "tunnel": Recipe("ours", "adamw", 2e-3, 0.01, 8, "cosine", warm_up=0.025, augment="flips"),
    "ahm": Recipe("AHM", "adam", 3e-4, 0.0, 4, "stairs"),
    "amlp": Recipe("AMLP", "adamw", 1e-4, 1e-4, 56, "cosine"),
    "mps-ams": Recipe("MPS-AMS", "adam", 2e-4, 1e-4, 32, "cosine", warm_up=0.1),
    "selfmedhpm": Recipe("SelfMedHPM", "adamw", 8e-4, 0.05, 4, "cosine", layer_decay=0.75, drop_path=0.1),
    "anatomask": Recipe("AnatoMask (nnU-Net's defaults)", "sgd", 1e-2, 3e-5, 2, "poly", clip=12.0, augment="full"),
}


def recipe(name: str) -> Recipe:
    """Find a recipe by name.

    >>> recipe("ahm").lr
    0.0003
    """
    if name in RECIPES:
        return RECIPES[name]
    near = get_close_matches(name, RECIPES, n=1)
    raise BadInput(
        f"there is no recipe {name!r}: " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(RECIPES)}")
    )


def optimiser(recipe: Recipe, network: nn.Module, kind: str, lr: float) -> torch.optim.Optimizer:
    """Build the recipe's optimiser; each group's `scale` is its learning rate over that of the last layers.

    Weight decay spares what has one axis, biases and norms, except where the paper's plain Adam decays all.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    deepest = 1 + max(
        (layer for name, _ in network.named_parameters() if (layer := layer_of(kind, _inside(name))) >= 0), default=-1
    )
    for name, weight in network.named_parameters():
        if not weight.requires_grad:
            continue
        layer = layer_of(kind, _inside(name))
        scale = recipe.layer_decay ** (deepest - layer) if layer >= 0 else 1.0
        decay = recipe.weight_decay if weight.dim() > 1 or recipe.optimiser != "adamw" else 0.0
        groups.setdefault((scale, decay), []).append(weight)
    given: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": decay, "scale": scale} for (scale, decay), weights in groups.items()
    ]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(given, lr=lr, momentum=0.99, nesterov=True)
    return (torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam)(given, lr=lr, fused=True)


def _inside(name: str) -> str:
    """The name of a weight in the segmenter that a classifier stands on."""
    return name.removeprefix("network.")


def layer_of(kind: str, name: str) -> int:
    """Say in which layer of the encoder a weight is, from 0; -1 for the decoder and the head.

    >>> layer_of("unetr", "vit.blocks.3.attn.qkv.weight"), layer_of("unetr", "decoder2.conv.weight")
    (4, -1)
    """
    if kind == "unetr":
        if name.startswith("vit.patch_embedding."):
            return 0
        block = re.match(r"vit\.blocks\.(\d+)\.", name)
        return int(block[1]) + 1 if block else -1
    if kind == "small-unet":
        level = re.match(r"(?:down|deep)\.(\d+)\.", name)
        return int(level[1]) + 1 if level else (0 if name.startswith("stem.") else -1)
    if kind == "unet":  # MONAI's nests: 0 goes down, 1.submodule is the rest, 2 comes up again
        inner = re.match(r"model\.((?:1\.submodule\.)*)(?!2\.|1\.submodule\.)", name)
        return inner[1].count("submodule") if inner else -1
    pattern = {
        "basicunet": r"(?:down_(\d)|conv_(0))\.",
        "stunet": r"encoder\.stages\.(\d+)\.",
        "nnunet": r"encoder\.(\d+)\.",
    }[kind]
    found = re.match(pattern, name)
    return int(found[1] or 0) if found else -1
