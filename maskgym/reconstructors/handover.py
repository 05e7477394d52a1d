"""Handing over what pre-training taught: from a student's weights to those of a segmentation network, key by key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from maskgym.errors import BadInput
from maskgym.reconstructors import store

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Coverage:
    """Which weights of a segmentation network came from where."""

    filled: dict[str, str]  # key of the segmenter -> key it came from
    left: tuple[str, ...]  # keys of the segmenter that keep their random start
    unused: tuple[str, ...]  # keys of the source that went nowhere
    encoder: tuple[str, ...]  # the segmenter's encoder
    share: float  # of the encoder's weights that were filled
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = [f"{self.share:.1%} of the encoder's weights filled ({len(self.filled)} keys)"]
        told += [f"random start: {_families(self.left)}"] if self.left else []
        told += [f"not handed over: {_families(self.unused)}"] if self.unused else []
        return "; ".join([*told, *self.notes])


@dataclass(frozen=True)
class _Kind:
    """A segmentation network: how it is built, which keys are its encoder, which student's weights fit."""

    build: Callable[..., nn.Module]
    encoder: re.Pattern[str]
    source: str  # the student's class
    prefix: tuple[str, str]  # of the student's keys -> of the segmenter's
    settings: Callable[[dict[str, Any]], dict[str, Any]]  # the student's settings -> ours


def _unet(channels: int, outputs: int, size: tuple[int, ...], widths: tuple[int, ...] | None = None) -> nn.Module:
    from maskgym.reconstructors.monai_unet import WIDTHS, unet

    return unet(len(size), channels, outputs, tuple(widths or WIDTHS))


def _basicunet(channels: int, outputs: int, size: tuple[int, ...], widths: tuple[int, ...] | None = None) -> nn.Module:
    from maskgym.reconstructors.monai_unet import WIDTHS, basicunet

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
    from maskgym.reconstructors.stunet import SIZES, STUNetSegmenter

    return STUNetSegmenter(channels, outputs, len(size), tuple(widths or SIZES["stunet-b"][0]), depth)


