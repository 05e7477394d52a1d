"""Sizes as people write them: 128, 128x128, 96x96x96."""

from __future__ import annotations

from maskgym.errors import BadInput


def read_size(text: str | int, name: str, axes: int = 0) -> tuple[int, ...]:
    """Read a size; one number stands for all axes, two of them where nobody says how many.

    Args:
        text: what was written.
        name: of the setting, for the error.
        axes: how many there must be; 0 = 2 or 3.

    >>> read_size("16", "patch_size", axes=3)
    (16, 16, 16)
    """
    try:
        sides = tuple(int(side) for side in str(text).lower().split("x"))
    except ValueError:
        raise BadInput(f"{name} {text!r} is not a size: write 128, 128x128 or 32x32x32") from None
    sides = sides * (axes or 2) if len(sides) == 1 else sides
    if min(sides) < 1 or len(sides) not in ((axes,) if axes else (2, 3)):
        raise BadInput(f"{name} {text!r} does not suit images of {axes or '2 or 3'} axes: write one number an axis")
    return sides
