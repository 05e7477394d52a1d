"""The teacher: a network that follows the student's weights slowly, and chooses masks by what it knows."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from maskgym.errors import BadInput


class Teacher:
    """An exponential moving average of a student: each step it keeps a share of itself, its momentum.

    Args:
        student: to be followed; the teacher begins as its copy.
        start: momentum of the first step.
        end: momentum when it has risen.
        rise: share of all steps in which it rises linearly (the papers: a quarter).
    """

    def __init__(self, student: nn.Module, start: float = 0.999, end: float = 0.9999, rise: float = 0.25):
        if not (0.0 <= start <= end <= 1.0 and 0.0 <= rise <= 1.0):
            raise BadInput(
                f"a teacher of momentum {start} to {end} over {rise} of the steps: they rise and lie in [0, 1]"
            )
        self.start, self.end, self.rise = start, end, rise
        self.network = deepcopy(student).requires_grad_(False).eval()

    def momentum(self, step: int, steps: int) -> float:
        """Say what share of itself it keeps in step `step` (from 0) of `steps`."""
        rising = self.rise * steps
        return self.end if step >= rising else self.start + (self.end - self.start) * step / rising

    @torch.no_grad()
    def follow(self, student: nn.Module, step: int, steps: int) -> None:
        """Take one step towards the student, weights and buffers alike."""
        ours, theirs = self.network.state_dict(), student.state_dict()
        floats = [name for name, value in ours.items() if value.is_floating_point()]
        slow: list[Tensor] = [ours[name] for name in floats]
        torch._foreach_lerp_(slow, [theirs[name] for name in floats], 1.0 - self.momentum(step, steps))
        for name in ours.keys() - set(floats):  # counters are no averages
            ours[name].copy_(theirs[name])


def parse_teacher(text: str, student: nn.Module) -> Teacher | None:
    """Read FROM:TO:RISE, as 0.999:0.9999:0.25; no text, no teacher."""
    if not text:
        return None
    try:
        numbers = [float(number) for number in text.split(":")]
        if len(numbers) > 3:
            raise ValueError
    except ValueError:
        raise BadInput(f"{text!r} is no teacher: write FROM:TO:RISE, as 0.999:0.9999:0.25") from None
    return Teacher(student, *numbers)
