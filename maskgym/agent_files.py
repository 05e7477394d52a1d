"""An agent on disk: weights as safetensors, what it was made from as JSON; no pickle is written or read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from maskgym.errors import BadInput
from maskgym.files import replacing, write_text
from maskgym.game_spec import GameSpec

_WEIGHTS, _ABOUT = "agent.safetensors", "agent.json"


def save(folder: Path, agent: nn.Module, about: dict[str, Any]) -> None:
    """Write weights and what they belong to, each file whole or not at all."""
    from safetensors.torch import save_model

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / _WEIGHTS) as draft:
            save_model(agent, str(draft))  # a tensor that goes by several names is written once
        write_text(folder / _ABOUT, json.dumps(about, indent=2))
    except OSError as error:
        raise BadInput(f"cannot save to {folder}: {error.strerror or error}; free space or choose another") from error


def read_about(folder: Path, name: str, game_spec: GameSpec) -> dict[str, Any]:
    """Read what was saved of agent `name`, refusing another agent's files and those for another game."""
    path = folder / _ABOUT
    if not path.is_file():
        raise BadInput(f"no saved agent in {folder}: it has no {_ABOUT}")
    try:
        about: dict[str, Any] = json.loads(path.read_text())
        kind, patch, channels = about["agent"], tuple(about["patch_size"]), about["channels"]
        _ = about["settings"], about["seed"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is damaged ({error}): save the agent again") from error
    if kind != name:
        raise BadInput(f"{folder} holds agent {kind!r}, not {name!r}: ask for {kind}:{folder}")
    if channels != game_spec.channels or len(patch) != game_spec.patches.dims:
        raise BadInput(
            f"{folder} was trained on {len(patch)}D images of {channels} channels, "
            f"this game has {game_spec.patches.dims}D images of {game_spec.channels}: train it on this game"
        )
    if patch != game_spec.patches.patch:
        raise BadInput(
            f"{folder} was trained on patches of {patch}, this game has {game_spec.patches.patch}: use those"
        )
    return about


def read_weights(folder: Path, agent: nn.Module) -> None:
    """Load saved weights into an agent made from the same settings."""
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    path = folder / _WEIGHTS
    try:
        load_model(agent, path, strict=True)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise BadInput(f"{path} is damaged or of another agent ({reason}): save it again") from error
