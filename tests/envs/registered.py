"""Registered environments, made small."""

import gymnasium as gym
import numpy as np
import pytest

from maskgym.envs.registry import IDS

ids = pytest.mark.parametrize("env_id", IDS)


def make(env_id: str, **keywords) -> gym.Env:
    """The smallest split, which is made fastest; nothing here depends on which one it is."""
    return gym.make(f"maskgym:{env_id}", **{"split": "val", **keywords})


def same(first, second) -> bool:
    """Whether two observations or infos agree bit for bit."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    return type(first) is type(second) and first == second
