"""Study files: reading them, checking what their parts say of each other, keeping what a folder was started with."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from maskgym.data.spec import parse
from maskgym.downstream.grades import MEASURES
from maskgym.downstream.probe import PROBED
from maskgym.errors import BadInput
from maskgym.files import write_text
from maskgym.pretrain.recipes import recipe
from maskgym.studies.study import Control, Method, Options, Stage, Study, can_be_trained, trained_first

KEPT = "study.json"  # what a folder was started with
_AXES: dict[str, type] = {"data": str, "seeds": int, "shares": float, "label_seeds": int}
_SIZES = ("image_size", "patch_size")


def read_study(file: Path, data: Sequence[str] = ()) -> Study:
    """Read a study file (or what a folder kept of one), perhaps with other data, and check how its parts fit."""
    return _study(_told(file, data), str(file))


def keep(file: Path, out: Path, data: Sequence[str] = ()) -> Study:
    """Keep the study in its folder; a folder that holds another study is refused.

    A study may grow between two starts (more seeds, shares, methods, data sets): what was there must stand unchanged.
    """
    from maskgym.studies.plan import plan

    told, kept = _told(file, data), out / KEPT
    study = _study(told, str(file))
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file: give a folder to --out")
    if kept.exists():
        now = {job.name: job.words for job in plan(study, out)}
        for job in plan(read_study(kept), out):
            if now.get(job.name) != job.words and job.kind not in ("score", "control"):  # these grow with it
                raise BadInput(f"{out} holds another study, in which {job.name} differs: choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_text(kept, json.dumps(told, indent=1))
    except OSError as error:
        raise BadInput(f"cannot write to {out} ({error.strerror or error}): choose another --out") from None
    return study


def _told(file: Path, data: Sequence[str]) -> dict[str, Any]:
    """What a file says, its data replaced where others are given."""
    try:
        text = file.read_text()
        told = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read the study {file} ({error})") from None
    if not isinstance(told, dict):
        raise BadInput(f"{file} holds no study: it needs data and [[method]]")
    return told | ({"data": list(data)} if data else {})


def _study(told: dict[str, Any], file: str) -> Study:
    tables = ("reconstructor", "policy", "score", "pretrain", "finetune", "method", "control")
    known(told, (*_AXES, *tables, "differ", "measure", "passes", "folds"), "a study")
    measures = ("patients", "pooled", *MEASURES)
    if told.get("measure", "patients") not in measures:
        raise BadInput(f"measure = {told['measure']!r} is unknown: choose {', '.join(measures)}")
    axes: dict[str, Any] = {name: _axis(name, told[name], kind) for name, kind in _AXES.items() if name in told}
    methods = told.get("method")
    if "data" not in axes or not isinstance(methods, list) or not methods:
        raise BadInput(f"{file} names no {'method' if 'data' in axes else 'data'}: a study needs data and [[method]]")
    for share in axes.get("shares", ()):
        if not 0 < share <= 1:
            raise BadInput(f"a label share of {share:g} leaves no patient: it lies above 0 and is at most 1")
    study = Study(
        methods=_shared(tuple(_method(one) for one in _tables(told, "method"))),
        reconstructors=tuple(_stage(one, "reconstructor") for one in _tables(told, "reconstructor")),
        policies=tuple(_stage(one, "policy") for one in _tables(told, "policy")),
        scores=_scores(_tables(told, "score")),
        differ=_axis("differ", told["differ"], str) if "differ" in told else None,
        control=_control(_table(told, "control")) if "control" in told else None,
        measure=told.get("measure", "patients"),
        passes=_passes(told),
        folds=_folds(told),
        pretrain=_table(told, "pretrain"),
        finetune=_table(told, "finetune"),
        **axes,
    )
    for spec in study.sources:
        parse(spec)
    return _connected(study)


def _connected(study: Study) -> Study:
    """Check what the parts of a study say of each other, and let policies play against the first reconstructor."""
    names = [method.name for method in study.methods] + [stage.name for stage in study.stages]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadInput(f"two methods or stages are called {min(twice)!r}: give each its own name")
    if study.stages or study.scores:
        for size in _SIZES:
            if size not in study.pretrain:
                raise BadInput(f"the frozen networks of a study need a size: say {size} in [pretrain]")
        if not study.reconstructors:
            raise BadInput("[policy] and [score] play against a frozen network: add [reconstructor]")
    for stage in study.stages:
        if stage.on is not None and (type(stage.on) is not int or not 0 <= stage.on < len(study.data)):
            raise BadInput(f"{stage.name!r} is trained on data set {stage.on}: there are {len(study.data)}, from 0")
    frozen = [stage.name for stage in study.reconstructors]
    policies = []
    for told in study.scores.values():
        _called(told.get("reconstructor", frozen[0]), frozen, "[reconstructor]")
    for stage in study.policies:
        network = stage.reconstructor or frozen[0]
        _called(network, frozen, "[reconstructor]")
        if not can_be_trained(stage.agent):
            raise BadInput(f"[policy] trains agents like a3c: {stage.agent!r} is not one, methods name it themselves")
        policies.append(replace(stage, reconstructor=network))
    methods = [method.name for method in study.methods]
    for method in study.methods:
        if method.recipe and (agent := study.agent_of(method)) not in [stage.name for stage in policies]:
            trained_first(agent)  # refuses an agent that is not installed
    control = (study.control.method, study.control.over) if study.control else ()
    for name in (*(name for method in study.methods for name in method.against), *control):
        _called(name, methods, "method")
    return replace(study, policies=tuple(policies))


def _method(told: dict[str, Any]) -> Method:
    known(told, ("name", "recipe", "pretrain", "finetune", "differs", "against", "pretrained"), "a method")
    own, pretrained = str(told.get("recipe", "")), str(told.get("pretrained", ""))
    if pretrained and (own or "pretrain" in told):
        raise BadInput(f"a method fine-tunes what {pretrained!r} pre-trained: give it no recipe and no pretrain table")
    if own:
        recipe(own)
    lists: dict[str, Any] = {name: _axis(name, told[name], str) for name in ("differs", "against") if name in told}
    tables: dict[str, Any] = {name: _table(told, name) for name in ("pretrain", "finetune")}
    return Method(_name(told.get("name") or own), own, **tables, **lists, pretrained=pretrained)


def _shared(methods: tuple[Method, ...]) -> tuple[Method, ...]:
    """Let methods that fine-tune another's networks pre-train as that one does."""
    by_name = {method.name: method for method in methods if method.recipe}
    for method in methods:
        if method.pretrained and method.pretrained not in by_name:
            raise BadInput(
                f"method {method.name!r} takes what {method.pretrained!r} pre-trained, and no method of that name "
                f"pre-trains{hint(method.pretrained, list(by_name))}"
            )
    return tuple(
        replace(method, recipe=by_name[method.pretrained].recipe, pretrain=by_name[method.pretrained].pretrain)
        if method.pretrained
        else method
        for method in methods
    )


