"""An agent that learns in an environment is trained before it masks: reconstructor, policy, and then the student (AHM).

Each stage is a command of its own in a folder of its own, goes on where it was killed, and is not done again.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from maskgym.agent_spec import AgentSpec
from maskgym.commands.reconstructor import Train as TrainReconstructor
from maskgym.commands.reconstructor import run as train_reconstructor
from maskgym.commands.train import Train as TrainPolicy
from maskgym.errors import BadInput
from maskgym.learner import trained_first
from maskgym.masking import schedules
from maskgym.pretrain.data import open_split
from maskgym.pretrain.reconstructor import TrainSettings
from maskgym.pretrain.run import LEAVES, build
from maskgym.pretrain.settings import PretrainSettings
from maskgym.registry import agent_class
from maskgym.training.folder import Folder

_DONE = "trained"  # an empty file in the policy's folder


def train_agent(settings: PretrainSettings) -> tuple[str, bool] | None:
    """Train the agent if it needs it: who masks, and whether the run's folder is claimed; None if interrupted."""
    name, folder, _ = AgentSpec.read(settings.agent)
    if folder or not trained_first(agent_class(name)):
        for option in ("reconstructor", "policy"):
            if getattr(settings, option):
                raise BadInput(f"--{option} is for agents that are trained first: {settings.agent!r} is not")
        return settings.agent, False
    if settings.policy:
        return f"{name}:{settings.policy}", False
    if os.environ.get("WORLD_SIZE", "1") != "1" or settings.processes > 1:
        raise BadInput(
            f"agent {name!r} is trained first, by one process: train it alone, then give its folder by --policy"
        )
    _data(settings)
    build(settings, open_split(settings, "train").channels)  # refuse now what the last stage would refuse
    Folder(settings.out, settings.of_the_run(), settings.fresh, LEAVES)
    reconstructor = settings.reconstructor or _reconstructor(settings)
    policy = None if reconstructor is None else _policy(settings, str(reconstructor))
    return None if policy is None else (f"{name}:{policy}", True)


def _reconstructor(settings: PretrainSettings) -> Path | None:
    """Train a network with random masks to play against, unless it is there; None if it was interrupted."""
    out = settings.out / "reconstructor"
    if not (out / "held_out.png").exists():
        print("stage 1 of 3: a reconstructor under random masks", flush=True)
        how = TrainSettings(steps=settings.reconstructor_steps, device=settings.device, seed=settings.seed)
        size, patch = _sizes(settings)
        where: dict[str, Any] = {
            "data": _data(settings),
            "image_size": size,
            "patch_size": patch,
            "split_file": settings.split_file,
        }
        job = TrainReconstructor(out=out, quiet=settings.quiet, **where, **asdict(how))
        if train_reconstructor(job) is None:
            return None
    return out


def _policy(settings: PretrainSettings, reconstructor: str) -> Path | None:
    """Train the policy against it, unless it is there; None if it was interrupted."""
    out = settings.out / "policy"
    if (out / _DONE).exists():
        return out
    print("stage 2 of 3: the policy against it", flush=True)
    size, patch = _sizes(settings)
    command = TrainPolicy(
        agent=settings.agent,
        out=out,
        data=_data(settings),
        reconstructor=reconstructor,
        image_size=size,
        patch_size=patch,
        split_file=settings.split_file,
        ratio=schedules.parse(settings.ratio)(1, settings.epochs),
        steps=settings.policy_masks,
        workers=settings.policy_workers,
        seed=settings.seed,
        device=settings.device,
        quiet=settings.quiet,
    )
    if command():
        return None
    (out / _DONE).touch()
    print("stage 3 of 3: the student under the policy's masks", flush=True)
    return out


def _data(settings: PretrainSettings) -> str:
    """The images of reconstructor and policy: the student's; of crops one of each image, normalised by its case."""
    if not settings.crop:
        return settings.data
    name, _, options = settings.data.partition("?")
    if name == "phantoms":
        raise BadInput(f"phantoms are drawn at any size, a policy meets no crops of them: --image-size {settings.crop}")
    kept = [one for one in options.split("&") if one and not one.startswith("fit=")]
    kept += [] if any(one.startswith("normalise=") for one in kept) else ["normalise=case"]
    return f"{name}?{'&'.join([*kept, 'fit=crop'])}"


def _sizes(settings: PretrainSettings) -> tuple[str, str]:
    patches = settings.patches
    return "x".join(map(str, patches.size)), "x".join(map(str, patches.patch))
