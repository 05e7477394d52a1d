"""How fast batched k-means is beside scikit-learn's, image by image, on the patches of phantoms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.timing import race
from maskgym.errors import BadInput
from maskgym.masking import rng
from maskgym.masking.kmeans import kmeans
from maskgym.masking.patches import Patches


def rows(images: int = 36, size: int = 160, patch: int = 16, repeats: int = 7) -> list[dict[str, Any]]:
    """Time both for all images together, at 1 and at 10 restarts; the defaults are a batch of AMLP's.

    Returns:
        rows of `name`, `seconds` (median), `spread` (in words) and `times faster` (than scikit-learn).
    """
    try:
        from sklearn.cluster import KMeans
    except ImportError:
        raise BadInput("k-means is compared with scikit-learn's: pip install scikit-learn") from None
    from maskgym.data import phantoms

    made, _ = phantoms.make(0, np.arange(images), (size, size))
    points = Patches((size, size), (patch, patch)).split(torch.from_numpy(made))  # (images, N, D)
    loose = points.numpy()
    table = []
    for restarts in (1, 10):
        keys = rng.draw((images, restarts, 2), torch.Generator().manual_seed(0))

        def ours(keys: torch.Tensor = keys) -> None:
            kmeans(points, keys)

        def theirs(restarts: int = restarts) -> None:
            for one in loose:
                KMeans(2, n_init=restarts, random_state=0).fit(one)

        times = race({"scikit-learn, image by image": theirs, "batched": ours}, repeats)
        slow = times["scikit-learn, image by image"].median
        shape = f"{images} images x {points.shape[1]} patches x {points.shape[2]}"
        table += [
            {
                "name": f"k-means, {shape}, restarts {restarts}: {name}",
                "seconds": run.median,
                "spread": run.spread,
                "times faster": slow / run.median,
            }
            for name, run in times.items()
        ]
    return table
