"""The registered environments: one table, id -> the keywords in which it differs from the defaults."""

from __future__ import annotations

import gymnasium as gym

IDS: dict[str, dict[str, str | int | float]] = {
    "MaskMIM-v0": {"image_size": "128x128", "patch_size": 8, "reconstructor": "phantoms-128"},
    "MaskMIMSmall-v0": {"image_size": "64x64", "patch_size": 8, "reconstructor": "phantoms-64"},
    "MaskMIM3D-v0": {"image_size": "32x32x32", "patch_size": 8, "reconstructor": "phantoms-3d"},
}


QUERY_IDS: dict[str, dict[str, str | int | float]] = {  # games of several queries on the same images and networks
    "MaskMIMQuery-v0": {**IDS["MaskMIM-v0"], "queries": 16},
    "MaskMIMQuerySmall-v0": {**IDS["MaskMIMSmall-v0"], "queries": 16},
}


def register() -> None:
    """Make the ids known to Gymnasium, once."""
    for ids, where, face in ((IDS, "mask_mim", "MaskMIM"), (QUERY_IDS, "mask_mim_query", "MaskMIMQuery")):
        vector = "vector" if ids is IDS else where
        for name, keywords in ids.items():
            if name not in gym.registry:
                gym.register(
                    id=name,
                    entry_point=f"maskgym.envs.{where}:{face}",
                    vector_entry_point=f"maskgym.envs.{vector}:{face}Vector",
                    kwargs=dict(keywords),
                )
