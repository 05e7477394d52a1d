"""Handing over what pre-training taught: from a student's weights to those of a segmentation network, key by key."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from maskgym.errors import BadInput
from maskgym.files import replacing
from maskgym.networks import store
from maskgym.networks.segmenters import SEGMENTERS, encoder_keys, kind_of

Weights = dict[str, Tensor]
_EXPORTED = "maskgym-export"  # where the file that `maskgym export` writes says what it holds
_UNETR_PATCH, _UNETR_BLOCKS = 16, 12  # MONAI's UNETR has no others


@dataclass(frozen=True)
class Coverage:
    """Which weights of a segmentation network came from where; every key of both sides is in one of the fields."""

    filled: dict[str, str]  # key of the segmenter -> key it came from
    left: tuple[str, ...]  # keys of the segmenter that keep their random start
    unused: tuple[str, ...]  # keys of the source that went nowhere
    misshaped: dict[str, str]  # those of `left` -> those of `unused` that go by their name and have another shape
    encoder: tuple[str, ...]  # the segmenter's encoder
    share: float  # of the encoder's weights that were filled
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = [f"{self.share:.1%} of the encoder's weights filled ({len(self.filled)} keys)"]
        told += [f"random start: {_families(self.left)}"] if self.left else []
        told += [f"not handed over: {_families(self.unused)}"] if self.unused else []
        told += [f"of another shape: {', '.join(self.misshaped)}"] if self.misshaped else []
        return "; ".join([*told, *self.notes])


@dataclass(frozen=True)
class _Source:
    """What a file of weights holds, and what is known about it."""

    weights: Weights
    fits: tuple[str, ...] | None = None  # the networks it is for; None where nobody says
    settings: dict[str, Any] = field(default_factory=dict)  # for `make_segmenter`
    grid: tuple[int, ...] | None = None  # of its learned positions
    patch: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def settings_of(path: Path, kind: str) -> dict[str, Any]:
    """Give the settings for `make_segmenter` of a network that the weights in `path` fit; {} where nobody says."""
    source = _read(path)
    _check_fits(source, kind, path)
    return source.settings


def kind_for(path: Path) -> str:
    """Name the network that the weights in `path` are for."""
    fits = _read(path).fits
    if not fits:
        raise BadInput(f"nobody says which network the weights in {path} are for: give --network")
    return fits[0]


def load_into(segmenter: nn.Module, kind: str, path: Path, decoder: bool = False) -> Coverage:
    """Fill a segmenter from a pre-training run, a student's file, or weights that `maskgym export` wrote.

    Args:
        segmenter: from `make_segmenter`.
        kind: of segmenter.
        path: a folder or a file.
        decoder: hand the decoder over, too, where the two have one in common (U-Nets).
    """
    source = _read(path)
    _check_fits(source, kind, path)
    return _fill(segmenter, kind, source, decoder)


def translate(student: nn.Module, kind: str, segmenter: nn.Module, decoder: bool = False) -> tuple[Weights, Coverage]:
    """Give a student's weights under the segmenter's names, and what became of each; the segmenter is filled."""
    settings: Any = student.settings
    source = _of_student(type(student).__name__, settings, student.state_dict())
    _check_fits(source, kind, "this student")
    coverage = _fill(segmenter, kind, source, decoder)
    there = segmenter.state_dict()
    return {key: there[key].clone() for key in coverage.filled}, coverage


def fill(segmenter: nn.Module, kind: str, weights: Weights, decoder: bool = False) -> Coverage:
    """Copy weights into a segmenter: under its own names, a student's, or those of MONAI's masked autoencoder."""
    return _fill(segmenter, kind, _Source(weights), decoder)


def export(path: Path, kind: str, segmenter: nn.Module, out: Path, decoder: bool = False) -> tuple[Weights, Coverage]:
    """Fill a segmenter from `path` and write what it got under its names, the file whole or not at all."""
    from safetensors.torch import save_file

    coverage = load_into(segmenter, kind, path, decoder)
    there = segmenter.state_dict()
    weights = {key: there[key].contiguous().clone() for key in coverage.filled}
    told: dict[str, Any] = {"network": kind, "settings": settings_of(path, kind)}
    if kind == "unetr":
        told["grid"] = [int(side) for side in segmenter.feat_size]  # type: ignore[union-attr]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as draft:
            save_file(weights, draft, metadata={"format": "pt", _EXPORTED: json.dumps(told, sort_keys=True)})
            draft.chmod(0o644)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:80]
        raise BadInput(f"cannot write {out} ({reason}): choose another --out") from None
    return weights, coverage


def _fill(segmenter: nn.Module, kind: str, source: _Source, decoder: bool) -> Coverage:
    target, notes = segmenter.state_dict(), list(source.notes)
    encoder = encoder_keys(kind, segmenter)
    wanted = {key for key in target if not kind_of(kind).head.match(key)} if decoder else set(encoder)
    filled: dict[str, str] = {}
    misshaped: dict[str, str] = {}
    unused = []
    for key, value in source.weights.items():
        name = _named(key, kind)
        if name in wanted and name.endswith("position_embeddings"):
            value, note = _resampled(value, source.grid, segmenter)
            notes += note
        if name in wanted and name not in filled and target[name].shape == value.shape:
            target[name].copy_(value)
            filled[name] = key
            continue
        unused.append(key)
        if name in wanted and name not in filled:
            misshaped[name] = key
    size = {key: target[key].numel() for key in encoder}
    share = sum(size[key] for key in encoder if key in filled) / sum(size.values())
    left = tuple(key for key in target if key not in filled)
    return Coverage(filled, left, tuple(unused), misshaped, encoder, share, tuple(notes))


def _named(key: str, kind: str) -> str:
    """Say what the segmenter calls a weight of the source."""
    if kind != "unetr":
        return key.removeprefix("net.")  # so begin those of our U-Nets
    bare = key.removeprefix("vit.")
    if match := re.fullmatch(rf"blocks\.{_UNETR_BLOCKS}\.(weight|bias)", bare):
        return f"vit.norm.{match[1]}"  # MONAI's masked autoencoder counts its last norm among the blocks
    return f"vit.{bare}" if bare.startswith(("blocks.", "norm.", "patch_embedding.")) else key


def _resampled(positions: Tensor, grid: tuple[int, ...] | None, segmenter: nn.Module) -> tuple[Tensor, list[str]]:
    """Bring learned positions (1, N, width) of a grid to the segmenter's; where nobody says which grid, of a cube."""
    wanted = tuple(int(side) for side in segmenter.feat_size)  # type: ignore[union-attr]
    count, axes = positions.shape[1], len(wanted)
    if grid is None:
        grid = wanted if count == prod(wanted) else (round(count ** (1 / axes)),) * axes
    if grid == wanted or len(grid) != axes or prod(grid) != count:
        return positions, []
    mode = {2: "bilinear", 3: "trilinear"}[axes]
    cells = positions.mT.reshape(1, -1, *grid)
    there = F.interpolate(cells, wanted, mode=mode, align_corners=False).flatten(2).mT
    return there, [f"positions resampled from {_by(grid)} to {_by(wanted)} patches"]


