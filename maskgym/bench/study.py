"""A study: data sets x methods x label shares x seeds, written as command lines that stand on each other's results."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from maskgym.errors import BadInput

KEPT = "study.toml"  # the study's copy in its own folder
_OWN = ("out", "data", "seed", "split_file", "weights", "label_share", "recipe", "resume", "quiet")  # set by the study
_AXES: dict[str, type] = {"data": str, "seeds": int, "shares": float}


@dataclass(frozen=True)
class Cell:
    """One command of a study: it is finished when the file it leaves last is there."""

    name: str
    kind: str
    words: tuple[str, ...]
    leaves: Path
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """A way to start fine-tuning: a recipe of pre-training with its own settings, or no recipe for a random start."""

    name: str
    recipe: str = ""
    pretrain: dict[str, Any] = field(default_factory=dict)
    finetune: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """What a study file says."""

    data: tuple[str, ...]
    methods: tuple[Method, ...]
    shares: tuple[float, ...] = (0.1,)
    seeds: tuple[int, ...] = (0,)
    pretrain: dict[str, Any] = field(default_factory=dict)
    finetune: dict[str, Any] = field(default_factory=dict)

    def cells(self, out: Path) -> list[Cell]:
        """Write down every command, what it needs before it; a network is pre-trained once for all label shares."""
        return [cell for place, data in enumerate(self.data) for cell in self._cells(out, f"data{place}", data)]

    def _cells(self, out: Path, place: str, data: str) -> Iterator[Cell]:
        common: list[str] = ["--data", data]
        before: tuple[str, ...] = ()
        if data.split("?")[0] != "phantoms":  # phantoms bring their own split
            file = out / place / "split.json"
            words: tuple[str, ...] = ("data", "split", data, "--out", str(file))
            yield Cell(f"{place}/split", "split", words, file)
            common, before = [*common, "--split-file", str(file)], (f"{place}/split",)
        for method in self.methods:
            for seed in self.seeds:
                name = f"{place}/{method.name}/seed{seed}"
                weights, needs = "none", before
                if method.recipe:
                    folder = out / name / "pretrain"
                    words = ("pretrain", "--recipe", method.recipe, *common, "--seed", str(seed), "--out", str(folder))
                    own = _options(self.pretrain | method.pretrain)
                    yield Cell(f"{name}/pretrain", "pretrain", (*words, *own), folder / "model.safetensors", before)
                    weights, needs = str(folder), (*before, f"{name}/pretrain")
                for share in self.shares:
                    folder = out / name / f"share{share:g}"
                    words = ("finetune", "--weights", weights, *common, "--label-share", f"{share:g}")
                    rest = ("--seed", str(seed), "--out", str(folder), *_options(self.finetune | method.finetune))
                    cell_name = f"{name}/share{share:g}"
                    yield Cell(cell_name, "finetune", (*words, *rest), folder / "scores.json", needs)


def read_study(file: Path) -> Study:
    """Read and check a study file; nothing runs before all of it is known to make sense."""
    try:
        told = tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read the study {file} ({error})") from None
    _known(told, (*_AXES, "pretrain", "finetune", "method"), "a study")
    axes: dict[str, Any] = {name: _axis(name, told[name], kind) for name, kind in _AXES.items() if name in told}
    methods = told.get("method")
    if "data" not in axes or not isinstance(methods, list) or not methods:
        raise BadInput(f"{file} names no {'method' if 'data' in axes else 'data'}: a study needs data and [[method]]")
    for share in axes.get("shares", ()):
        if not 0 < share <= 1:
            raise BadInput(f"a label share of {share:g} leaves no patient: it lies above 0 and is at most 1")
    read = tuple(_method(one) for one in methods)
    names = [method.name for method in read]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadInput(f"two methods are called {min(twice)!r}: give each its own name")
    return Study(methods=read, **axes, **_settings(told))


def keep(file: Path, out: Path) -> list[Cell]:
    """Put a copy of the study into its folder; a folder that holds another study is refused.

    A study may grow between two starts (more seeds, shares, methods, data sets): what was there must stand unchanged.
    """
    cells, kept = read_study(file).cells(out), out / KEPT
    if kept.exists():
        now = {cell.name: cell.words for cell in cells}
        for cell in read_study(kept).cells(out):
            if now.get(cell.name) != cell.words:
                raise BadInput(f"{out} holds another study, in which {cell.name} differs: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    draft = out / f".{KEPT}"
    draft.write_bytes(file.read_bytes())
    os.replace(draft, kept)
    return cells


def _method(told: dict[str, Any]) -> Method:
    """Read one [[method]] and check its recipe."""
    from maskgym.pretrain.recipes import recipe

    _known(told, [item.name for item in fields(Method)], "a method")
    name, own = told.get("name") or told.get("recipe"), told.get("recipe", "")
    if (
        not isinstance(name, str)
        or not name.replace("-", "").replace("_", "").replace(".", "").isalnum()
        or ".." in name
    ):
        raise BadInput(f"a method's name {name!r} becomes a folder: use letters, digits, - and _")
    if own:
        recipe(own)
    return Method(name, own, **_settings(told))


def _settings(told: dict[str, Any]) -> dict[str, Any]:
    """Check the options for the two commands by their names."""
    from maskgym.downstream.settings import FineTune
    from maskgym.pretrain.settings import PretrainSettings

    for name, made in (("pretrain", PretrainSettings), ("finetune", FineTune)):
        if not isinstance(told.get(name, {}), dict):
            raise BadInput(f"{name} {told[name]!r} is no table: write [{name}] and a line for each option")
        allowed = [
            item.name for item in fields(made) if item.name not in _OWN or (name, item.name) == ("finetune", "recipe")
        ]
        _known(told.get(name, {}), allowed, f"[{name}]")
    return {name: told.get(name, {}) for name in ("pretrain", "finetune")}


def _axis(name: str, told: Any, kind: type) -> tuple[Any, ...]:
    """Check the values of one axis: a list, not empty, nothing twice."""
    right = (int, float) if kind is float else kind
    if not isinstance(told, list) or not told or any(not isinstance(x, right) or isinstance(x, bool) for x in told):
        raise BadInput(f"{name} = {told!r} must be a list of {kind.__name__}s, at least one")
    if len(set(told)) < len(told):
        raise BadInput(f"{name} = {told!r} names a value twice")
    return tuple(kind(value) for value in told)


def _known(told: dict[str, Any], names: Any, where: str) -> None:
    """Refuse a key that nobody reads."""
    for key in told:
        if key not in names:
            near = get_close_matches(key, names, n=1)
            raise BadInput(
                f"{where} has no key {key!r}: " + (f"did you mean {near[0]!r}?" if near else ", ".join(names))
            )


def _options(told: dict[str, Any]) -> tuple[str, ...]:
    """Settings as words of a command line."""
    words: list[str] = []
    for key, value in told.items():
        name = key.replace("_", "-")
        words += [f"--{name}" if value else f"--no-{name}"] if isinstance(value, bool) else [f"--{name}", str(value)]
    return tuple(words)
