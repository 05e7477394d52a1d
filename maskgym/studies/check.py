"""Every value of a study file is checked before anything runs, by the settings that its command is made from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch

from maskgym.downstream.network import parse_network
from maskgym.downstream.settings import FineTune
from maskgym.errors import BadInput
from maskgym.masking import schedules
from maskgym.networks.students import make_student
from maskgym.pretrain.losses import parse_loss
from maskgym.pretrain.recipes import make_settings
from maskgym.pretrain.reconstructor import TrainSettings
from maskgym.pretrain.settings import PretrainSettings, student_settings
from maskgym.studies.plan import PAR
from maskgym.studies.read import known
from maskgym.studies.study import Method, Options, Study

# Options that the study sets itself, in any of its tables.
_OWN = ("out", "env", "seed", "split_file", "weights", "label_share", "labels", "label_seed", "fresh", "settings")
_SIZES = ("image_size", "patch_size")


def check(study: Study, commands: Mapping[str, type]) -> None:
    """Refuse the first value that its command would refuse.

    Args:
        study: as read.
        commands: the dataclasses of `maskgym train`, `score` and `par`, by these names.
    """
    for stage in study.stages:
        kind = "policy" if stage.agent else "reconstructor"
        allowed = _allowed(commands["train"] if stage.agent else TrainSettings) | dict.fromkeys(_SIZES, str)
        _options(stage.options, allowed, f"[{kind}]")
        if not stage.agent:
            with _of(f"[reconstructor] {stage.name!r}"):
                _made(TrainSettings, {key: x for key, x in stage.options.items() if key not in _SIZES})
    for told in study.scores.values():
        allowed = _allowed(commands["score"])
        allowed |= {key: kind for key, kind in _allowed(commands["par"]).items() if key in PAR}
        own = ("agents", "par", *_SIZES)
        _options(told, {key: kind for key, kind in allowed.items() if key not in own}, "[score]")
    _options(study.pretrain, _pretrain_options(), "[pretrain]")
    _options(study.finetune, _allowed(FineTune), "[finetune]")
    resolved = {}
    for method in study.methods:
        _options(method.pretrain, _pretrain_options(), f"[method.pretrain] of {method.name!r}")
        _options(method.finetune, _allowed(FineTune), f"[method.finetune] of {method.name!r}")
        with _of(f"method {method.name!r}"):
            if method.recipe:
                resolved[method.name] = _pretraining(study, method)
            _fine_tuning(study.finetune | method.finetune)
    if study.differ is not None:
        _check_differ(study, study.differ, resolved)


def _pretraining(study: Study, method: Method) -> Options:
    """Make the settings of a pre-training and everything that is read from their texts; gives them."""
    told = study.pretrain_options(method)
    settings = make_settings("x", method.recipe, **told)
    for text in (settings.ratio, settings.hard_share):
        schedules.parse(text)(1, settings.epochs)
    parse_loss(settings.loss)
    _check_device(settings.device)
    with torch.device("meta"):
        make_student(settings.student, 1, settings.patches, student_settings(settings.student_settings))
    if hasattr(settings, "check"):
        settings.check()
    return settings.of_the_run()


def _fine_tuning(told: Options) -> None:
    settings = _made(FineTune, {"out": "x", **told})
    assert settings.crop
    if settings.network:
        parse_network(settings.network)


def _made(cls: type, told: Options) -> Any:
    settings = cls(**told)
    _check_device(settings.device)
    if hasattr(settings, "check"):
        settings.check()
    return settings


def _check_differ(study: Study, differ: tuple[str, ...], resolved: dict[str, Options]) -> None:
    """Hold the arms of a study to differing in what it says, and in nothing else."""
    known(differ, (field.name for field in fields(PretrainSettings)), "differ")
    first: dict[str, tuple[str, Any]] = {}
    for method in study.methods:
        for key, value in resolved.get(method.name, {}).items():
            if key in (*differ, *method.differs, "recipe"):
                continue
            other, theirs = first.setdefault(key, (method.name, value))
            if theirs != value:
                raise BadInput(
                    f"methods {other!r} and {method.name!r} differ in {key} ({theirs!r} and {value!r}), and the study "
                    f"lets them differ in {', '.join(differ)} alone: set {key} in [pretrain], or name it in differ"
                )


def _pretrain_options() -> dict[str, Any]:
    allowed = _allowed(PretrainSettings) | {"data": str}
    return {key: kind for key, kind in allowed.items() if key not in ("recipe", "policy")}


def _allowed(cls: type) -> dict[str, Any]:
    """The options of a command that a study may set: name -> (type, default)."""
    hints = get_type_hints(cls)
    return {
        field.name: hints[field.name]
        for field in fields(cls)
        if field.name not in (*_OWN, "data") and not is_dataclass(hints[field.name])
    }


def _options(told: Options, allowed: Mapping[str, Any], where: str) -> None:
    """Refuse unknown keys and values of another type than the option's."""
    known(told, allowed, where)
    for key, value in told.items():
        if key == "device":
            with _of(where):
                _check_device(value)
        if not _suits(value, allowed[key]):
            raise BadInput(f"{where} says {key} = {value!r}: that does not suit the option --{key.replace('_', '-')}")


def _suits(value: Any, kind: Any) -> bool:
    """Whether a value of a file can be meant for an option of this type; a number may stand for text, as in 16."""
    if get_origin(kind) is Literal:
        return str(value) in map(str, get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, list) and bool(value) and all(_suits(one, get_args(kind)[0]) for one in value)
    if get_args(kind):  # X | None
        return any(_suits(value, one) for one in get_args(kind) if one is not type(None))
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if kind is int:
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, int | float) if kind is float else isinstance(value, str | int | float)


def _check_device(device: Any) -> None:
    """A name that some machine may have; whether this one has it is for the command to see, where it runs."""
    kind, colon, number = str(device).partition(":")
    if kind not in ("cpu", "cuda") or (colon and not (kind == "cuda" and number.isdecimal())):
        raise BadInput(f"device {device!r} is unknown: choose cpu, cuda or cuda:1")


@contextmanager
def _of(where: str) -> Iterator[None]:
    """Say in which part of the file the fault is."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None