def _pick(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda settings: {name: settings[name] for name in names}


SEGMENTERS: dict[str, _Kind] = {
    # In MONAI's UNet "model.0" goes down, "model.1.submodule" is the rest, "model.2" comes up again.
    "unet": _Kind(
        _unet,
        re.compile(r"model\.(1\.submodule\.)*(?!2\.|1\.submodule\.)"),
        "MonaiStudent",
        ("net.", ""),
        _pick("widths"),
    ),
    "basicunet": _Kind(_basicunet, re.compile(r"(conv_0|down_\d)\."), "MonaiStudent", ("net.", ""), _pick("widths")),
    "unetr": _Kind(_unetr, re.compile(r"vit\."), "ViTMae", ("vit.", "vit."), _pick("width", "heads", "mlp")),
    "stunet": _Kind(_stunet, re.compile(r"encoder\."), "STUNet", ("encoder.", "encoder."), _pick("widths", "depth")),
}


def make_segmenter(
    kind: str, channels: int, outputs: int, size: tuple[int, ...], settings: dict[str, Any] | None = None
) -> nn.Module:
    """Build a network that gives logits (B, outputs, *size); outputs counts the background.

    >>> import torch
    >>> make_segmenter("unet", 1, 2, (32, 32), {"widths": (4, 8)})(torch.zeros(1, 1, 32, 32)).shape
    torch.Size([1, 2, 32, 32])
    """
    known = _kind(kind)
    try:
        return known.build(channels, outputs, tuple(size), **(settings or {}))
    except TypeError as error:
        raise BadInput(f"network {kind!r} has no such setting ({str(error).rpartition('() ')[2]})") from None


def encoder_keys(kind: str, segmenter: nn.Module) -> tuple[str, ...]:
    """Name the weights of a segmenter's encoder."""
    return tuple(key for key in segmenter.state_dict() if _kind(kind).encoder.match(key))


def settings_of(path: Path, kind: str) -> dict[str, Any]:
    """Give the settings for `make_segmenter` of a network that the student in `path` fits; {} for bare weights."""
    header, _ = _read(path)
    if header is None:
        return {}
    _fits(header, kind, path)
    return _kind(kind).settings(header["settings"])


def load_into(segmenter: nn.Module, kind: str, path: Path, decoder: bool = False) -> Coverage:
    """Fill a segmenter from a pre-training run, a student's file, or weights that `maskgym export` wrote.

    Args:
        segmenter: from `make_segmenter`.
        kind: of segmenter.
        path: a folder or a file.
        decoder: hand the decoder over, too, where the two have one in common (U-Nets).
    """
    header, weights = _read(path)
    if header is not None:
        _fits(header, kind, path)
        weights = _renamed(weights, *_kind(kind).prefix)
    return fill(segmenter, kind, weights, decoder)


def translate(student: nn.Module, kind: str, segmenter: nn.Module, decoder: bool = False) -> tuple[Weights, Coverage]:
    """Give a student's weights under the segmenter's names, and what became of each."""
    weights = _renamed(student.state_dict(), *_kind(kind).prefix)
    coverage = fill(segmenter, kind, weights, decoder)
    return {key: segmenter.state_dict()[key].clone() for key in coverage.filled}, coverage


def fill(segmenter: nn.Module, kind: str, weights: Weights, decoder: bool = False) -> Coverage:
    """Copy weights that go by the segmenter's names into it; positions of another grid are resampled."""
    target, notes = segmenter.state_dict(), []
    encoder = encoder_keys(kind, segmenter)
    wanted = set(target if decoder else encoder)
    filled, unused = {}, []
    for key, value in _monai_names(weights, kind).items():
        source, name = value
        if name in wanted and target[name].shape != source.shape and name.endswith("position_embeddings"):
            source = _resampled(source, segmenter)
            notes.append(f"positions resampled to {target[name].shape[1]} patches")
        if name in wanted and target[name].shape == source.shape:
            target[name].copy_(source)
            filled[name] = key
        else:
            unused.append(key)
    size = {key: target[key].numel() for key in encoder}
    share = sum(size[key] for key in encoder if key in filled) / sum(size.values())
    left = tuple(key for key in target if key not in filled)
    return Coverage(filled, left, tuple(unused), encoder, share, tuple(notes))


def _monai_names(weights: Weights, kind: str) -> dict[str, tuple[Tensor, str]]:
    """Pair weights with names in the segmenter; MONAI's own masked autoencoder calls its last norm `blocks.12`."""
    named = {key: (value, key) for key, value in weights.items()}
    if kind == "unetr":
        for key, value in weights.items():
            bare = key.removeprefix("vit.")
            if match := re.fullmatch(r"blocks\.12\.(weight|bias)", bare):
                named[key] = (value, f"vit.norm.{match[1]}")
            elif not key.startswith("vit.") and bare.startswith(("blocks.", "norm.", "patch_embedding.")):
                named[key] = (value, f"vit.{bare}")
    return named


def _resampled(positions: Tensor, segmenter: nn.Module) -> Tensor:
    """Bring learned positions (1, N, width) of a cubic grid to the segmenter's grid."""
    grid = [int(side) for side in segmenter.feat_size]  # type: ignore[union-attr]
    side = round(positions.shape[1] ** (1 / len(grid)))
    if side ** len(grid) != positions.shape[1]:
        return positions  # of a grid that is no square: nobody knows which
    mode = {2: "bilinear", 3: "trilinear"}[len(grid)]
    cube = positions.mT.reshape(1, -1, *[side] * len(grid))
    return F.interpolate(cube, grid, mode=mode, align_corners=False).flatten(2).mT


def _read(path: Path) -> tuple[dict[str, Any] | None, Weights]:
    """Read weights, and the header if a student wrote them."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise BadInput(f"no weights in {path}: give the folder of a `maskgym pretrain` run or a .safetensors file")
    try:
        with safe_open(file, framework="pt") as opened:
            told = (opened.metadata() or {}).get("maskgym")
            header = json.loads(told) if told else None
            weights = {key: opened.get_tensor(key).float() for key in opened.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise BadInput(f"{file} is damaged or holds no weights ({reason}): copy or train it again") from error
    return (header if header and "kind" in header else None), weights


def _fits(header: dict[str, Any], kind: str, path: Path) -> None:
    known, where = _kind(kind), store.class_of(header["kind"])
    other = header["settings"].get("kind", kind)
    if where != known.source or (where == "MonaiStudent" and other != kind):
        fitting = [name for name, each in SEGMENTERS.items() if each.source == where and other in (name, kind)]
        hint = f"use --network {' or '.join(fitting)}" if fitting else "they are no student's"
        raise BadInput(f"weights in {path} do not fit network {kind!r}: {hint}")


def _kind(kind: str) -> _Kind:
    if kind not in SEGMENTERS:
        near = get_close_matches(kind, SEGMENTERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(SEGMENTERS)}"
        raise BadInput(f"there is no network {kind!r}: {hint}")
    return SEGMENTERS[kind]


def _renamed(weights: Weights, old: str, new: str) -> Weights:
    return {new + key.removeprefix(old) if key.startswith(old) else key: value for key, value in weights.items()}


def _families(keys: tuple[str, ...]) -> str:
    """Tell many keys by their first words."""
    families = sorted({key.split(".")[0] for key in keys})
    return f"{len(keys)} keys ({', '.join(families)})"


def _drop_paths(network: nn.Module, highest: float) -> None:
    """Leave branches of the transformer's blocks out at random, later ones more often; hooks leave the keys alone."""
    from monai.networks.layers import DropPath

    blocks: Any = network.vit.blocks  # type: ignore[union-attr]
    for position, block in enumerate(blocks):
        drop = DropPath(highest * position / max(1, len(blocks) - 1))
        for branch in (block.attn, block.mlp):
            branch.register_forward_hook(lambda module, _, output, drop=drop: drop.train(module.training)(output))
