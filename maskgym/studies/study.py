"""Study files: reading them, checking every word before anything runs, keeping a copy in the study's folder."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from maskgym.data.spec import parse
from maskgym.errors import BadInput
from maskgym.studies.plan import PAR, Cell, Method, Stage, Study, agent_of, trained_first

KEPT = "study.toml"  # the study's copy in its own folder
_AXES: dict[str, type] = {"data": str, "seeds": int, "shares": float}
_SIZES = ("image_size", "patch_size")
# Options that the study sets itself, in any of its tables.
_OWN = ("out", "data", "dataset", "env", "seed", "split_file", "weights", "label_share", "resume", "quiet")


def read_study(file: Path, data: Sequence[str] = ()) -> Study:
    """Read and check a study file, perhaps with other data; nothing runs before all of it is known to make sense."""
    return _read(_text(file, data), str(file))


def keep(file: Path, out: Path, data: Sequence[str] = ()) -> list[Cell]:
    """Put a copy of the study into its folder; a folder that holds another study is refused.

    A study may grow between two starts (more seeds, shares, methods, data sets): what was there must stand unchanged.
    """
    text, kept = _text(file, data), out / KEPT
    cells = _read(text, str(file)).cells(out)
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file: give a folder to --out")
    if kept.exists():
        now = {cell.name: cell.words for cell in cells}
        for cell in read_study(kept).cells(out):
            if now.get(cell.name) != cell.words:
                raise BadInput(f"{out} holds another study, in which {cell.name} differs: choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        draft = out / f".{KEPT}"
        draft.write_text(text)
        os.replace(draft, kept)
    except OSError as error:
        raise BadInput(f"cannot write to {out} ({error.strerror or error}): choose another --out") from None
    return cells


def _text(file: Path, data: Sequence[str]) -> str:
    """The words of a study file, its data replaced where others are given."""
    try:
        text = file.read_text()
        if not data:
            return text
        told = tomllib.loads(text)
        line = "data = [" + ", ".join(f'"{spec}"' for spec in data) + "]"
        text, found = re.subn(r"^data\s*=\s*\[[^\]]*\]", lambda _: line, text, count=1, flags=re.MULTILINE)
        if not found or tomllib.loads(text) != told | {"data": list(data)}:
            raise ValueError("its data cannot be replaced: write data = [...] on top")
        return text
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read the study {file} ({error})") from None


def _read(text: str, file: str) -> Study:
    try:
        told = tomllib.loads(text)
    except ValueError as error:
        raise BadInput(f"cannot read the study {file} ({error})") from None
    _known(told, (*_AXES, "reconstructor", "policy", "score", "pretrain", "finetune", "method"), "a study")
    axes: dict[str, Any] = {name: _axis(name, told[name], kind) for name, kind in _AXES.items() if name in told}
    methods = told.get("method")
    if "data" not in axes or not isinstance(methods, list) or not methods:
        raise BadInput(f"{file} names no {'method' if 'data' in axes else 'data'}: a study needs data and [[method]]")
    for spec in axes["data"]:
        parse(spec)
    for share in axes.get("shares", ()):
        if not 0 < share <= 1:
            raise BadInput(f"a label share of {share:g} leaves no patient: it lies above 0 and is at most 1")
    study = Study(
        methods=tuple(_method(one) for one in methods),
        reconstructors=tuple(_stage(one, "reconstructor") for one in _tables(told, "reconstructor")),
        policies=tuple(_stage(one, "policy") for one in _tables(told, "policy")),
        score=_table(told, "score") if "score" in told else None,
        **axes,
        **_settings(told),
    )
    return _connected(study)


def _connected(study: Study) -> Study:
    """Check what the parts of a study say of each other, and let policies play against the first reconstructor."""
    stages = (*study.reconstructors, *study.policies)
    names = [method.name for method in study.methods] + [stage.name for stage in stages]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadInput(f"two methods or stages are called {min(twice)!r}: give each its own name")
    if stages or study.score is not None:
        for size in _SIZES:
            if size not in study.pretrain:
                raise BadInput(f"the frozen networks of a study need a size: say {size} in [pretrain]")
        if not study.reconstructors:
            raise BadInput("[policy] and [score] play against a frozen network: add [reconstructor]")
    for stage in stages:
        if stage.on is not None and not 0 <= stage.on < len(study.data):
            raise BadInput(f"{stage.name!r} is trained on data set {stage.on}: there are {len(study.data)}, from 0")
    frozen = [stage.name for stage in study.reconstructors]
    policies = []
    for stage in study.policies:
        if stage.reconstructor and stage.reconstructor not in frozen:
            raise BadInput(f"no [reconstructor] is called {stage.reconstructor!r}{_hint(stage.reconstructor, frozen)}")
        policies.append(replace(stage, reconstructor=stage.reconstructor or frozen[0]))
    for method in study.methods:
        if method.recipe and (agent := agent_of(study, method)) not in [stage.name for stage in policies]:
            trained_first(agent)  # refuses an agent that is not installed
    return replace(study, policies=tuple(policies))


def _method(told: dict[str, Any]) -> Method:
    """Read one [[method]] and check its recipe."""
    from maskgym.pretrain.recipes import recipe

    _known(told, ("name", "recipe", "pretrain", "finetune"), "a method")
    own = str(told.get("recipe", ""))
    if own:
        recipe(own)
    return Method(_name(told.get("name") or own), own, **_settings(told))


def _stage(told: dict[str, Any], kind: str) -> Stage:
    """Read one [reconstructor] or [policy]."""
    from maskgym.commands.train import Train
    from maskgym.pretrain.reconstructor import TrainSettings

    parts = {"name": str, "on": int} | ({} if kind == "reconstructor" else {"agent": str, "reconstructor": str})
    made = get_type_hints(TrainSettings if kind == "reconstructor" else Train)
    _check(told, _allowed(made) | dict.fromkeys(_SIZES, str) | parts, f"[{kind}]")
    agent = str(told.get("agent", "a3c" if kind == "policy" else ""))
    if agent and not trained_first(agent):
        raise BadInput(f"[policy] trains agents like a3c by workers: {agent!r} is not one, methods name it themselves")
    options = {key: value for key, value in told.items() if key not in parts}
    return Stage(_name(told.get("name", kind)), told.get("on"), agent, told.get("reconstructor", ""), options)


def _settings(told: dict[str, Any]) -> dict[str, Any]:
    """Check the options for the two commands by their names and types."""
    return {name: _table(told, name) for name in ("pretrain", "finetune")}


def _table(told: dict[str, Any], name: str) -> dict[str, Any]:
    """Check a table of options for a command."""
    from maskgym.commands.score import Score
    from maskgym.downstream.settings import FineTune
    from maskgym.pretrain.settings import PretrainSettings

    table = told.get(name, {})
    if not isinstance(table, dict):
        raise BadInput(f"{name} {table!r} is no table: write [{name}] and a line for each option")
    if name == "score":
        own = ("agents", "par", "reconstructor", *_SIZES)
        allowed = {key: kind for key, kind in _allowed(get_type_hints(Score)).items() if key not in own}
        allowed |= dict.fromkeys(PAR, int)
    else:
        made = get_type_hints(PretrainSettings if name == "pretrain" else FineTune)
        allowed = {key: kind for key, kind in _allowed(made).items() if (name, key) != ("pretrain", "recipe")}
        allowed = {key: kind for key, kind in allowed.items() if key != "policy"}
    _check(table, allowed, f"[{name}]")
    return table


def _tables(told: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """One [name] or several [[name]]."""
    tables = told.get(name, [])
    tables = tables if isinstance(tables, list) else [tables]
    if not all(isinstance(table, dict) for table in tables):
        raise BadInput(f"{name} {told[name]!r} is no table: write [{name}] and a line for each option")
    return tables


def _allowed(hints: dict[str, Any]) -> dict[str, Any]:
    return {key: kind for key, kind in hints.items() if key not in _OWN}


def _name(name: Any) -> str:
    plain = name.replace("-", "").replace("_", "").replace(".", "") if isinstance(name, str) else ""
    if not plain.isalnum() or ".." in name or name in ("split", "par"):
        raise BadInput(f"the name {name!r} becomes a folder: use letters, digits, - and _")
    return str(name)


def _axis(name: str, told: Any, kind: type) -> tuple[Any, ...]:
    """Check the values of one axis: a list, not empty, nothing twice."""
    if not isinstance(told, list) or not told or not all(_suits(value, kind) for value in told):
        raise BadInput(f"{name} = {told!r} must be a list of {kind.__name__}s, at least one")
    if len(set(told)) < len(told):
        raise BadInput(f"{name} = {told!r} names a value twice")
    return tuple(kind(value) for value in told)


def _check(told: dict[str, Any], allowed: dict[str, Any], where: str) -> None:
    """Refuse unknown keys and values of another type than the option's."""
    _known(told, allowed, where)
    for key, value in told.items():
        if not _suits(value, allowed[key]):
            raise BadInput(f"{where} says {key} = {value!r}: that does not suit the option --{key.replace('_', '-')}")


def _suits(value: Any, kind: Any) -> bool:
    """Whether a value of a file can be meant for an option of this type; a number may stand for text, as in 16."""
    if get_origin(kind) is Literal:
        return str(value) in map(str, get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, list) and bool(value) and all(_suits(one, get_args(kind)[0]) for one in value)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind in (str, float):
        return isinstance(value, (str, int, float) if kind is str else (int, float))
    return isinstance(value, int)


def _known(told: dict[str, Any], names: Any, where: str) -> None:
    """Refuse a key that nobody reads."""
    for key in told:
        if key not in names:
            raise BadInput(f"{where} has no key {key!r}{_hint(key, list(names))}")


def _hint(word: str, names: list[str]) -> str:
    near = get_close_matches(word, names, n=1)
    return f": did you mean {near[0]!r}?" if near else f": {', '.join(names)}"
