"""One case as the rest of the house holds it: who it is of, where it lies, and its arrays, opened only when asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from maskgym.data import measure
from maskgym.data.measure import Tone
from maskgym.data.store import Page, Store


@dataclass(frozen=True, eq=False)
class Case(ABC):
    """A volume (D, H, W) = foot to head, front to back, right to left, or a picture (H, W)."""

    id: str
    """One printable name, unique in its set."""
    patient: str
    """Whom it is of."""
    grade: int
    """Class of the whole image; -1 = none."""
    is_slice: bool
    """A picture that its publisher cut from a volume."""

    @property
    @abstractmethod
    def image(self) -> np.ndarray:
        """(C, *shape), memory-mapped, in the units and the number type of the file."""

    @property
    @abstractmethod
    def label(self) -> np.ndarray | None:
        """(*shape) uint8, memory-mapped, 0 = background; None where the set has no labels."""

    @property
    @abstractmethod
    def places(self) -> np.ndarray:
        """Some labelled voxels of every class: rows (class, *index) int32."""

    @property
    @abstractmethod
    def marked(self) -> list[list[int]]:
        """Of each axis, the slices that hold a label."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Native voxels along D, H, W or H, W."""

    @property
    @abstractmethod
    def key(self) -> str:
        """A name that changes when the case does."""

    @property
    def affine(self) -> np.ndarray | None:
        """(4, 4), of the file, whose axes are X, Y, Z; None for pictures."""
        return None

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Millimetres of a voxel along D, H, W; None for pictures, whose files tell none."""
        return None

    @abstractmethod
    def measured(self, tone: Tone) -> dict[str, Any]:
        """What `maskgym.data.measure.measure` says of the case."""


@dataclass(frozen=True, eq=False)
class StoredCase(Case):
    """A case of the store."""

    store: Store
    key_in_store: str
    page: Page

    @property
    def image(self) -> np.ndarray:  # noqa: D102
        return self.store.array(self.key, "image", self.page)

    @property
    def label(self) -> np.ndarray | None:  # noqa: D102
        return self.store.array(self.key, "label", self.page) if "label" in self.page["bytes"] else None

    @property
    def places(self) -> np.ndarray:  # noqa: D102
        return (
            self.store.array(self.key, "places", self.page)
            if "places" in self.page["bytes"]
            else np.zeros((0, 1), np.int32)
        )

    @property
    def marked(self) -> list[list[int]]:  # noqa: D102
        return self.page["marked"] or [[] for _ in self.shape]

    @property
    def shape(self) -> tuple[int, ...]:  # noqa: D102
        return tuple(self.page["shape"])

    @property
    def key(self) -> str:  # noqa: D102
        return self.key_in_store

    @property
    def affine(self) -> np.ndarray | None:  # noqa: D102
        return None if self.page["affine"] is None else np.array(self.page["affine"])

    @property
    def spacing(self) -> tuple[float, ...] | None:  # noqa: D102
        return None if self.page["spacing"] is None else tuple(self.page["spacing"])

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(self.page["bytes"].values())

    def measured(self, tone: Tone) -> dict[str, Any]:  # noqa: D102
        return self.store.measured(self.key, self.page, tone)


@dataclass(frozen=True, eq=False)
class HeldCase(Case):
    """A case whose arrays somebody holds, as those of phantoms; z-scored already."""

    pixels: np.ndarray
    classes: np.ndarray | None

    @property
    def image(self) -> np.ndarray:  # noqa: D102
        return self.pixels

    @property
    def label(self) -> np.ndarray | None:  # noqa: D102
        return self.classes

    @cached_property
    def places(self) -> np.ndarray:  # noqa: D102
        return np.zeros((0, 1), np.int32) if self.classes is None else measure.places(self.classes)

    @property
    def marked(self) -> list[list[int]]:  # noqa: D102
        return [[] for _ in self.shape] if self.classes is None else measure.marked(self.classes)

    @property
    def shape(self) -> tuple[int, ...]:  # noqa: D102
        return self.pixels.shape[1:]

    @property
    def key(self) -> str:  # noqa: D102
        return self.id

    def measured(self, tone: Tone) -> dict[str, Any]:  # noqa: D102
        return measure.measure(self.pixels, tone)
