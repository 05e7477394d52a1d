"""The cache: memory-mapped arrays in a folder, made once, safe to share between processes.

An entry is a folder named after a hash of everything it was made from. It is written under a temporary name, under a
lock, and renamed when whole, so that whoever sees an entry sees all of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from maskgym import files
from maskgym.errors import BadInput

FORMAT = 1  # raise when the files of an entry change their meaning
ABOUT = "about.json"

Entry = tuple[dict[str, np.ndarray], dict[str, Any]]  # the arrays by name, and what about.json says


class Writer:
    """Writes the arrays of one entry piece by piece, so that a set need not fit in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about: dict[str, Any] = {}
        self._parts: dict[str, tuple[Any, np.dtype, tuple[int, ...], int]] = {}

    def append(self, name: str, rows: np.ndarray) -> None:
        """Add rows (n, ...) to the array `name`; every call must agree in type and shape."""
        rows = np.ascontiguousarray(rows)
        if name not in self._parts:
            file = open(self.folder / f"{name}.npy", "wb")  # noqa: SIM115 (closed by `close`)
            self._parts[name] = (file, rows.dtype, rows.shape[1:], 0)
            self._header(name)
        file, dtype, shape, count = self._parts[name]
        if (rows.dtype, rows.shape[1:]) != (dtype, shape):
            raise ValueError(f"{name}: rows of {rows.dtype} {rows.shape[1:]} do not fit {dtype} {shape}")
        file.write(rows.data)
        self._parts[name] = (file, dtype, shape, count + len(rows))

    def close(self) -> None:
        """Put the final row counts into the headers, write about.json, close the files."""
        for name, (file, *_rest) in self._parts.items():
            self._header(name)
            file.close()
        (self.folder / ABOUT).write_text(json.dumps(self.about))

    def abandon(self) -> None:
        """Close the files without caring what is in them."""
        for file, *_rest in self._parts.values():
            with suppress(OSError):  # a full disk says so once more when buffers are flushed
                file.close()

    def _header(self, name: str) -> None:
        # numpy pads a header so that its first axis can grow in place: the second header is as long as the first.
        file, dtype, shape, count = self._parts[name]
        file.seek(0)
        description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count, *shape)}
        np.lib.format.write_array_header_1_0(file, description)
        file.seek(0, os.SEEK_END)


def folder(chosen: Path | None = None) -> Path:
    """The cache folder: the one chosen, else $MASKGYM_CACHE, else the user's cache folder."""
    if chosen is not None:
        return Path(chosen).expanduser()
    if ours := os.environ.get("MASKGYM_CACHE"):
        return Path(ours).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "maskgym"


def fetch(name: str, key: dict[str, Any], make: Callable[[Writer], None], chosen: Path | None = None) -> Entry:
    """Open the entry of `key`, memory-mapped; where it is not there (or damaged), let `make` write it first."""
    where = folder(chosen)
    digest = hashlib.sha256(json.dumps([FORMAT, key], sort_keys=True).encode()).hexdigest()[:20]
    entry = where / f"{name}-{digest}"
    if (found := _open(entry)) is not None:
        return found
    with explained(where), lock(entry):
        if (found := _open(entry)) is not None:  # another process was faster
            return found
        _write(entry, make)
    found = _open(entry)
    if found is None:
        raise BadInput(f"the cache entry {entry} vanished on opening: run again, or set MASKGYM_CACHE elsewhere")
    return found


def remember(name: str, make: Callable[[], dict[str, Any]], chosen: Path | None = None) -> dict[str, Any]:
    """A small JSON memory: what `make` said the first time. Never fails where the folder cannot be written."""
    file = folder(chosen) / "remembered" / (re.sub(r"[^\w.-]+", "_", name) + ".json")
    with suppress(OSError, ValueError):
        known = json.loads(file.read_text())
        if isinstance(known, dict):
            return known
    fresh = make()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(file, json.dumps(fresh))
    return fresh


def clear(chosen: Path | None = None) -> tuple[int, int]:
    """Remove every entry and case that no process is writing at the moment; returns how many and how many bytes."""
    from filelock import Timeout

    where = folder(chosen)
    entries, freed = 0, 0
    with explained(where):
        for entry in sorted(where.glob("*-*/" + ABOUT)):
            try:
                with lock(entry.parent, timeout=0):
                    freed += _size(entry.parent)
                    _remove(entry.parent)
                    entries += 1
            except Timeout:
                continue
        for about in sorted(where.glob("cases/*/store.json")):
            try:
                with lock(about.parent, timeout=0):
                    entries += len(list(about.parent.glob("[!.]*.json"))) - 1
                    freed += _size(about.parent)
                    shutil.rmtree(about.parent)
            except Timeout:
                continue
        for rest in where.glob(".*-*.part-*"):  # left by a process that was killed
            try:
                with lock(rest.with_name(rest.name[1:].split(".part-")[0]), timeout=0):
                    freed += _size(rest)
                    shutil.rmtree(rest, ignore_errors=True)
            except Timeout:
                continue
        shutil.rmtree(where / "remembered", ignore_errors=True)
    return entries, freed


def _open(entry: Path) -> Entry | None:
    try:
        about = json.loads((entry / ABOUT).read_text())
        arrays = {file.stem: np.load(file, mmap_mode="r", allow_pickle=False) for file in entry.glob("*.npy")}
    except (OSError, ValueError):  # not there, or cut short
        return None
    return arrays, about


def _write(entry: Path, make: Callable[[Writer], None]) -> None:
    for rest in entry.parent.glob(f".{entry.name}.part-*"):  # left by a process that was killed
        shutil.rmtree(rest, ignore_errors=True)
    temporary = entry.with_name(f".{entry.name}.part-{uuid.uuid4().hex}")
    temporary.mkdir()
    writer = Writer(temporary)
    try:
        make(writer)
        writer.close()
        _remove(entry)  # a damaged one
        os.rename(temporary, entry)
    except BaseException:
        writer.abandon()
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _remove(entry: Path) -> None:
    (entry / ABOUT).unlink(missing_ok=True)  # first, so that nobody opens what is half removed
    if entry.exists():
        shutil.rmtree(entry)


def _size(entry: Path) -> int:
    return sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())


@contextmanager
def lock(entry: Path, timeout: float = -1) -> Iterator[None]:
    """Hold an entry against other processes."""
    from filelock import FileLock

    locks = entry.parent / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(str(locks / f"{entry.name}.lock"), timeout=timeout):
        yield


@contextmanager
def explained(where: Path) -> Iterator[None]:
    """Say in one line that a folder of the cache cannot be written."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInput(
            f"the cache folder {where} cannot be written ({reason}): set MASKGYM_CACHE to a folder with room"
        ) from error
