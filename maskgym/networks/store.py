"""Saving and loading reconstructors: safetensors, the settings as JSON beside the weights, strict and without pickle.

A reconstructor is any `nn.Module` called as `network(images, mask) -> images`: (B, C, *size) with hidden patches
filled, the mask (B, *grid) bool, True = hidden, giving (B, C, *size). Those in `_CLASSES` can be saved and loaded.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import nn

from maskgym.errors import BadInput
from maskgym.files import replacing

_CLASSES = {
    "unet": "maskgym.networks.unet:UNet",
    "plain-unet": "maskgym.networks.unets:UNetStudent",
    "vit-mae": "maskgym.networks.vit_mae:ViTMae",
    "stunet": "maskgym.networks.stunet:STUNet",
}
BUNDLED = Path(__file__).parent / "bundled"


def bundled() -> list[str]:
    """Name the reconstructors that ship with the package."""
    return sorted(path.stem for path in BUNDLED.glob("*.safetensors"))


def locate(name: str) -> Path:
    """Find a reconstructor by its bundled name, its file, or the folder that `maskgym reconstructor train` wrote."""
    if name in bundled():
        return BUNDLED / f"{name}.safetensors"
    path = Path(name).expanduser()
    path = path / "model.safetensors" if path.is_dir() else path
    if path.is_file():
        return path
    near = get_close_matches(name, bundled(), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"bundled are {', '.join(bundled())}"
    raise BadInput(f"unknown reconstructor {name!r}: give a .safetensors file or a bundled name; {hint}")


def early(name: str) -> str | None:
    """Find the early snapshot that lies beside a network: NAME-early of a bundled one, early.safetensors of a run."""
    if f"{name}-early" in bundled():
        return f"{name}-early"
    path = Path(name).expanduser() / "early.safetensors"
    return str(path) if path.is_file() else None


def class_of(kind: str) -> str:
    """Name the class that weights saved as `kind` are of."""
    return _CLASSES.get(kind, "").rpartition(":")[2]


def save(network: nn.Module, path: Path, about: dict[str, Any], half: bool = False) -> None:
    """Write the network whole or not at all; `about` says where it came from (data set, loss, settings)."""
    from safetensors.torch import save_file

    kind = next(name for name, where in _CLASSES.items() if where.endswith(f":{type(network).__name__}"))
    header = {"maskgym": json.dumps({"kind": kind, "settings": network.settings, "about": about}, sort_keys=True)}
    weights = {
        name: (value.half() if half and value.is_floating_point() else value).contiguous().cpu()
        for name, value in network.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as draft:
            save_file(weights, draft, metadata=header)
            draft.chmod(0o644)
    except OSError as error:
        raise BadInput(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another folder"
        ) from error


def load(name: str, channels: int, dims: int) -> tuple[nn.Module, dict[str, Any]]:
    """Load a reconstructor for images of so many channels and axes, and what is known about it."""
    from safetensors import SafetensorError, safe_open

    path = locate(name)
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["maskgym"])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        where, _, attribute = _CLASSES[header["kind"]].partition(":")
        network: nn.Module = getattr(importlib.import_module(where), attribute)(**_tuples(header["settings"]))
        network.load_state_dict({key: _full(value) for key, value in weights.items()}, strict=True)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, OSError) as error:
        raise BadInput(_damaged(path, error)) from error
    if not all(bool(value.isfinite().all()) for value in network.state_dict().values() if value.is_floating_point()):
        raise BadInput(f"{path} holds weights that are not finite: train or copy it again")
    _check_fit(name, "axes", header["settings"]["dims"], dims)
    _check_fit(name, "channels", header["settings"]["channels"], channels)
    return network, header["about"]


def check_axes(name: str, dims: int) -> None:
    """Refuse a reconstructor for images of other axes by its header alone, before any image is made."""
    _check_fit(name, "axes", header(locate(name)).get("settings", {}).get("dims", dims), dims)


def _check_fit(name: str, what: str, has: int, wants: int) -> None:
    if has != wants:
        raise BadInput(
            f"reconstructor {name!r} is for images of {has} {what}, these have {wants}: "
            "train one for them with `maskgym reconstructor train`"
        )


def header(path: Path) -> dict[str, Any]:
    """Read what is told of a network in its file: kind, settings, about."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads((file.metadata() or {})["maskgym"]))
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise BadInput(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return f"{path} is no reconstructor of ours or is damaged ({reason}): train or copy it again"


def fingerprint(network: nn.Module) -> str:
    """Hash the weights: par is kept under it, because another network is another game."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + str(tuple(value.shape)).encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if value.dim() else b"")
    return digest.hexdigest()[:16]


def _full(value: torch.Tensor) -> torch.Tensor:
    return value.float() if value.is_floating_point() else value


def _tuples(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
