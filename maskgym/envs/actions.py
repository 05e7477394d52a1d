"""Reading actions: every form that says which patches to hide, or how much each is to be hidden."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from maskgym.errors import BadInput
from maskgym.masking.patches import Patches

ACTION_TYPES = ("mask", "score")


def action_space(action_type: str, count: int) -> spaces.Space[Any]:
    """One bit, or one score, for each patch, row by row."""
    if action_type == "score":
        return spaces.Box(-1.0, 1.0, (count,), np.float32)
    return spaces.MultiBinary(count)


def read_actions(actions: Any, batch: int, patches: Patches, action_type: str) -> Tensor:
    """Check actions of any accepted form and bring them to (B, N): bool where a mask is requested, or float scores.

    What lies on a GPU is not looked at for wrong values: the step would wait for the device.
    """
    try:
        given = actions if isinstance(actions, Tensor) else torch.from_numpy(np.array(actions))
    except (TypeError, ValueError) as error:
        raise BadInput(f"the action is no array of numbers ({error})") from None
    grid, count = patches.grid, patches.count
    if tuple(given.shape) not in ((batch, count), (batch, *grid)):
        shown = tuple(given.shape[1:]) if batch == 1 and given.shape[:1] == (1,) else tuple(given.shape)
        many = "" if batch == 1 else f"{batch} times "
        raise BadInput(f"the action has shape {shown}: it must be {many}({count},) or {grid}")
    given = given.reshape(batch, count)
    looked_at = given.device.type == "cpu"
    if action_type == "score":
        if looked_at and bool(given.isnan().any()):
            raise BadInput("the action holds NaN: scores must be numbers")
        return given.float()
    asked = given > 0.5 if given.dtype != torch.bool else given
    if looked_at and not torch.equal(asked.to(given.dtype), given):
        wrong = given[(given != 0) & (given != 1)][0].item()
        raise BadInput(
            f'the action holds {wrong:g}: a mask holds 0 and 1 only; for scores make it with action_type="score"'
        )
    return asked


def requested(actions: Tensor, budget: int) -> Tensor:
    """Count the patches that read actions (B, N) ask for: (B,) int64; scores always ask for the budget."""
    if actions.dtype == torch.bool:
        return actions.sum(1)
    return torch.full(actions.shape[:1], budget, device=actions.device)
