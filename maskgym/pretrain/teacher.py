"""The teacher: a network that follows the student's weights slowly, and chooses masks by what it knows."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from maskgym.errors import BadInput


class Teacher:
    """An exponential moving average of a student: each step it keeps a share of itself, its momentum.

    How far back it remembers is told in shares of the run, so that it is as far behind the student in a short run as in
    the papers' long ones: their 0.999 to 0.9999 is about 0.02 to 0.08 of a run of 50,000 to 125,000 steps.

    Args:
        student: to be followed; the teacher begins as its copy.
        start: share of the run that it averages over at first.
        end: share when it has risen.
        rise: share of all steps in which it rises linearly (the papers: a quarter).
        literal: `start` and `end` are momenta, as the papers print them.
    """

    def __init__(
        self, student: nn.Module, start: float = 0.02, end: float = 0.08, rise: float = 0.25, literal: bool = False
    ):
        if not (0.0 <= start <= end <= 1.0 and 0.0 <= rise <= 1.0):
            raise BadInput(f"a teacher of {start} to {end} over {rise} of the steps: they rise and lie in [0, 1]")
        self.start, self.end, self.rise, self.literal = start, end, rise, literal
        self.network = deepcopy(student).requires_grad_(False).eval()

    def momentum(self, step: int, steps: int) -> float:
        """Say what share of itself it keeps in step `step` (from 0) of `steps`."""
        rising = self.rise * steps
        value = self.end if step >= rising else self.start + (self.end - self.start) * step / rising
        return value if self.literal else max(0.0, 1 - 1 / max(value * steps, 1e-9))

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
    """Read FROM:TO:RISE, as 0.02:0.08:0.25, or momentum:0.999:0.9999:0.25; no text, no teacher."""
    if not text:
        return None
    told = text.removeprefix("momentum:")
    try:
        start, end, rise = (float(number) for number in told.split(":"))
    except ValueError:
        raise BadInput(f"{text!r} is no teacher: write FROM:TO:RISE, as 0.02:0.08:0.25") from None
    return Teacher(student, start, end, rise, literal=told != text)
