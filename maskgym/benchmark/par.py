"""Par: the best mask known for every image of one game, kept in a file and found again.

A file belongs to one game, that is one reconstructor (by the hash of its weights), split, image size and patch size,
and holds a table for each ratio. Images are recognised by what they look like, so a par shipped with the package serves
on every machine that makes the same phantoms, to rounding.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maskgym.data import cache
from maskgym.errors import BadInput

if TYPE_CHECKING:
    from maskgym.envs.task import Task

RANDOM_MASKS = 32  # whose mean reward is an image's zero

_BUNDLED = Path(__file__).parent / "bundled"
_PIXELS = 16  # of each image, kept to recognise it
_TOLERANCE = 0.02  # deviations by which such a pixel may differ: another machine, another rounding
_PARTS = ("reward", "random", "half", "spent", "goal")


@dataclass
class Table:
    """Par of n images at one ratio."""

    mask: np.ndarray  # (n, N) bool, True = hidden
    reward: np.ndarray  # (n,) float32 of that mask
    random: np.ndarray  # (n,) float32 mean reward of RANDOM_MASKS random masks
    half: np.ndarray  # (n,) float32 what half the evaluations had found; NaN until then
    spent: np.ndarray  # (n,) int32 evaluations so far
    goal: np.ndarray  # (n,) int32 evaluations after which the search is over
    asked: int = 0  # evaluations an image of the longest search
    sources: list[str] = field(default_factory=list)  # agents whose masks the search started from, too

    @property
    def evaluations(self) -> int:
        """Evaluations of the image that got fewest."""
        return int(self.spent.min())

    def head(self, images: int) -> Table:
        """The table of the first images only."""
        return replace(self, mask=self.mask[:images], **{part: getattr(self, part)[:images] for part in _PARTS})

    def doubling(self) -> tuple[float, float]:
        """What the second half of the evaluations added: as a share of the mean reward, and in points."""
        half, reward, random = (part.astype(float).mean() for part in (self.half, self.reward, self.random))
        return float(reward / half - 1), float(100 * (reward - half) / (reward - random))


@dataclass
class Par:
    """What is in one file."""

    about: dict[str, Any]  # of the game, see `describe`
    look: np.ndarray  # (n, 16) float32: some pixels of each image
    tables: dict[str, Table] = field(default_factory=dict)  # by ratio, as `key` writes it
    path: Path | None = None

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        from safetensors.numpy import save_file

        arrays, about = {"look": self.look}, {**self.about, "tables": {}}
        for name, table in self.tables.items():
            arrays[f"{name}/mask"] = np.packbits(table.mask, axis=1)
            for part in _PARTS:
                arrays[f"{name}/{part}"] = getattr(table, part)
            about["tables"][name] = {"asked": table.asked, "sources": table.sources}
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(arrays, draft, metadata={"maskgym": json.dumps(about, sort_keys=True)})
            draft.chmod(0o644)
            os.replace(draft, path)
        except OSError as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise BadInput(f"cannot write {path}: {error.strerror or error}; choose another --out") from error
        self.path = path


def key(ratio: float) -> str:
    """How a ratio is written in a file."""
    return f"{ratio:g}"


def describe(task: Task) -> dict[str, Any]:
    """Describe the game whose par it is, but for the ratio."""
    return {
        "kind": "par",
        "dataset": _public(task.settings.dataset),
        "split": task.settings.split,
        "image_size": list(task.patches.size),
        "patch_size": list(task.patches.patch),
        "channels": task.channels,
        "fingerprint": task.fingerprint,
        "random_masks": RANDOM_MASKS,
    }


def start(task: Task, images: int) -> Par:
    """Start an empty par of the first images."""
    return Par(describe(task), look_at(task, images))


def look_at(task: Task, images: int) -> np.ndarray:
    """Take some pixels of each of the first images: (n, 16) float32."""
    flat = task.images.images[:images].reshape(images, -1)
    places = np.linspace(0, flat.shape[1] - 1, _PIXELS + 2).astype(int)[1:-1]
    return np.ascontiguousarray(flat[:, places], np.float32)


def read(path: Path) -> Par:
    """Read a file that `Par.save` wrote."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {})["maskgym"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if about.get("kind") != "par":
            raise ValueError("it is no par")
        count = int(np.prod([a // b for a, b in zip(about["image_size"], about["patch_size"], strict=True)]))
        tables = {}
        for name, more in about.pop("tables").items():
            mask = np.unpackbits(arrays[f"{name}/mask"], axis=1, count=count).astype(bool)
            tables[name] = Table(mask, *(arrays[f"{name}/{part}"] for part in _PARTS), **more)
        return Par(about, arrays["look"], tables, path)
    except FileNotFoundError:
        raise BadInput(f"there is no par file {path}: write one with `maskgym par --out {path}`") from None
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise BadInput(f"{path} is no par file or is damaged ({reason}): write it again with `maskgym par`") from error


def refusal(par: Par, task: Task, images: int) -> str | None:
    """Say why this par is of another game, or nothing."""
    for name, value in describe(task).items():
        if name != "dataset" and par.about.get(name) != value:
            what = "reconstructor" if name == "fingerprint" else name.replace("_", " ")
            return f"is of another {what}: {par.about.get(name)}, this game has {value}"
    if len(par.look) < images:
        return f"knows {len(par.look)} images, not {images}"
    if not np.allclose(par.look[:images], look_at(task, images), atol=_TOLERANCE):
        return f"is of other images ({par.about.get('dataset')}, {par.about.get('split')})"
    return None


def find(task: Task, ratio: float, images: int, path: Path | None = None) -> tuple[Table, Path]:
    """Find par of the first images at a ratio: in the file named, or the best of the user's own and the shipped."""
    advice = f"run `maskgym par` for this game with --ratio {key(ratio)}"
    if path is not None:
        par = read(path)
        reason = refusal(par, task, images)
        if reason is None and key(ratio) not in par.tables:
            reason = f"has no ratio {key(ratio)}, only {', '.join(par.tables) or 'none'}"
        if reason is not None:
            raise BadInput(f"{path} {reason}: {advice}")
        return par.tables[key(ratio)].head(images), path
    able = [par for par in fitting(task, images) if key(ratio) in par.tables]
    found = [(par.tables[key(ratio)].head(images), par.path) for par in able]
    if not found:
        raise BadInput(f"no par is known for {images} images of this game at ratio {key(ratio)}: {advice}")
    table, where = max(found, key=lambda one: float(one[0].reward.mean()))
    assert where is not None
    return table, where


def fitting(task: Task, images: int) -> Iterator[Par]:
    """Go through all par files of this game, the user's own first."""
    for folder in (cache.folder() / "par", _BUNDLED):
        for path in sorted(folder.glob("*.safetensors")):
            with suppress(BadInput):  # a damaged file is not asked for by name: as if it were not there
                par = read(path)
                if refusal(par, task, images) is None:
                    yield par


def usual_path(task: Task) -> Path:
    """Where `maskgym par` writes when it is not told."""
    size, patch = ("x".join(map(str, sides)) for sides in (task.patches.size, task.patches.patch))
    data = hashlib.sha256(f"{task.settings.dataset}|{task.settings.split_file}".encode()).hexdigest()[:8]
    layout = task.settings.dataset.partition(":")[0].partition("?")[0]
    name = f"{layout}-{data}-{task.settings.split}-{size}-patch-{patch}-{task.fingerprint}.safetensors"
    return cache.folder() / "par" / name


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the file against a second search; the lock falls with the process."""
    from filelock import FileLock, Timeout

    locks = cache.folder() / "locks"
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:20]
    try:
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(str(locks / f"par-{digest}.lock"), timeout=0):
            yield
    except Timeout:
        raise BadInput(f"another `maskgym par` is writing {path}: wait for it, or choose another --out") from None


def _public(dataset: str) -> str:
    """Name a data set without the folders of this machine."""
    layout, colon, rest = dataset.partition(":")
    folder, mark, options = rest.partition("?")
    return f"{layout}:{Path(folder).name}{mark}{options}" if colon else dataset
