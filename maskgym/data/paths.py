"""The files below a folder, as the patterns of a layout see them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from maskgym.data.dicom import NAMES, is_dicom


def paths_below(folder: Path, bare: bool) -> dict[str, str]:
    """Every file below the folder, as text: what a pattern is to match, and the path.

    A folder of DICOM slices is one path that ends in `/`. With `bare`, files whose name has no ending are looked into,
    and those that are DICOM match as if they ended in `.dcm`.
    """
    found: dict[str, str] = {}
    visited: set[str] = set()
    for where, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(where)) in visited:  # a link back up
            folders.clear()
            continue
        visited.add(real)
        below = os.path.relpath(where, folder).replace(os.sep, "/")
        prefix = "" if below == "." else below + "/"
        plain = [name for name in files if name.lower().endswith(NAMES)]
        without = [name for name in files if bare and _is_bare(name) and is_dicom(Path(where, name))]
        if "/" in below and (plain or without):
            found[prefix] = prefix
            continue
        found |= {prefix + name: prefix + name for name in files if not name.startswith(".")}
        for name in without:
            found[f"{prefix}{name}.dcm"] = found.pop(prefix + name)
    return dict(sorted(found.items()))


def _is_bare(name: str) -> bool:
    """Whether a name has no ending that says what it is; DICOM files are often called by a number."""
    ending = os.path.splitext(name)[1][1:]
    return not name.startswith(".") and (not ending or ending.isdigit())


def matching(pattern: str, paths: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
    """List the paths that a pattern matches whole, each with what the pattern's named groups say of it."""
    compiled = re.compile(pattern)
    found = []
    for shown, path in paths.items():
        if match := compiled.fullmatch(shown):
            groups = {name: text for name, text in match.groupdict().items() if text is not None}
            if "case2" in groups:  # a pattern of two forms cannot name a group twice
                groups["case"] = groups.pop("case2")
            found.append((path, groups))
    return found
