"""Which patients are for training, validation and test, and which of the training patients have labels.

Patients are ordered by a hash of seed and name, so the order is the same on every machine and with every version of
every library, and a patient who joins later leaves the order of the others as it was.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from maskgym import files
from maskgym.errors import BadInput

PARTS = {"train": 0.7, "val": 0.1, "test": 0.2}
SHARES = (0.05, 0.10, 0.50)  # of labelled training patients, that a saved split lists


@dataclass(frozen=True)
class Split:
    """Three disjoint groups of patients, by id."""

    dataset: str  # the layout it was made for
    seed: int
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    labelled: dict[str, tuple[str, ...]] = field(default_factory=dict)  # "5%" -> those of train with labels

    def of(self, part: str) -> tuple[str, ...]:
        """The patients of train, val or test."""
        return {"train": self.train, "val": self.val, "test": self.test}[part]

    @property
    def hash(self) -> str:
        """A fingerprint of who is where."""
        told = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def by_patient(patients: Iterable[str], seed: int = 0, dataset: str = "") -> Split:
    """70 / 10 / 20 of the patients; at least one in each part where there are three or more, two where there are 10."""
    order = _shuffled(patients, f"split/{seed}")
    n = len(order)
    test = max(1, round(PARTS["test"] * n)) if n > 1 else 0
    val = max(1, round(PARTS["val"] * n)) if n > 2 else 0
    tested, held, rest = order[val : val + test], order[:val], order[val + test :]
    if n >= 10 and val == 1:  # what one patient says is about that patient
        held, rest = [*held, rest[0]], rest[1:]
    return _made(dataset, seed, rest, held, tested)


def folds(patients: Iterable[str], count: int, seed: int = 0, dataset: str = "") -> list[Split]:
    """So many splits that every patient is tested in exactly one; a tenth of the others is for validation."""
    order = _shuffled(patients, f"folds/{seed}")
    if not 2 <= count <= len(order) or len(order) < 3:
        raise BadInput(f"{count} folds of {len(order)} patients: choose from 2 to {len(order)}, of at least 3 patients")
    made = []
    for number in range(count):
        others = [patient for place, patient in enumerate(order) if place % count != number]
        val = max(1, round(PARTS["val"] * len(others)))
        made.append(_made(dataset, seed, others[val:], others[:val], order[number::count]))
    return made


def _made(dataset: str, seed: int, train: list[str], val: list[str], test: list[str]) -> Split:
    shares = {f"{share:.0%}": labelled(train, share, seed) for share in SHARES} if train else {}
    return Split(dataset, seed, tuple(sorted(train)), tuple(sorted(val)), tuple(sorted(test)), shares)


def labelled(patients: Sequence[str], share: float, seed: int = 0) -> tuple[str, ...]:
    """The patients whose labels may be used at a share: at least one; a small share lies within every larger one."""
    if not 0 < share <= 1:
        raise BadInput(f"a label share of {share} should lie above 0 and be at most 1")
    order = _shuffled(patients, f"labels/{seed}")
    return tuple(sorted(order[: max(1, math.floor(share * len(order) + 0.5))]))


def spread(patients: Sequence[str], count: int) -> list[int]:
    """Choose `count` of the images whose patients these are: as many of each as can be, evenly spaced in each.

    >>> spread(["a", "a", "a", "a", "b", "c"], 4)
    [1, 3, 4, 5]
    """
    rows: dict[str, list[int]] = {}
    for row, patient in enumerate(patients):
        rows.setdefault(patient, []).append(row)
    order = sorted(rows.values(), key=len)  # who has few gives all; the others share what is left
    chosen: list[int] = []
    for place, of_one in enumerate(order):
        share = min(len(of_one), (min(count, len(patients)) - len(chosen)) // (len(order) - place))
        chosen += [of_one[(2 * at + 1) * len(of_one) // (2 * share)] for at in range(share)]
    return sorted(chosen)


def save(split: Split, file: Path) -> None:
    """Write a split as plain JSON, with its hash."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(file, json.dumps(asdict(split) | {"hash": split.hash}, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise BadInput(f"{file} cannot be written ({error.strerror}): choose another --out") from None


def read(file: Path) -> Split:
    """Read a split that was saved; whatever is wrong with it is said in one sentence."""
    try:
        told = json.loads(file.read_text())
        parts = {part: tuple(str(patient) for patient in told[part]) for part in PARTS}
        shares = {share: tuple(patients) for share, patients in told.get("labelled", {}).items()}
        split = Split(str(told.get("dataset", "")), int(told.get("seed", 0)), **parts, labelled=shares)
    except FileNotFoundError:
        raise BadInput(f"the split file {file} does not exist: make it with `maskgym data split`") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"the split file {file} cannot be read ({error!r}): make it with `maskgym data split`") from None
    counts = Counter(patient for part in PARTS for patient in split.of(part))
    if twice := [patient for patient, count in counts.items() if count > 1]:
        raise BadInput(f"the split file {file} names {twice[0]!r} twice: a patient belongs to one part")
    if told.get("hash", split.hash) != split.hash:
        raise BadInput(f"the split file {file} was changed after it was saved: remove its hash line if that was meant")
    return split


def _shuffled(patients: Iterable[str], salt: str) -> list[str]:
    return sorted(set(patients), key=lambda patient: hashlib.sha256(f"{salt}/{patient}".encode()).digest())
