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
    """A segmentation network: how it is built, what its keys mean, which student it takes weights from."""

    build: Callable[..., nn.Module]
    encoder: re.Pattern[str]  # keys of the encoder
    head: re.Pattern[str]  # keys that depend on the classes: always new
    stages: re.Pattern[str]  # modules whose answers are the encoder's features, finest first
    student: str  # the student's class
    settings: tuple[str, ...]  # those of the student that the network shares


def _plain(kind: str) -> Callable[..., nn.Module]:
    def build(channels: int, outputs: int, size: tuple[int, ...], widths: tuple[int, ...] = ()) -> nn.Module:
        from maskgym.networks.unets import BUILDERS, WIDTHS

        return BUILDERS[kind](len(size), channels, outputs, tuple(widths or WIDTHS[kind]))

    return build


def _small_unet(
    channels: int, outputs: int, size: tuple[int, ...], widths: tuple[int, ...] = (48, 64, 96), fold: int = 4
) -> nn.Module:
    from maskgym.networks.unet import UNetSegmenter

    return UNetSegmenter(channels, len(size), tuple(widths), fold, outputs)


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


def _kind(build: Callable[..., nn.Module], keys: tuple[str, str, str], student: str, *settings: str) -> Kind:
    encoder, head, stages = map(re.compile, keys)
    return Kind(build, encoder, head, stages, student, settings)


# In MONAI's UNet "model.0" goes down, "model.1.submodule" is the rest, "model.2" comes up again.
_NEST = r"model\.(1\.submodule\.)*"
SEGMENTERS: dict[str, Kind] = {
    "basicunet": _kind(
        _plain("basicunet"), (r"(conv_0|down_\d)\.", r"final_conv\.", r"conv_0|down_\d"), "UNetStudent", "widths"
    ),
    "unet": _kind(
        _plain("unet"),
        (rf"{_NEST}(?!2\.|1\.submodule\.)", r"model\.2\.", rf"{_NEST}0|model\.1(\.submodule\.1)*\.submodule"),
        "UNetStudent",
        "widths",
    ),
    "nnunet": _kind(_plain("nnunet"), (r"encoder\.", r"head\.", r"encoder\.\d"), "UNetStudent", "widths"),
    "small-unet": _kind(_small_unet, (r"(stem|down|deep)\.", r"head\.", r"stem|deep\.\d"), "UNet", "widths", "fold"),
    "unetr": _kind(_unetr, (r"vit\.", r"out\.", r"vit\.norm"), "ViTMae", "width", "heads", "mlp"),
    "stunet": _kind(_stunet, (r"encoder\.", r"head\.", r"encoder\.stages\.\d\.0"), "STUNet", "widths", "depth"),
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


def stages_of(kind: str, segmenter: nn.Module) -> list[nn.Module]:
    """Give the modules whose answers are the encoder's features, finest first."""
    pattern = kind_of(kind).stages
    found = {name: module for name, module in segmenter.named_modules() if pattern.fullmatch(name)}
    return [found[name] for name in found if not any(other.startswith(f"{name}.") for other in found)]  # innermost


def _drop_paths(network: nn.Module, highest: float) -> None:
    """Leave branches of the transformer's blocks out at random, later ones more often; hooks leave the keys alone."""
    from monai.networks.layers import DropPath

    blocks: Any = network.vit.blocks  # type: ignore[union-attr]
    for position, block in enumerate(blocks):
        drop = DropPath(highest * position / max(1, len(blocks) - 1))
        for branch in (block.attn, block.mlp):
            branch.register_forward_hook(lambda module, _, output, drop=drop: drop.train(module.training)(output))
