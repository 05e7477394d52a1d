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
        of: what the shares are of: the `run`, or the steps taken `so-far`; or they are `momentum`, as printed.
    """

    def __init__(self, student: nn.Module, start: float = 0.02, end: float = 0.08, rise: float = 0.25, of: str = "run"):
        if not (0.0 <= start <= end <= 1.0 and 0.0 <= rise <= 1.0):
            raise BadInput(f"a teacher of {start} to {end} over {rise} of the steps: they rise and lie in [0, 1]")
        self.start, self.end, self.rise, self.of = start, end, rise, of
        self.network = deepcopy(student).requires_grad_(False).eval()
        self._pairs: tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]] | None = None

    def momentum(self, step: int, steps: int) -> float:
        """Say what share of itself it keeps in step `step` (from 0) of `steps`."""
        rising = self.rise * steps
        value = self.end if step >= rising else self.start + (self.end - self.start) * step / rising
        if self.of == "momentum":
            return value
        return 1 - 1 / max(value * (step + 1 if self.of == "so-far" else steps), 1.0)

    @torch.no_grad()
    def follow(self, student: nn.Module, step: int, steps: int) -> None:
        """Take one step towards the student, weights and buffers alike."""
        if self._pairs is None:  # the tensors stay the same: what is loaded later is copied into them
            ours, theirs = self.network.state_dict(), student.state_dict()
            names = [name for name, value in ours.items() if value.is_floating_point()]
            counters = [(ours[name], theirs[name]) for name in ours.keys() - set(names)]
            self._pairs = [ours[name] for name in names], [theirs[name] for name in names], counters
        slow, fast, counters = self._pairs
        torch._foreach_lerp_(slow, fast, 1.0 - self.momentum(step, steps))
        for counter, value in counters:  # they are no averages
            counter.copy_(value)


def parse_teacher(text: str, student: nn.Module) -> Teacher | None:
    """Read FROM:TO:RISE in shares of the run, momentum:FROM:TO:RISE, or so-far:SHARE; no text, no teacher."""
    if not text:
        return None
    word, _, rest = text.partition(":")
    of, told = (word, rest) if word in ("momentum", "so-far") else ("run", text)
    try:
        numbers = [float(number) for number in told.split(":")]
        start, end, rise = (numbers[0], numbers[0], 0.0) if of == "so-far" and len(numbers) == 1 else numbers
    except ValueError:
        raise BadInput(f"{text!r} is no teacher: write FROM:TO:RISE, as 0.02:0.08:0.25, or so-far:0.5") from None
    return Teacher(student, start, end, rise, of)
