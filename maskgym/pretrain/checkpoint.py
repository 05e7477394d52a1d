"""What a pre-training leaves on disk: a checkpoint to go on from, the student and the agent to be used by others."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from maskgym.errors import BadInput
from maskgym.pretrain.loop import Loop
from maskgym.pretrain.settings import PretrainSettings
from maskgym.reconstructors import store

CHECKPOINT, MODEL, AGENT = "checkpoint.pt", "model.safetensors", "agent"


def save(settings: PretrainSettings, loop: Loop, report: Any = None) -> None:
    """Write everything, each file whole or not at all; an interrupted run finds its last checkpoint."""
    state = loop.state() | {"report": report.state() if report is not None else {}}
    draft = settings.out / f".{CHECKPOINT}.{os.getpid()}"
    try:
        torch.save(state, draft)
        os.replace(draft, settings.out / CHECKPOINT)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        reason = str(error).splitlines()[0][:100]
        raise BadInput(
            f"cannot save to {settings.out} ({reason}): free some space; the last checkpoint stands"
        ) from error
    if loop.step % loop.steps:
        return  # others are told of whole epochs only
    store.save(loop.student, settings.out / MODEL, about(settings, loop))
    loop.agent.save(settings.out / AGENT)
    if report is not None:
        report.write(settings.out)


def about(settings: PretrainSettings, loop: Loop) -> dict[str, Any]:
    """What is told of a student in its file."""
    return {
        "recipe": settings.recipe,
        "data": settings.data if settings.data.startswith("phantoms") else settings.data.partition(":")[0],
        "image_size": "x".join(map(str, loop.patches.size)),
        "patch_size": "x".join(map(str, loop.patches.patch)),
        "target": settings.target,
        "agent": loop.agent.name,
        "student": settings.student,
        "epochs": loop.step // loop.steps,
        "seed": settings.seed,
    }


def load(folder: Path, loop: Loop, report: Any = None) -> None:
    """Go on from the folder's checkpoint, if there is one."""
    path = folder / CHECKPOINT
    if not path.exists():
        return
    try:
        state = torch.load(path, map_location=loop.fabric.device, weights_only=True)
        loop.load(state)
        if report is not None and state["report"]:
            report.load(state["report"])
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:80]
        raise BadInput(f"{path} is damaged ({type(error).__name__}: {reason}): start anew in another --out") from error