def _passes(told: dict[str, Any]) -> int:
    """Equal image passes for all arms: then no arm says its own length."""
    passes = told.get("passes", 0)
    if type(passes) is not int or passes < 0 or ("passes" in told and not passes):
        raise BadInput(f"passes = {passes!r}: give the image passes of every arm, such as 2_000_000")
    arms = [("[pretrain]", _table(told, "pretrain"))]
    arms += [(f"method {one.get('name')!r}", _table(one, "pretrain")) for one in _tables(told, "method")]
    for where, table in arms if passes else ():
        for key in ("steps", "passes"):
            if key in table:
                raise BadInput(
                    f"{where} says {key} = {table[key]!r}, and passes = {passes} is for all arms: leave it away"
                )
    return passes


def _folds(told: dict[str, Any]) -> int:
    """A split for each seed, every patient tested in one of them."""
    folds = told.get("folds", 0)
    if "folds" not in told:
        return 0
    if type(folds) is not int or folds < 2:
        raise BadInput(f"folds = {folds!r}: give a number of splits, such as 5, or leave it out for one")
    if "score" in told:
        raise BadInput(f"[score] plays the game of one split, and there are {folds} folds: leave one of them out")
    for spec in told.get("data", ()):
        if str(spec).partition("?")[0] == "phantoms":
            raise BadInput(f"folds = {folds}, and phantoms have a split of their own: leave it out")
    return folds


