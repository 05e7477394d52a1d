"""The random generators of many sub-environments, drawn from in step without a loop over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gymnasium.utils import seeding

_AHEAD = 64  # numbers drawn ahead; a generator gives the same numbers one by one or many at once


class Streams:
    """One NumPy generator a sub-environment; `draw` gives the next integer of each, as `np_random.integers` would."""

    def __init__(self, count: int):
        self.seeds = [0] * count
        self.generators: list[np.random.Generator] = [np.random.default_rng(0)] * count
        self._ahead = np.zeros((count, _AHEAD), np.int64)
        self._used = np.zeros(count, np.int64)
        for i in range(count):
            self._start(i, None)

    def seed(self, seeds: Sequence[int | None], which: np.ndarray) -> None:
        """Start the generators `which` (n,) bool anew from their seed; where it is None, they go on."""
        for i, seed in enumerate(seeds):
            if which[i] and seed is not None:
                self._start(i, seed)

    def _start(self, i: int, seed: int | None) -> None:
        """Start one generator from its seed, or from fresh entropy."""
        self.generators[i], self.seeds[i] = seeding.np_random(seed)
        self._used[i] = _AHEAD

    def draw(self, which: np.ndarray) -> np.ndarray:
        """Draw the next integer in [0, 2^63) of the sub-environments `which` (n,) bool; the others give 0."""
        for i in np.flatnonzero(which & (self._used == _AHEAD)):
            self._ahead[i] = self.generators[i].integers(2**63, size=_AHEAD, dtype=np.int64)
            self._used[i] = 0
        drawn = np.where(which, self._ahead[np.arange(len(which)), np.minimum(self._used, _AHEAD - 1)], 0)
        self._used += which
        return drawn
