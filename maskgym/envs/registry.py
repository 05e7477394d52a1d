"""The registered environments: one table, id -> the keywords in which it differs from the defaults."""

from __future__ import annotations

import gymnasium as gym

IDS: dict[str, dict[str, str | int | float]] = {
    "MaskMIM-v0": {"image_size": "128x128", "patch_size": 8, "reconstructor": "phantoms-128"},
    "MaskMIMSmall-v0": {"image_size": "64x64", "patch_size": 8, "reconstructor": "phantoms-64"},
    "MaskMIM3D-v0": {"image_size": "32x32x32", "patch_size": 8, "reconstructor": "phantoms-3d"},
}


def register() -> None:
    """Make the ids known to Gymnasium, once."""
    for name, keywords in IDS.items():
        if name not in gym.registry:
            gym.register(
                id=name,
                entry_point="maskgym.envs.mask_mim:MaskMIM",
                vector_entry_point="maskgym.envs.vector:MaskMIMVector",
                kwargs=dict(keywords),
            )
