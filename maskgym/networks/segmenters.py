"""The segmentation networks that pre-trained weights are for, by name, and which of their weights are the encoder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import nn

from maskgym.errors import BadInput


@dataclass(frozen=True)
class Kind:
    """A segmentation network: how it is built, which keys are its encoder, which student it takes weights from."""

    build: Callable[..., nn.Module]
    encoder: re.Pattern[str]
    student: str  # the student's class
    settings: tuple[str, ...]  # those of the student that the network shares


def _unet(channels: int, outputs: int, size: tuple[int, ...], widths: tuple[int, ...] | None = None) -> nn.Module:
    from maskgym.networks.monai_unet import WIDTHS, unet

    return unet(len(size), channels, outputs, tuple(widths or WIDTHS))


def _basicunet(channels: int, outputs: int, size: tuple[int, ...], widths: tuple[int, ...] | None = None) -> nn.Module:
    from maskgym.networks.monai_unet import WIDTHS, basicunet

    return basicunet(len(size), channels, outputs, tuple(widths or WIDTHS))


def _unetr(
    channels: int,
    outputs: int,
    size: tuple[int, ...],
    width: int = 192,
    heads: int = 6,
    mlp: int = 0,
    features: int = 16,
    drop_path: float = 0.0,
) -> nn.Module:
    from monai.networks.nets import UNETR

    if any(side % 16 for side in size):
        raise BadInput(f"UNETR cuts patches of 16: image size {size} must be a multiple of it on every axis")
    network = UNETR(channels, outputs, size, features, width, mlp or 4 * width, heads, spatial_dims=len(size))
    if drop_path:
        _drop_paths(network, drop_path)
    return network


def _stunet(
    channels: int, outputs: int, size: tuple[int, ...], widths: tuple[int, ...] | None = None, depth: int = 1
) -> nn.Module:
    from maskgym.networks.stunet import SIZES, STUNetSegmenter

    return STUNetSegmenter(channels, outputs, len(size), tuple(widths or SIZES["stunet-b"][0]), depth)


SEGMENTERS: dict[str, Kind] = {
    # In MONAI's UNet "model.0" goes down, "model.1.submodule" is the rest, "model.2" comes up again.
    "unet": Kind(_unet, re.compile(r"model\.(1\.submodule\.)*(?!2\.|1\.submodule\.)"), "MonaiStudent", ("widths",)),
    "basicunet": Kind(_basicunet, re.compile(r"(conv_0|down_\d)\."), "MonaiStudent", ("widths",)),
    "unetr": Kind(_unetr, re.compile(r"vit\."), "ViTMae", ("width", "heads", "mlp")),
    "stunet": Kind(_stunet, re.compile(r"encoder\."), "STUNet", ("widths", "depth")),
}


def kind_of(name: str) -> Kind:
    """Find a segmentation network by name."""
    if name not in SEGMENTERS:
        near = get_close_matches(name, SEGMENTERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(SEGMENTERS)}"
        raise BadInput(f"there is no network {name!r}: {hint}")
    return SEGMENTERS[name]


def make_segmenter(
    kind: str, channels: int, outputs: int, size: tuple[int, ...], settings: dict[str, Any] | None = None
) -> nn.Module:
    """Build a network that gives logits (B, outputs, *size); outputs counts the background.

    >>> import torch
    >>> make_segmenter("unet", 1, 2, (32, 32), {"widths": (4, 8)})(torch.zeros(1, 1, 32, 32)).shape
    torch.Size([1, 2, 32, 32])
    """
    known = kind_of(kind)
    try:
        return known.build(channels, outputs, tuple(size), **(settings or {}))
    except TypeError as error:
        raise BadInput(f"network {kind!r} has no such setting ({str(error).rpartition('() ')[2]})") from None


def encoder_keys(kind: str, segmenter: nn.Module) -> tuple[str, ...]:
    """Name the weights of a segmenter's encoder."""
    return tuple(key for key in segmenter.state_dict() if kind_of(kind).encoder.match(key))


def _drop_paths(network: nn.Module, highest: float) -> None:
    """Leave branches of the transformer's blocks out at random, later ones more often; hooks leave the keys alone."""
    from monai.networks.layers import DropPath

    blocks: Any = network.vit.blocks  # type: ignore[union-attr]
    for position, block in enumerate(blocks):
        drop = DropPath(highest * position / max(1, len(blocks) - 1))
        for branch in (block.attn, block.mlp):
            branch.register_forward_hook(lambda module, _, output, drop=drop: drop.train(module.training)(output))
