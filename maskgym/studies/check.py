"""Every value of a study file is checked before anything runs, by the commands whose words it becomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import torch

from maskgym.downstream.network import parse_network
from maskgym.downstream.settings import FineTune
from maskgym.errors import BadInput
from maskgym.masking import schedules
from maskgym.masking.patches import Patches
from maskgym.networks.students import make_student
from maskgym.pretrain import passes
from maskgym.pretrain.losses import parse_loss
from maskgym.pretrain.recipes import make_settings
from maskgym.pretrain.reconstructor import TrainSettings
from maskgym.pretrain.settings import PretrainSettings, student_settings
from maskgym.studies.plan import Job, plan
from maskgym.studies.read import known
from maskgym.studies.study import Method, Options, Study, trained_first

# Options that the study sets itself.
_OWN = ("out", "env", "seed", "split_file", "weights", "label_share", "labels", "label_seed", "fresh", "settings")


def check(study: Study, understood: Callable[[Job], Any]) -> None:
    """Refuse the first value that its command would refuse.

    Args:
        study: as read.
        understood: makes the settings of a command from the words of a job.
    """
    for where, told in _tables(study):
        for key, value in told.items():
            if key in _OWN or key in ({"data"} if "finetune" in where else {"recipe", "policy"}):
                raise BadInput(f"{where} says {key} = {value!r}: the study sets that itself, leave it out")
            if isinstance(value, float) and not math.isfinite(value):
                raise BadInput(f"{where} says {key} = {value!r}: give a number")
    for method in study.methods if study.passes else ():
        with _of(f"method {method.name!r}"):
            _check_passes(study, method)
    seen = set()
    for job in plan(study, Path("study")):
        name = job.method if job.kind in ("pretrain", "finetune") else job.name.rpartition("/")[2]
        if (job.kind, name) not in seen and job.kind not in ("split", "control"):
            with _of(f"the {job.kind} of {job.method!r}" if job.method else job.name):
                _values(understood(job))
        seen.add((job.kind, name))
    if study.differ is not None:
        _check_differ(study, study.differ)


def _tables(study: Study) -> Iterator[tuple[str, Options]]:
    """All tables of options, and how each is called."""
    yield from (("[pretrain]", study.pretrain), ("[finetune]", study.finetune))
    yield from ((f"[{stage.name}]", stage.options) for stage in study.stages)
    yield from ((f"[{name}]", told) for name, told in study.scores.items())
    for method in study.methods:
        yield f"[method.pretrain] of {method.name!r}", method.pretrain
        yield f"[method.finetune] of {method.name!r}", method.finetune


def _values(settings: Any) -> None:
    """Read everything that the settings of a command say as text."""
    _check_device(getattr(settings, "device", "cpu"))
    if isinstance(settings, PretrainSettings):
        for text in (settings.ratio, settings.hard_share):
            schedules.parse(text)(1, settings.epochs)
        if not settings.contrastive:
            parse_loss(settings.loss)
        _check_student(settings.student, settings.student_settings, settings.patches)
    elif isinstance(settings, FineTune):
        settings.check()
        assert settings.crop
        if settings.network:
            parse_network(settings.network)


@cache
def _check_student(name: str, told: str, patches: Patches) -> None:
    with torch.device("meta"):
        make_student(name, 1, patches, student_settings(told))


def _check_passes(study: Study, method: Method) -> None:
    """Refuse an arm whose policy and frozen networks take all the image passes that it has."""
    if not method.recipe:
        return
    spent, told = 0, make_settings("x", method.recipe, **study.pretrain_options(method))
    policy = study.stage(study.agent_of(method))
    named = [told.agent, *([policy.reconstructor] if policy else [])]
    spent += passes.PLAYED * int(policy.options.get("steps", 200_000)) if policy and policy.agent else 0
    for stage in study.reconstructors:
        if any(stage.name == name or f"{{{stage.name}}}" in name for name in named):
            usual = {"steps": TrainSettings.steps, "batch": TrainSettings.batch}
            spent += passes.taught(usual | stage.options)
    if told.agent and "{" not in told.agent and not policy and trained_first(told.agent):
        spent += passes.PLAYED * told.policy_masks + passes.TAUGHT * told.reconstructor_steps * TrainSettings.batch
    if spent >= study.passes:
        raise BadInput(f"its policy and frozen networks take {spent:,} image passes, all arms have {study.passes:,}")


def _check_differ(study: Study, differ: tuple[str, ...]) -> None:
    """Hold the arms of a study to differing in what it says, and in nothing else."""
    known(differ, (field.name for field in fields(PretrainSettings)), "differ")
    first: dict[str, tuple[str, Any]] = {}
    for method in study.methods:
        own = make_settings("x", method.recipe, **study.pretrain_options(method)).of_the_run() if method.recipe else {}
        for key, value in own.items():
            if key in (*differ, *method.differs, "recipe"):
                continue
            other, theirs = first.setdefault(key, (method.name, value))
            if theirs != value:
                raise BadInput(
                    f"methods {other!r} and {method.name!r} differ in {key} ({theirs!r} and {value!r}), and the study "
                    f"lets them differ in {', '.join(differ)} alone: set {key} in [pretrain], or name it in differ"
                )


def _check_device(device: Any) -> None:
    """A name that some machine may have; whether this one has it is for the command to see, where it runs."""
    kind, colon, number = str(device).partition(":")
    if kind not in ("cpu", "cuda") or (colon and not (kind == "cuda" and number.isdecimal())):
        raise BadInput(f"device {device!r} is unknown: choose cpu, cuda or cuda:1")


@contextmanager
def _of(where: str) -> Iterator[None]:
    """Say in which part of the study the fault is."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None
