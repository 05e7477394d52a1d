"""Reinforcement learning that decides what to hide in masked image modelling of medical images.

Importing it registers `MaskMIM-v0` and its sisters with Gymnasium and loads nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import Any

from maskgym.envs.registry import register
from maskgym.errors import BadInput

__version__ = "0.1.0"
__all__ = ["BadInput", "__version__", "make_agent", "parallel_env"]

_LAZY = {"make_agent": "maskgym.registry", "parallel_env": "maskgym.envs.parallel"}

register()


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'maskgym' has no attribute {name!r}")
