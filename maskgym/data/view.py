"""How images are made of cases when they are asked for: sliced, trimmed, resampled, brought to size, normalised.

A view changes nothing on disk. What it shows of a volume it reads from the memory-mapped case, no more than the slice
or crop needs; what a network answers it lays back on the case's own grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal
from zlib import crc32

import numpy as np

from maskgym.data import grid as grids
from maskgym.data import measure
from maskgym.data.case import Case
from maskgym.data.measure import Tone
from maskgym.data.normalise import rescaled, zscore
from maskgym.errors import BadInput


@dataclass(frozen=True)
class View:
    """What is shown of a case. Strings and numbers only, so that it can be printed, saved and compared."""

    size: tuple[int, ...]
    """(H, W) for pictures and for slices of volumes, (D, H, W) for volumes."""
    axis: int = 2
    """Slices are cut across this axis of the patient: 0 left-right, 1 front-back, 2 foot-head."""
    slices: Literal["body", "labelled", "all"] = "body"
    """Which slices are shown: those with body, those with a label, or all. A flat image is never shown."""
    body: float = 0.1
    """Share of a slice that must be brighter than the darkest tenth of its volume's range to count as body."""
    trim: Literal["none", "body"] = "none"
    """Look at the whole case, or at the box round the body."""
    spacing: tuple[float, ...] = ()
    """Resample volumes to these millimetres along x, y and z; empty: as they are."""
    fit: Literal["resize", "pad", "crop"] = "resize"
    """What comes to `size`: the whole, resized; or what lies about the centre, or at a place that the image's name
    draws, padded where there is too little."""
    window: tuple[float, ...] = ()
    """Clip to these two values; empty: to percentiles."""
    clip: tuple[float, float] = (1, 99)
    """Percentiles of each channel of the case."""
    zscore: Literal["all", "nonzero"] = "all"
    """Which voxels mean and deviation are taken over."""
    normalise: Literal["image", "case", "window", "none"] = "image"
    """z-score by the image's own mean and deviation or by its case's; bring the window to -1..1; or leave as it is."""

    @property
    def tone(self) -> Tone:
        """What must be measured of a case for this view."""
        return Tone((self.window[0], self.window[1]) if self.window else None, self.clip, self.zscore)

    def grid(self, case: Case) -> tuple[int, ...]:
        """Voxels of an image before it comes to size: (H, W) or (D, H, W) at the view's spacing."""
        return tuple(n for axis, n in enumerate(self._grid(case)) if axis != self._across(case))

    def spacing_of(self, case: Case) -> tuple[float, ...] | None:
        """Millimetres of a pixel of an image; None where the file tells none."""
        if case.spacing is None:
            return None
        whole = [end - first for first, end in self._box(case)]
        across, shown = self._across(case), iter(self.size if self.fit == "resize" else self.grid(case))
        native = enumerate(zip(case.spacing, whole, strict=True))
        return tuple(along * n / next(shown) for axis, (along, n) in native if axis != across)

    def shown(self, case: Case) -> tuple[list[int], int, int]:
        """Which slices are shown (of a picture or a volume: number 0), how many lack body, how many are flat."""
        across = self._across(case)
        if self.normalise == "none" and across is None and self.slices != "labelled":
            return [0], 0, 0
        told = case.measured(self.tone)
        if across is None:
            if not any(told["deviation"]):
                return [], 0, 1
            lone = case.is_slice and len(self.size) == 2
            if self.slices == "labelled" and len(self.size) == 2 and not case.marked[0]:
                return [], 1, 0
            return ([], 1, 0) if lone and self.slices == "body" and told["share"] < self.body else ([0], 0, 0)
        first, end = self._box(case)[across]
        count = self._grid(case)[across]
        native = first + np.clip(np.rint((np.arange(count) + 0.5) * (end - first) / count - 0.5), 0, end - first - 1)
        share = np.asarray(told["body"][across])[native.astype(int)]
        kept = np.ones(count, bool)
        if self.slices == "body":
            kept = (share >= self.body) | (self.body == 0)
        elif self.slices == "labelled":
            kept = np.isin(native, case.marked[across])
        flat = share < 0
        return np.flatnonzero(kept & ~flat).tolist(), int((~kept).sum()), int((kept & flat).sum())

    def load(self, case: Case, index: int = 0) -> np.ndarray:
        """Show an image (C, *size) float32; `index` is the slice of a volume that is cut."""
        return self._image(case, index, *self._whole(case, index))

    def label(self, case: Case, index: int = 0) -> np.ndarray | None:
        """Show the labels (*size) uint8 of an image."""
        return self._label(case, index, *self._whole(case, index))

    def crop(
        self, case: Case, index: int, rng: np.random.Generator, foreground: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Cut an image (C, *size) and its labels out at random, at the view's spacing; normalised by the case.

        Args:
            case: which.
            index: slice of a volume that is cut.
            rng: all that is random.
            foreground: share of the crops that are laid over a labelled voxel, of a class drawn evenly.
        """
        self.check_crop(case)
        grid = self.grid(case)
        room = np.subtract(grid, self.size)  # below 0 where the case is the smaller: it is padded about its centre
        corner = np.where(room > 0, rng.integers(np.maximum(room, 0) + 1), grids.centred(grid, self.size))
        if foreground and rng.random() < foreground and (place := self._place(case, index, grid, rng)) is not None:
            about = np.clip(place - np.array(self.size) // 2, 0, np.maximum(room, 0))
            corner = np.where(room > 0, about, corner)
        view = replace(self, normalise="case") if self.normalise == "image" else self
        return view._image(case, index, grid, corner.tolist()), view._label(case, index, grid, corner.tolist())

    def check_crop(self, case: Case) -> None:
        """Refuse a crop that is larger than a case, unless the view pads."""
        grid = self.grid(case)
        if self.fit == "resize" and any(np.less(grid, self.size)):
            have, want = (" x ".join(map(str, sides)) for sides in (grid, self.size))
            raise BadInput(f"{case.id} is {have} and the crop {want}: choose a smaller crop, or pad it with ?fit=pad")

    def whole(self, case: Case) -> View:
        """The same view of all of a case: as large as it is at the view's spacing, normalised as crops are."""
        normalise = "case" if self.normalise == "image" else self.normalise
        return replace(self, size=self.grid(case), fit="pad", normalise=normalise)

    def to_native(self, case: Case, answers: np.ndarray, indices: Sequence[int] = (0,)) -> np.ndarray:
        """Lay answers back on the case's own grid; what the view did not show is background.

        Args:
            case: which.
            answers: labels (n, *size) of whole numbers, or class probabilities (n, K, *size), best for fine borders.
            indices: of the n images, as in `load`.

        Returns:
            Labels (*shape) uint8.
        """
        box, across = self._box(case), self._across(case)
        native = np.zeros(case.shape, np.uint8)
        inside = native[tuple(slice(*span) for span in box)]
        planes = {
            index: self._back(case, index, np.asarray(answer)) for index, answer in zip(indices, answers, strict=True)
        }
        if across is None:
            inside[...] = planes[0]
            return native
        count, deep = self._grid(case)[across], inside.shape[across]
        for at in range(deep):
            index = int(np.clip(np.rint((at + 0.5) * count / deep - 0.5), 0, count - 1))
            if index in planes:
                inside[(slice(None),) * across + (at,)] = planes[index]
        return native

    def _across(self, case: Case) -> int | None:
        """The axis that slices are cut across; None where the case is shown as it is."""
        if len(self.size) == len(case.shape):
            return None
        if len(self.size) > len(case.shape):
            raise BadInput(f"{case.id} is a picture, so size {self.size} should be (H, W)")
        return 2 - self.axis

    def _box(self, case: Case) -> grids.Box:
        if self.trim == "body":
            return measure.box(case.measured(self.tone))
        return tuple((0, n) for n in case.shape)

    def _grid(self, case: Case) -> tuple[int, ...]:
        """Voxels of the box at the view's spacing, along all axes of the case."""
        whole = tuple(end - first for first, end in self._box(case))
        if not self.spacing or case.spacing is None:
            return whole
        wanted = (self.spacing * 3)[:3][::-1]  # told as x, y, z, or once for all; arrays are z, y, x
        return tuple(max(1, round(n * has / want)) for n, has, want in zip(whole, case.spacing, wanted, strict=True))

    def _whole(self, case: Case, index: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Grid and corner of the image that `fit` gives."""
        if self.fit == "resize":
            return self.size, (0,) * len(self.size)
        grid = self.grid(case)
        corner = grids.centred(grid, self.size)
        if self.fit == "crop":
            room = np.maximum(np.subtract(grid, self.size), 0)
            drawn = np.random.default_rng((crc32(case.id.encode()), index)).integers(room + 1)
            corner = tuple(np.where(room > 0, drawn, corner).tolist())
        return grid, corner

    def _cut(
        self, case: Case, array: np.ndarray, index: int, grid: Sequence[int], corner: Sequence[int], **how: object
    ) -> np.ndarray:
        """A window (C, *size) of an array (C, *shape) of the case."""
        box, across = self._box(case), self._across(case)
        if across is None:
            return grids.window(array, box, grid, corner, self.size, **how)  # type: ignore[arg-type]
        grid, corner, size = list(grid), list(corner), list(self.size)
        if turned := self.axis != 2:  # z runs down the rows, so turn the head up
            corner[0] = grid[0] - corner[0] - size[0]
        grid.insert(across, self._grid(case)[across])
        corner.insert(across, index)
        size.insert(across, 1)
        image = grids.window(array, box, grid, corner, size, **how).squeeze(across + 1)  # type: ignore[arg-type]
        return np.ascontiguousarray(image[:, ::-1]) if turned else image

    def _image(self, case: Case, index: int, grid: Sequence[int], corner: Sequence[int]) -> np.ndarray:
        pixels = case.image
        if self.normalise == "none":
            return self._cut(case, pixels, index, grid, corner)
        told = case.measured(self.tone)
        low, high = np.array(told["low"], np.float32), np.array(told["high"], np.float32)
        image = self._cut(case, pixels, index, grid, corner, fill=low, clip=(low, high))
        if self.normalise == "image":
            seen = self._cut(case, pixels, index, grid, corner, nearest=True) != 0 if self.zscore == "nonzero" else None
            return zscore(image, seen)
        if self.normalise == "window":
            return rescaled(image, (low + high) / 2, (high - low) / 2)
        return rescaled(image, np.array(told["mean"], np.float32), np.array(told["deviation"], np.float32))

    def _label(self, case: Case, index: int, grid: Sequence[int], corner: Sequence[int]) -> np.ndarray | None:
        labels = case.label
        return None if labels is None else self._cut(case, labels[None], index, grid, corner, nearest=True)[0]

    def _place(self, case: Case, index: int, grid: Sequence[int], rng: np.random.Generator) -> np.ndarray | None:
        """A labelled voxel of the image, on its grid."""
        if len(self.size) == 2:
            labels = replace(self, size=tuple(grid))._label(case, index, grid, (0,) * len(grid))
            if labels is None or not labels.any():
                return None
            rows = np.argwhere(labels == rng.choice(np.unique(labels[labels > 0])))
            return rows[rng.integers(len(rows))]
        first, end = np.array(self._box(case)).T
        rows = case.places
        rows = rows[((rows[:, 1:] >= first) & (rows[:, 1:] < end)).all(1)] if len(rows) else rows
        if not len(rows):
            return None
        rows = rows[rows[:, 0] == rng.choice(np.unique(rows[:, 0]))]
        place = rows[rng.integers(len(rows)), 1:]
        return np.floor((place - first + 0.5) * np.array(grid) / (end - first)).astype(int)

    def _back(self, case: Case, index: int, answer: np.ndarray) -> np.ndarray:
        """The labels of one image on the native voxels of the box, from labels (*size) or probabilities (K, *size)."""
        layers = answer[None] if answer.ndim == len(self.size) else answer
        if layers.shape[1:] != self.size:
            raise ValueError(f"answers of {layers.shape[1:]} do not fit a view of {self.size}")
        native = [end - first for axis, (first, end) in enumerate(self._box(case)) if axis != self._across(case)]
        best, chosen = np.full(native, -np.inf, np.float32), np.zeros(native, np.uint8)
        labels = answer.ndim == len(self.size)
        for number, layer in enumerate(layers):
            if self.fit != "resize":
                grid, corner = self._whole(case, index)
                everything = tuple((0, n) for n in self.size)
                fill = 0.0 if labels or number else 1.0  # outside: background
                layer = grids.window(
                    layer[None], everything, self.size, [-at for at in corner], grid, fill=fill, nearest=labels
                )[0]
            layer = grids.resize(layer[None], native, nearest=labels)[0]
            if labels:
                chosen = layer.astype(np.uint8)
            else:
                np.copyto(chosen, np.uint8(number), where=layer > best)
                np.maximum(best, layer, out=best)
        return chosen[::-1] if self._across(case) is not None and self.axis != 2 else chosen
