"""Manifests: by which code, on which machine, on which game and by which command a figure was made."""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from maskgym.agent_spec import name_of
from maskgym.data.cases import open_cases
from maskgym.files import write_text
from maskgym.registry import agent_class, within

if TYPE_CHECKING:
    from maskgym.envs.task import Task

NAME = "manifest.json"
_NAMING = ("weights", "reconstructor", "policy", "split_file", "settings")  # settings that name a file or a folder
_VERSIONS = ("maskgym", "torch", "gymnasium", "numpy", "stable-baselines3")


def write(folder: Path, task: Task, env: str, **more: Any) -> None:
    """Leave a manifest in the folder of a run: of an environment's id and task, and what else is to be told."""
    write_text(folder / NAME, json.dumps({**machine(str(task.device)), "game": game(task, env), **more}, indent=2))


def of_run(folder: Path, settings: Any, seeds: Sequence[int], splits: Sequence[str] = ()) -> None:
    """Leave a manifest in the folder of a pre-training, a fine-tuning or a study.

    Args:
        folder: of the run.
        settings: the dataclass it is made from; what it names (weights, a policy, a split file) is hashed.
        seeds: of the run, or of all that a study plans.
        splits: of the settings' data, as far as the run sees them.
    """
    spec = json.loads(json.dumps(asdict(settings), default=str))
    told = {**machine(str(spec.get("device", "cpu"))), "seeds": list(seeds), "spec": spec}
    inputs = {name: _hash_of(spec[name]) for name in _NAMING if spec.get(name)}
    told["inputs"] = {name: found for name, found in inputs.items() if found}
    if agent := spec.get("agent"):
        told["agents"] = {agent: code_of(agent)}
    if splits:
        left = sorted(folder.rglob("[!.]*.safetensors"))
        told["networks"] = {str(path.relative_to(folder).with_suffix("")): _hash_of(path) for path in left}
        size, file = settings.size, spec["split_file"] or None
        cases = {split: open_cases(settings.data, split, file, size=size) for split in splits}
        layout, _, options = settings.data.partition("?")
        listed = {split: [(case.id, case.key) for case in part] for split, part in cases.items()}
        told["split_hash"] = digest(
            layout.partition(":")[0], options, size, listed
        )  # not where it lies on this machine
    write_text(folder / NAME, json.dumps(told, indent=2))


def machine(device: str = "cpu", argv: list[str] | None = None) -> dict[str, Any]:
    """Describe code, machine, date and command; the command can be pasted into a shell."""
    graphics = {"graphics": torch.cuda.get_device_name(device)} if device.startswith("cuda") else {}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["maskgym", *(sys.argv[1:] if argv is None else argv)]),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _VERSIONS}},
        "commit": _commit(),
        "device": device,
        "processor": _processor(),
        **graphics,
        "threads": torch.get_num_threads(),
    }


def game(task: Task, env: str, images: int = 0) -> dict[str, Any]:
    """Describe a game: its environment, and the hashes of what decides its rewards, networks and images."""
    usual = {field.name: field.default for field in fields(task.settings)}
    keywords = {name: value for name, value in asdict(task.settings).items() if value != usual[name]}
    return {
        "env": env.removeprefix("maskgym:"),
        "keywords": keywords,
        "split": task.settings.split,
        "patches": task.patches.count,
        "network": task.fingerprint,
        "split_hash": images_hash(task, images or len(task.images)),
    }


def images_hash(task: Task, images: int) -> str:
    """Hash the names of the first images of a split and every pixel of them."""
    digest = hashlib.sha256("\n".join(task.images.ids[:images]).encode())
    for first in range(0, images, 64):
        part = np.asarray(task.images.images[first : min(first + 64, images)])
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]


def code(cls: type) -> dict[str, str]:
    """Say by which code an agent plays: its distribution and version, and a hash of the files that define it.

    Those are the files of its class and of the classes it is made from, and whatever of its own package and of maskgym
    they use.
    """
    names = {cls.__module__.partition(".")[0], "maskgym"}
    files: dict[str, Path] = {}
    pending = [module for base in cls.__mro__ if (module := _module(base)) is not None]
    while pending:
        module = pending.pop()
        if module.__name__ in files or module.__name__.partition(".")[0] not in names:
            continue
        if (source := getattr(module, "__file__", None)) is None:
            continue
        files[module.__name__] = Path(source)
        pending += [found for value in vars(module).values() if (found := _module(value)) is not None]
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + files[name].read_bytes())
    owners = packages_distributions().get(cls.__module__.partition(".")[0], [])
    told = " ".join((owners[0], _version(owners[0]))) if owners else "not installed"
    name = f"{cls.__module__}.{cls.__qualname__}"
    return {"class": name, "distribution": told, "source": digest.hexdigest()[:16], "maskgym": _version("maskgym")}


def code_of(spec: str) -> dict[str, Any]:
    """Say by which code an agent plays that is given by its spec, and by which the agents it starts from."""
    own, *starts = [code(agent_class(name_of(part))) for part in within(spec)]
    return {**own, "starts": starts} if starts else {**own}


def folder_hash(folder: Path) -> str:
    """Hash what an agent or a network was saved as: trained again, it is another one."""
    saved = sorted(folder.glob("agent.*"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in saved)).hexdigest()[:16] if saved else _hash_of(folder)


def _hash_of(path: str | Path) -> str:
    """Hash a file, or the weights in a folder; nothing where there is neither."""
    there = Path(path).expanduser()
    files = sorted(there.glob("[!.]*.safetensors")) if there.is_dir() else [there] if there.is_file() else []
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16] if files else ""


def digest(*parts: Any) -> str:
    """Hash whatever can be written as JSON."""
    return hashlib.sha256(json.dumps(parts, default=str, sort_keys=True).encode()).hexdigest()[:16]


def _module(value: Any) -> ModuleType | None:
    """The module a value is, or was defined in."""
    if isinstance(value, ModuleType):
        return value
    name = getattr(value, "__module__", None) if inspect.isclass(value) or callable(value) else None
    return sys.modules.get(name) if isinstance(name, str) else None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


@cache
def _commit() -> str:
    """The commit of the checkout that runs, "+" behind it where files differ from it; empty for an installed wheel."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        asked = [("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no")]
        told = [
            subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True)
            for words in asked
        ]
    except (OSError, subprocess.SubprocessError):
        return ""
    return told[0].stdout.strip() + ("+" if told[1].stdout.strip() else "")


@cache
def _processor() -> str:
    """Name the processor as a person would."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
