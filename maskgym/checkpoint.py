"""Checkpoints: written whole or not at all, read without trusting them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from maskgym.errors import BadInput
from maskgym.files import replacing

NAME = "checkpoint.pt"


def write(folder: Path, state: dict[str, Any]) -> None:
    """Put a checkpoint into a run's folder; where that fails, the last one stands."""
    try:
        with replacing(folder / NAME) as draft:
            torch.save(state, draft)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:100]
        raise BadInput(f"cannot save to {folder} ({reason}): free some space; the last checkpoint stands") from error


def read(folder: Path, device: Any, take: Callable[[dict[str, Any]], None]) -> bool:
    """Hand the last checkpoint to `take`; False if there is none."""
    path = folder / NAME
    if not path.exists():
        return False
    try:
        take(torch.load(path, map_location=device, weights_only=True))
    except BadInput:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:80]
        raise BadInput(f"{path} is damaged ({type(error).__name__}: {reason}): start anew in another --out") from error
    return True
