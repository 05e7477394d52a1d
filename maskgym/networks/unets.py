"""Plain U-Nets by kind, the same network as student and as segmenter; as students they never hear of the mask."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from maskgym.errors import BadInput

WIDTHS: dict[str, tuple[int, ...]] = {
    "basicunet": (64, 128, 256, 512, 1024),  # the papers' U-Net: four halvings with max-pooling
    "unet": (64, 128, 256, 512),
    "nnunet": (32, 64, 128, 256, 320),  # five stages, as nnU-Net plans them
}


def basicunet(dims: int, inside: int, outside: int, widths: tuple[int, ...]) -> nn.Module:
    """Build MONAI's `BasicUNet`, which has five levels: the last width is used again where fewer are given."""
    from monai.networks.nets import BasicUNet

    levels = (*widths, *[widths[-1]] * max(0, 5 - len(widths)))
    return BasicUNet(dims, inside, outside, features=(*levels, widths[0]))


def unet(dims: int, inside: int, outside: int, widths: tuple[int, ...]) -> nn.Module:
    """Build MONAI's residual `UNet`, one halving between two levels; nothing of it works at full resolution."""
    from monai.networks.nets import UNet

    strides = (2,) * (len(widths) - 1)
    return UNet(dims, inside, outside, channels=widths, strides=strides, num_res_units=2)


def nnunet(dims: int, inside: int, outside: int, widths: tuple[int, ...]) -> nn.Module:
    """Build a U-Net as nnU-Net plans it."""
    from maskgym.networks.nnunet import NnUNet

    return NnUNet(dims, inside, outside, widths)


BUILDERS = {"unet": unet, "basicunet": basicunet, "nnunet": nnunet}


def halvings(kind: str, widths: tuple[int, ...]) -> int:
    """Say how often the network halves an image."""
    return 4 if kind == "basicunet" else len(widths) - 1


class UNetStudent(nn.Module):
    """A plain U-Net that answers with as many channels as it is given.

    Args:
        channels: of the images.
        dims: 2 for images, 3 for volumes.
        kind: "basicunet", "unet" or "nnunet".
        widths: channels of the levels; () = those of the kind.
    """

    def __init__(self, channels: int = 1, dims: int = 2, kind: str = "basicunet", widths: tuple[int, ...] = ()):
        super().__init__()
        widths = tuple(widths or WIDTHS[kind])
        if len(widths) < 2 or (kind == "basicunet" and len(widths) > 5):
            raise BadInput(f"widths {widths} do not suit {kind}: give 2 or more, for basicunet 5 at most")
        self.settings: dict[str, Any] = {"channels": channels, "dims": dims, "kind": kind, "widths": list(widths)}
        self.net = BUILDERS[kind](dims, channels, channels, widths)
        self._multiple = 2 ** halvings(kind, widths)

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """Rebuild (B, C, *size) images whose hidden patches are filled."""
        if any(side % self._multiple for side in images.shape[2:]):
            size = tuple(images.shape[2:])
            raise BadInput(f"image size {size} does not suit this U-Net: sides must be multiples of {self._multiple}")
        return self.net(images)
