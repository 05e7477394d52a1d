"""Cases that a test holds in memory, some of them with millimetres."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from maskgym.data.case import HeldCase
from maskgym.data.cases import Cases
from maskgym.data.spec import Options


@dataclass(frozen=True, eq=False)
class Held(HeldCase):
    mm: tuple[float, ...] | None = None

    @property
    def spacing(self) -> tuple[float, ...] | None:
        return self.mm


def hold(labels: np.ndarray, patients: tuple[str, ...], images: np.ndarray | None = None, **more: Any) -> Cases:
    """One case for each of (n, *shape) labels; images (n, C, *shape), z-scored."""
    mm, told = more.pop("mm", None), {"channels": ("intensity",), "classes": ("core", "rim"), **more}
    images = labels[:, None].astype(np.float32) if images is None else images
    cases = tuple(
        Held(f"{patient}_{place}", patient, -1, False, image, label, mm)
        for place, (patient, image, label) in enumerate(zip(patients, images, labels, strict=True))
    )
    return Cases(cases, options=Options(), normalised=True, **told)
