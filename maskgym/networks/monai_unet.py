"""MONAI's U-Nets as students: they rebuild an image whose hidden patches are filled, and never hear of the mask."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from maskgym.errors import BadInput

WIDTHS = (64, 128, 256, 512)  # the papers' four levels


def unet(dims: int, inside: int, outside: int, widths: tuple[int, ...]) -> nn.Module:
    """Build MONAI's residual `UNet`, one halving between two levels."""
    from monai.networks.nets import UNet

    strides = (2,) * (len(widths) - 1)
    return UNet(dims, inside, outside, channels=widths, strides=strides, num_res_units=2)


def basicunet(dims: int, inside: int, outside: int, widths: tuple[int, ...]) -> nn.Module:
    """Build MONAI's `BasicUNet`, which has five levels: the last width is used twice where four are given."""
    from monai.networks.nets import BasicUNet

    levels = (*widths, *[widths[-1]] * max(0, 5 - len(widths)))
    return BasicUNet(dims, inside, outside, features=(*levels, widths[0]))


BUILDERS = {"unet": unet, "basicunet": basicunet}


def halvings(kind: str, widths: tuple[int, ...]) -> int:
    """Say how often the network halves an image."""
    return len(widths) - 1 if kind == "unet" else 4


class MonaiStudent(nn.Module):
    """One of MONAI's U-Nets that answers with as many channels as it is given.

    Args:
        channels: of the images.
        dims: 2 for images, 3 for volumes.
        kind: "unet" or "basicunet".
        widths: channels of the levels.
    """

    def __init__(self, channels: int = 1, dims: int = 2, kind: str = "unet", widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        if len(widths) < 2 or (kind == "basicunet" and len(widths) > 5):
            raise BadInput(f"widths {widths} do not suit {kind}: give 2 or more, for basicunet 5 at most")
        self.settings: dict[str, Any] = {"channels": channels, "dims": dims, "kind": kind, "widths": list(widths)}
        self.net = BUILDERS[kind](dims, channels, channels, tuple(widths))
        self._multiple = 2 ** halvings(kind, tuple(widths))

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """Rebuild (B, C, *size) images whose hidden patches are filled."""
        if any(side % self._multiple for side in images.shape[2:]):
            size = tuple(images.shape[2:])
            raise BadInput(f"image size {size} does not suit this U-Net: sides must be multiples of {self._multiple}")
        return self.net(images)
