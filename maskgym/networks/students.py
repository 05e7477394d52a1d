"""The networks that pre-training teaches, by name: each is called as `student(filled images, mask) -> images`."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from torch import nn

from maskgym.errors import BadInput
from maskgym.masking.patches import Patches


def _small_unet(channels: int, patches: Patches, settings: dict[str, Any]) -> nn.Module:
    from maskgym.networks.unet import UNet

    return UNet(channels, patches.dims, **settings)


def _plain(kind: str) -> Callable[[int, Patches, dict[str, Any]], nn.Module]:
    def make(channels: int, patches: Patches, settings: dict[str, Any]) -> nn.Module:
        from maskgym.networks.unets import UNetStudent

        return UNetStudent(channels, patches.dims, kind, **settings)

    return make


def _vit_mae(channels: int, patches: Patches, settings: dict[str, Any]) -> nn.Module:
    from maskgym.networks.vit_mae import ViTMae

    return ViTMae(channels, patches.dims, patches.size, patches.patch, **settings)


def _stunet(size: str) -> Callable[[int, Patches, dict[str, Any]], nn.Module]:
    def make(channels: int, patches: Patches, settings: dict[str, Any]) -> nn.Module:
        from maskgym.networks.stunet import SIZES, STUNet

        widths, depth = SIZES[size]
        stages = 1  # as many as the patch can be halved between, five at most
        while stages < len(widths) and all(side % 2**stages == 0 for side in patches.patch):
            stages += 1
        return STUNet(channels, patches.dims, **{"widths": widths[:stages], "depth": depth, **settings})

    return make


STUDENTS: dict[str, Callable[[int, Patches, dict[str, Any]], nn.Module]] = {
    "basicunet": _plain("basicunet"),
    "unet": _plain("unet"),
    "nnunet": _plain("nnunet"),
    "small-unet": _small_unet,
    "vit-mae": _vit_mae,
    "stunet-s": _stunet("stunet-s"),
    "stunet-b": _stunet("stunet-b"),
    "stunet-l": _stunet("stunet-l"),
}


def make_student(name: str, channels: int, patches: Patches, settings: dict[str, Any] | None = None) -> nn.Module:
    """Build a student for images of so many channels on this grid.

    >>> make_student("unet", 1, Patches((32, 32), (8, 8)), {"widths": (4, 8)}).settings["widths"]
    [4, 8]
    """
    if name not in STUDENTS:
        near = get_close_matches(name, STUDENTS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(STUDENTS)}"
        raise BadInput(f"there is no student {name!r}: {hint}")
    told = dict(settings or {})
    if isinstance(told.get("widths"), int):
        told["widths"] = (told["widths"],)
    try:
        return STUDENTS[name](channels, patches, told)
    except TypeError as error:
        raise BadInput(f"student {name!r} has no such setting ({str(error).rpartition('() ')[2]})") from None