def _stage(told: dict[str, Any], kind: str) -> Stage:
    own = ("name", "on") if kind == "reconstructor" else ("name", "on", "agent", "reconstructor")
    agent = str(told.get("agent", "a3c")) if kind == "policy" else ""
    options = {key: value for key, value in told.items() if key not in own}
    return Stage(_name(told.get("name", kind)), told.get("on"), agent, str(told.get("reconstructor", "")), options)


def _scores(tables: list[Options]) -> dict[str, Options]:
    """Several are told apart by names; one needs none."""
    named = [f"score-{_name(table['name'])}" if "name" in table else "score" for table in tables]
    if twice := {name for name in named if named.count(name) > 1}:
        raise BadInput(f"two [[score]] are called {min(twice)!r}: give each a name of its own")
    return {
        name: {key: value for key, value in table.items() if key != "name"}
        for name, table in zip(named, tables, strict=True)
    }


def _control(told: dict[str, Any]) -> Control:
    known(told, ("method", "over", "errors", "measure"), "[control]")
    if (measure := told.get("measure", PROBED)) != PROBED:
        raise BadInput(f"[control] says measure = {measure!r}: say {PROBED!r} of linear probes, or leave it out")
    errors = told.get("errors", 2.0)
    if isinstance(errors, bool) or not isinstance(errors, int | float) or not errors >= 0:
        raise BadInput(f"[control] says errors = {errors!r}: give a number of standard errors, such as 2")
    return Control(**told)


def _table(told: dict[str, Any], name: str) -> Options:
    table = told.get(name, {})
    if not isinstance(table, dict):
        raise BadInput(f"{name} {table!r} is no table: write [{name}] and a line for each option")
    return table


def _tables(told: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """One [name] or several [[name]]."""
    tables = told.get(name, [])
    return [_table({name: table}, name) for table in (tables if isinstance(tables, list) else [tables])]


def _name(name: Any) -> str:
    plain = name.replace("-", "").replace("_", "").replace(".", "") if isinstance(name, str) else ""
    if not plain.isalnum() or ".." in name or name in ("split", "par", "control"):
        raise BadInput(f"the name {name!r} becomes a folder: use letters, digits, - and _")
    return str(name)


def _axis(name: str, told: Any, kind: type) -> tuple[Any, ...]:
    """Check the values of one axis: a list, not empty, nothing twice."""
    numbers = (int, float) if kind is float else (kind,)
    if not isinstance(told, list) or not told or any(type(value) not in numbers for value in told):
        raise BadInput(f"{name} = {told!r} must be a list of {kind.__name__}s, at least one")
    if len(set(told)) < len(told):
        raise BadInput(f"{name} = {told!r} names a value twice")
    if kind is int and min(told) < 0:
        raise BadInput(f"{name} = {told!r}: a seed is 0 or above")
    return tuple(kind(value) for value in told)


def _called(name: str, names: list[str], what: str) -> None:
    """Refuse a name that nothing of a kind has."""
    if name not in names:
        raise BadInput(f"no {what} is called {name!r}{hint(name, names)}")


def known(told: Iterable[str], names: Iterable[str], where: str) -> None:
    """Refuse a key that nobody reads."""
    listed = list(names)
    for key in told:
        if key not in listed:
            raise BadInput(f"{where} has no key {key!r}{hint(key, listed)}")


def hint(word: str, names: list[str]) -> str:
    """The end of an error sentence: the nearest name, or all of them."""
    near = get_close_matches(word, names, n=1)
    return f": did you mean {near[0]!r}?" if near else f": there are {', '.join(names)}"
