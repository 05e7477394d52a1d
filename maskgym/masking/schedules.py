"""How a share grows with the epochs: constant, linear, and the papers' adaptive masking ratio."""

from __future__ import annotations

from collections.abc import Callable
from math import log

from maskgym.errors import BadInput

Schedule = Callable[[int, int], float]  # (epoch counted from 1, epochs in all) -> share


def constant(value: float) -> Schedule:
    """Stay at `value`."""
    return lambda epoch, epochs: value


def linear(start: float, end: float) -> Schedule:
    """Go from `start` before the first epoch to `end` at the last one (AnatoMask, SelfMedHPM: 0 to 0.5)."""
    return lambda epoch, epochs: start + (end - start) * epoch / epochs


def adaptive(start: float = 0.25, tau: float = 12.0, cap: float = 0.80) -> Schedule:
    """Grow as start + ln(epoch) / tau up to `cap` (MPS-AMS, AMLP), the papers' 800 epochs laid over the run."""
    return lambda epoch, epochs: min(cap, start + log(1 + 799 * (epoch - 1) / max(epochs - 1, 1)) / tau)


_BY_NAME: dict[str, Callable[..., Schedule]] = {"constant": constant, "linear": linear, "adaptive": adaptive}


def parse(text: str) -> Schedule:
    """Read a schedule as settings write it: "0.75", "linear:0:0.5", "adaptive:0.25:12:0.8".

    >>> parse("adaptive:0.25:12:0.8")(1, 800)
    0.25
    """
    name, *numbers = text.split(":")
    try:
        if name not in _BY_NAME:
            return constant(float(text))
        return _BY_NAME[name](*map(float, numbers))
    except (ValueError, TypeError):
        forms = ", ".join(_BY_NAME)
        raise BadInput(
            f"{text!r} is no schedule: write a number, or one of {forms} with numbers after colons"
        ) from None
