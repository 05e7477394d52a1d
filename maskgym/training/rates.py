"""The learning rate over a run, the one cosine for all trainers."""

from __future__ import annotations

from math import cos, pi


def cosine(done: float, warmup: float = 0.0) -> float:
    """Share of the full rate after the share `done` of a run: linear warm-up, then a cosine down to zero.

    >>> [round(cosine(done, warmup=0.2), 2) for done in (0.1, 0.2, 0.6, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    done = min(done, 1.0)
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + cos(pi * (done - warmup) / (1 - warmup)))
