"""The case store: every case once, at native resolution, as memory-mapped arrays beside a page of JSON.

A case is found by a hash of its files' names, sizes and times and of what is kept of them, so one store serves every
size, split and view. Arrays are written first and the page last, each whole or not at all: a case that has its page is
complete, and whoever is killed leaves the cases behind that were.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from maskgym import files
from maskgym.data import cache, measure, orient
from maskgym.data.examine import Sample
from maskgym.data.find import CaseFiles, Found
from maskgym.data.measure import Tone
from maskgym.errors import BadInput

VERSION = 1  # raise when the files of the store change their meaning
ARRAYS = ("image", "label", "places")
ABOUT = "store.json"

# What of a layout has no say in the arrays of a case.
_NO_MATTER: dict[str, Any] = {
    "about": "", "looks_like": "", "complete": None, "expected": (), "graded": {}, "grades": (), "regions": {},
    "window": None, "slices": False, "has_patients": True,
}  # fmt: skip

Page = dict[str, Any]  # what is known of a case: shape, affine, hashes, what was measured


class Store:
    """The prepared cases of one layout, in one folder."""

    def __init__(self, layout: str, chosen: Path | None = None) -> None:
        self.cache = cache.folder(chosen)
        self.folder = self.cache / "cases" / layout
        about = self.folder / ABOUT
        try:
            version = json.loads(about.read_text())["version"]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{about} cannot be understood ({error!r}): remove it if the folder is no store") from None
        if version != VERSION:
            raise BadInput(
                f"the case store {self.folder} is of version {version} and this maskgym reads version {VERSION}: "
                "set MASKGYM_CACHE to another folder, or empty this one with `maskgym data clear`"
            )

    def page(self, key: str) -> Page | None:
        """What is known of a case; None where it is not there or an array is not as long as it was."""
        start = f"{self.folder}{os.sep}{key}."  # plain strings: a set may have many thousands of cases
        try:
            with open(f"{start}json") as file:
                told: Page = json.load(file)
            sizes = {name: os.stat(f"{start}{name}.npy").st_size for name in told["bytes"]}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return told if sizes == told["bytes"] else None

    def path(self, key: str, name: str) -> Path:
        """The file of an array of a case."""
        return self.folder / f"{key}.{name}.npy"

    def array(self, key: str, name: str, page: Page) -> np.ndarray:
        """An array of a case, memory-mapped: mapped anew at every call, so that nothing stays in memory unasked."""
        path, (kind, shape) = self.path(key, name), page["arrays"][name]
        start = page["bytes"][name] - np.dtype(kind).itemsize * math.prod(shape)  # behind the header
        if not math.prod(shape):
            return np.zeros(shape, kind)
        try:
            return np.asarray(np.memmap(path, kind, "r", start, tuple(shape)))
        except (OSError, ValueError) as error:
            raise BadInput(f"{path} cannot be read ({error}): run again, it is then made anew") from None

    def write(self, key: str, sample: Sample, tone: Tone) -> None:
        """Add a case, with what a tone measures of it."""
        arrays = {"image": np.ascontiguousarray(sample.pixels)}
        if sample.labels is not None:
            arrays |= {"label": sample.labels, "places": measure.places(sample.labels)}
        page: Page = {
            "shape": list(sample.pixels.shape[1:]),
            "affine": None if sample.affine is None else sample.affine.tolist(),
            "spacing": None if sample.affine is None else orient.spacing_of(sample.affine),
            "lone_slice": sample.eight_bit and sample.affine is None,
            "marked": None if sample.labels is None else measure.marked(sample.labels),
            "measured": {},
            "arrays": {name: [array.dtype.str, array.shape] for name, array in arrays.items()},
            "bytes": {},
            "sha256": {name: hashlib.sha256(array.data).hexdigest() for name, array in arrays.items()},
        }
        page["measured"][tone.key] = measure.measure(sample.pixels, tone, page["lone_slice"])
        for name, array in arrays.items():
            with files.replacing(self.path(key, name)) as draft:
                np.save(draft, array, allow_pickle=False)
            page["bytes"][name] = os.stat(self.path(key, name)).st_size
        files.write_text(self.folder / f"{key}.json", json.dumps(page))

    def measured(self, key: str, page: Page, tone: Tone) -> dict[str, Any]:
        """What a tone measures of a case; remembered on its page."""
        if tone.key not in page["measured"]:
            page["measured"][tone.key] = measure.measure(self.array(key, "image", page), tone, page["lone_slice"])
            with suppress(OSError):  # a store that may only be read still serves
                files.write_text(self.folder / f"{key}.json", json.dumps(page))
        told: dict[str, Any] = page["measured"][tone.key]
        return told

    def sound(self, key: str) -> bool:
        """Read a case whole and compare it with its hashes."""
        page = self.page(key)
        if page is None:
            return False
        return all(
            hashlib.sha256(np.ascontiguousarray(self.array(key, name, page)).data).hexdigest() == digest
            for name, digest in page["sha256"].items()
        )

    def remove(self, key: str) -> None:
        """Take a case out; its page first, so that nobody opens what is half removed."""
        for path in (self.folder / f"{key}.json", *(self.path(key, name) for name in ARRAYS)):
            path.unlink(missing_ok=True)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the store for writing; another process that wants to waits here, then finds the work done."""
        with cache.explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with cache.lock(self.folder):
                if not (self.folder / ABOUT).exists():
                    files.write_text(self.folder / ABOUT, json.dumps({"version": VERSION}))
                for rest in self.folder.glob(".*"):  # drafts of a process that was killed
                    rest.unlink(missing_ok=True)
                yield


def key_of(case: CaseFiles, found: Found) -> str:
    """The name of a case in the store: it changes with its files and with what is kept of them."""
    options = found.spec.options
    told = [
        repr(replace(found.layout, **_NO_MATTER)),
        [options.modality, options.classes],
        [case.images, case.labels],
        _stamps(found.spec.folder, case),
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]


def _stamps(folder: Path, case: CaseFiles) -> list[list[Any]]:
    """Name, size and time of every file of a case; plain strings, for there may be many thousands."""
    stamps = []
    for below in (*case.images, *(path for _, path in case.labels)):
        path = os.path.join(folder, below)
        inside = sorted(os.path.join(path, name) for name in os.listdir(path)) if below.endswith("/") else [path]
        for file in inside:
            try:
                stat = os.stat(file)
            except OSError:  # a dangling link; reading it will say so by name
                stamps.append([below, file.rpartition(os.sep)[2], -1, -1])
            else:
                stamps.append([below, file.rpartition(os.sep)[2], stat.st_size, stat.st_mtime_ns])
    return stamps
