"""What is worked out of an image when it is first met, and kept for when it is met again."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

_LIMIT = 2**30  # bytes; a table that might grow larger is not kept


class Kept:
    """A table with one row an image.

    Args:
        count: rows in all.
        shape: of a row.
        dtype: of its entries.
        work_out: gives the rows (n, *shape) of images (n,) that are new.

    >>> kept = Kept(9, (), np.int64, lambda index: index**2)
    >>> kept[np.array([3, 3, 2])]
    array([9, 9, 4])
    """

    def __init__(self, count: int, shape: tuple[int, ...], dtype: Any, work_out: Callable[[np.ndarray], np.ndarray]):
        self.work_out = work_out
        self.keeps = count * prod(shape) * np.dtype(dtype).itemsize <= _LIMIT
        self._met = np.zeros(count if self.keeps else 0, bool)
        self._rows = np.zeros((len(self._met), *shape), dtype)  # costs memory only where it is written to

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """Get a copy of the rows of images (n,)."""
        if not self.keeps:
            return self.work_out(index)
        met = self._met[index]
        if not met.all():
            new = np.unique(index[~met])
            self._rows[new] = self.work_out(new)
            self._met[new] = True
        return self._rows[index]
