"""Counts as people write them: 2000, 2_000, 2,000, 2e3."""

from __future__ import annotations

from maskgym.errors import BadInput


def read_count(text: str) -> int:
    """Read a whole number.

    >>> [read_count(text) for text in ("2000", "2_000", "2,000", "2e3", "1.5e6", "-1")]
    [2000, 2000, 2000, 2000, 1500000, -1]
    """
    plain = text.strip().replace(",", "_")
    try:
        return int(plain)
    except ValueError:
        pass
    try:
        number = float(plain)
        if number == int(number):
            return int(number)
    except (ValueError, OverflowError):  # no number at all; infinity, NaN
        pass
    raise BadInput(f"{text!r} is no whole number: write it as 2000, 2_000 or 2e3")
