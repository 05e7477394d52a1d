"""How many of the hidden patches were lesion, epoch by epoch. Labels are for this report; nothing else sees them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskgym import files
from maskgym.errors import BadInput
from maskgym.masking.patches import Patches

FILE = "lesions.csv"
COLUMNS = ("epoch", "hidden", "hidden lesion", "visible", "visible lesion", "precision", "recall", "lesion share")


class LesionReport:
    """Counts hidden and visible patches with and without lesion.

    Args:
        lesions: where those of the train split are, (n, *size) bool; None where nobody says.
        patches: the grid.
    """

    def __init__(self, lesions: np.ndarray | None, patches: Patches):
        if lesions is None:
            raise BadInput("these images have no labels to report on: leave --report away")
        parts = [
            patches.any(torch.from_numpy(np.ascontiguousarray(lesions[first : first + 64])))
            for first in range(0, len(lesions), 64)
        ]
        self.lesion = torch.cat(parts)  # (n, *grid) bool
        self.counts: dict[int, list[int]] = {}  # epoch -> hidden, hidden lesion, visible, visible lesion

    def note(self, epoch: int, mask: Tensor, index: Tensor) -> None:
        """Count the masks (B, *grid) of images (B,) of one step."""
        hidden, lesion = mask.cpu(), self.lesion[index.cpu()]
        found = torch.stack([hidden, hidden & lesion, ~hidden, ~hidden & lesion]).flatten(1).sum(1).tolist()
        before = self.counts.get(epoch, [0, 0, 0, 0])
        self.counts[epoch] = [a + b for a, b in zip(before, found, strict=True)]

    def rows(self) -> list[dict[str, Any]]:
        """Give a row an epoch: the counts, and what follows from them.

        Precision is the share of the hidden patches that is lesion, recall the share of the lesion patches that is
        hidden, lesion share what precision would be if all patches were hidden: what chance gives.
        """
        told = []
        for epoch, (hidden, struck, visible, missed) in sorted(self.counts.items()):
            shares = (struck / hidden, struck / max(struck + missed, 1), (struck + missed) / (hidden + visible))
            counts = (epoch, hidden, struck, visible, missed)
            told.append(dict(zip(COLUMNS, (*counts, *(round(share, 5) for share in shares)), strict=True)))
        return told

    def write(self, folder: Path) -> None:
        """Write the rows as a table."""
        lines = [",".join(COLUMNS)] + [",".join(str(row[name]) for name in COLUMNS) for row in self.rows()]
        files.write_text(folder / FILE, "\n".join(lines) + "\n")

    def state(self) -> dict[str, list[int]]:
        """What a resumed run needs."""
        return {str(epoch): counts for epoch, counts in self.counts.items()}

    def load(self, state: dict[str, list[int]]) -> None:
        """Go on counting."""
        self.counts = {int(epoch): list(counts) for epoch, counts in state.items()}


def read(folder: Path) -> list[dict[str, float]]:
    """Read the table that a run wrote."""
    try:
        with (folder / FILE).open(newline="") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except OSError:
        raise BadInput(f"{folder} has no {FILE}: pre-train with --report") from None