def _read(path: Path) -> _Source:
    """Read weights, and what a student or an export says of itself."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise BadInput(f"no weights in {path}: give the folder of a `maskgym pretrain` run or a .safetensors file")
    try:
        with safe_open(file, framework="pt") as opened:
            told = opened.metadata() or {}
            weights = {key: opened.get_tensor(key).float() for key in opened.keys()}  # noqa: SIM118 (not a dict)
        if "maskgym" in told:
            header = json.loads(told["maskgym"])
            return _of_student(store.class_of(header["kind"]), header["settings"], weights)
        if _EXPORTED in told:
            header = json.loads(told[_EXPORTED])
            grid = tuple(header["grid"]) if "grid" in header else None
            return _Source(weights, (header["network"],), header["settings"], grid)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise BadInput(f"{file} is damaged or holds no weights ({reason}): copy or train it again") from error
    return _Source(weights)


def _of_student(which: str, settings: dict[str, Any], weights: Weights) -> _Source:
    """Say which networks a student of this class and these settings is for."""
    fits = tuple(
        name for name, kind in SEGMENTERS.items() if kind.student == which and settings.get("kind", name) == name
    )
    shared = {name: settings[name] for name in (SEGMENTERS[fits[0]].settings if fits else ())}
    if which != "ViTMae":
        return _Source(weights, fits, shared)
    patch = tuple(settings["patch"])
    grid = tuple(side // step for side, step in zip(settings["size"], patch, strict=True))
    depth = settings["depth"]
    notes = () if depth == _UNETR_BLOCKS else (f"the student has {depth} blocks, UNETR has {_UNETR_BLOCKS}",)
    return _Source(weights, fits, shared, grid, patch, notes)


def _check_fits(source: _Source, kind: str, path: Path | str) -> None:
    kind_of(kind)
    if source.fits is not None and kind not in source.fits:
        hint = f"they are for {' or '.join(source.fits)}" if source.fits else "they are no student's"
        raise BadInput(f"weights in {path} do not fit network {kind!r}: {hint}")
    if source.patch and any(side != _UNETR_PATCH for side in source.patch):
        raise BadInput(
            f"weights in {path} are of patches of {_by(source.patch)}, and UNETR cuts patches of {_UNETR_PATCH}: "
            f"pre-train with --patch-size {_UNETR_PATCH}"
        )


def _by(sides: tuple[int, ...]) -> str:
    return "x".join(map(str, sides))


def _families(keys: tuple[str, ...]) -> str:
    """Tell many keys by their first words."""
    families = sorted({key.removeprefix("net.").split(".")[0] for key in keys})
    return f"{len(keys)} keys ({', '.join(families)})"
