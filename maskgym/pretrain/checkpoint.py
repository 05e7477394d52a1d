"""What a pre-training leaves on disk: a checkpoint to go on from, the student and the agent to be used by others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maskgym import checkpoint
from maskgym.networks import store
from maskgym.pretrain.loop import Loop
from maskgym.pretrain.settings import PretrainSettings

MODEL, AGENT = "model.safetensors", "agent"


def save(settings: PretrainSettings, loop: Loop, report: Any = None) -> None:
    """Write everything, each file whole or not at all; an interrupted run finds its last checkpoint."""
    state = loop.state() | {"report": report.state() if report is not None else {}}
    checkpoint.write(settings.out, state)
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

    def take(state: dict[str, Any]) -> None:
        loop.load(state)
        if report is not None and state["report"]:
            report.load(state["report"])

    checkpoint.read(folder, loop.fabric.device, take)
