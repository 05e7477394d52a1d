"""Par: the best mask known for every image of one game, kept in a file.

A file belongs to one game, that is one reward and its networks (by the hash of their weights), split, image size and
patch size, and holds a table for each ratio. It knows what it knows image by image: more images extend it. Images are
recognised by what they look like, so the par that ships with the package serves on every machine that makes the same
phantoms, to rounding. Points are always against the par that ships, unless a file is named.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maskgym.errors import BadInput
from maskgym.files import replacing

if TYPE_CHECKING:
    from maskgym.envs.task import Task

RANDOM_MASKS = 32  # whose mean reward is an image's zero
VERSION = "par v1"  # of the par that ships; raised by whatever changes a mask in it

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
    half: np.ndarray  # (n,) float32 what half the queries had found; NaN until then
    spent: np.ndarray  # (n,) int32 queries so far
    goal: np.ndarray  # (n,) int32 queries after which the search is over
    sources: list[str] = field(default_factory=list)  # agents whose masks the search started from, too

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def queries(self) -> int:
        """Queries of the image that got fewest."""
        return int(self.spent.min())

    def head(self, images: int) -> Table:
        """The table of the first images only."""
        return replace(self, mask=self.mask[:images], **{part: getattr(self, part)[:images] for part in _PARTS})

    def extended(self, more: Table) -> Table:
        """The table with more images behind its own."""
        parts: dict[str, Any] = {
            part: np.concatenate([getattr(self, part), getattr(more, part)]) for part in ("mask", *_PARTS)
        }
        return replace(self, **parts)

    def doubling(self) -> tuple[float, float]:
        """What the second half of the queries added: as a share of the mean reward, and in points."""
        half, reward, random = (part.astype(float).mean() for part in (self.half, self.reward, self.random))
        return float(reward / half - 1), float(100 * (reward - half) / (reward - random))

    @property
    def digest(self) -> str:
        """Hash of everything that points depend on."""
        parts = (np.packbits(self.mask, axis=1), self.reward.astype("<f4"), self.random.astype("<f4"))
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()[:10]


@dataclass
class Par:
    """What is in one file."""

    about: dict[str, Any]  # of the game, see `describe`
    look: np.ndarray  # (n, 16) float32: some pixels of each image
    tables: dict[str, Table] = field(default_factory=dict)  # by ratio, as `key` writes it; each knows n images or fewer

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        from safetensors.numpy import save_file

        arrays, about = {"look": self.look}, {**self.about, "tables": {}}
        for name, table in self.tables.items():
            arrays[f"{name}/mask"] = np.packbits(table.mask, axis=1)
            for part in _PARTS:
                arrays[f"{name}/{part}"] = getattr(table, part)
            about["tables"][name] = {"sources": table.sources}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as draft:
                save_file(arrays, draft, metadata={"maskgym": json.dumps(about, sort_keys=True)})
                draft.chmod(0o644)
        except OSError as error:
            raise BadInput(f"cannot write {path}: {error.strerror or error}; choose another --out") from error

    def extend(self, task: Task, images: int) -> None:
        """Make room for the first so many images; tables learn of them when they are searched."""
        if images > len(self.look):
            self.look = np.concatenate([self.look, look_at(task, images)[len(self.look) :]])


@dataclass(frozen=True)
class NamedPar:
    """Par as points are counted against it: the first images of a table, and what it is called."""

    table: Table
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.table.digest})"


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
        "reward": task.settings.reward,
        "fingerprint": task.fingerprint,
        "random_masks": RANDOM_MASKS,
    }


def start(task: Task, images: int) -> Par:
    """Start an empty par of the first images."""
    return Par(describe(task), look_at(task, images))


def look_at(task: Task, images: int) -> np.ndarray:
    """Take some pixels of each of the first images: (n, 16) float32."""
    flat = np.asarray(task.images.images[:images]).reshape(images, -1)
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
        return Par(about, arrays["look"], tables)
    except FileNotFoundError:
        raise BadInput(f"there is no par file {path}: write one with `maskgym par --out {path}`") from None
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise BadInput(f"{path} is no par file or is damaged ({reason}): write it again with `maskgym par`") from error


def refusal(par: Par, task: Task) -> str | None:
    """Say why this par is of another game, or nothing."""
    for name, value in describe(task).items():
        if name != "dataset" and par.about.get(name) != value:
            what = "reward or network" if name == "fingerprint" else name.replace("_", " ")
            return f"is of another {what}: {par.about.get(name)}, this game has {value}"
    both = min(len(par.look), len(task.images))
    if not np.allclose(par.look[:both], look_at(task, both), atol=_TOLERANCE):
        return f"is of other images ({par.about.get('dataset')}, {par.about.get('split')})"
    return None


def find(task: Task, ratio: float, images: int, path: Path | None = None) -> NamedPar:
    """Find par of the first images at a ratio: the one that ships, or the one in the file named."""
    if path is None:
        return shipped(task, ratio, images)
    par = read(path)
    advice = f"extend it with `maskgym par --out {path}`, the same game, --ratio {key(ratio)} and --images {images}"
    if reason := refusal(par, task):
        raise BadInput(f"{path} {reason}: name the par of this game, or write it with `maskgym par`")
    if key(ratio) not in par.tables:
        raise BadInput(f"{path} has no ratio {key(ratio)}, only {', '.join(par.tables) or 'none'}: {advice}")
    table = par.tables[key(ratio)]
    if len(table) < images:
        raise BadInput(f"{path} knows {len(table)} images at ratio {key(ratio)}, not {images}: {advice}")
    return NamedPar(table.head(images), f"own par, {path.name}")


def shipped(task: Task, ratio: float, images: int) -> NamedPar:
    """Find the par that ships with the package: the same on every machine."""
    for par in all_shipped(task):
        table = par.tables.get(key(ratio))
        if table is not None and len(table) >= images:
            return NamedPar(table.head(images), VERSION)
    raise BadInput(
        f"no par of {images} images of this game ships at ratio {key(ratio)}: "
        "search one with `maskgym par --out FILE`, then give it by --par FILE"
    )


def all_shipped(task: Task) -> Iterator[Par]:
    """Go through the shipped pars of this game: one, or none."""
    for path in sorted(_BUNDLED.glob("*.safetensors")):
        par = read(path)
        if par.about["fingerprint"] == task.fingerprint and refusal(par, task) is None:
            yield par


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the file against a second search; the lock falls with the process."""
    from maskgym.data import cache

    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:20]
    try:
        with cache.explained(cache.folder()), cache.lock(cache.folder() / f"par-{digest}", timeout=0):
            yield
    except TimeoutError:
        raise BadInput(f"another `maskgym par` is writing {path}: wait for it, or choose another --out") from None


def _public(dataset: str) -> str:
    """Name a data set without the folders of this machine."""
    layout, colon, rest = dataset.partition(":")
    folder, mark, options = rest.partition("?")
    return f"{layout}:{Path(folder).name}{mark}{options}" if colon else dataset
