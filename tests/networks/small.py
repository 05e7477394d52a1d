"""Small students, and what they are shown."""

from typing import Any

import torch
from torch import Tensor, nn

from maskgym.masking.patches import Patches
from maskgym.networks.students import make_student

SETTINGS: dict[str, dict[str, Any]] = {
    "unet": {"widths": (4, 8)},
    "nnunet": {"widths": (4, 8)},
    "small-unet": {"widths": (4, 8)},
    "basicunet": {"widths": (4, 4, 4, 4)},
    "vit-mae": {"width": 12, "depth": 2, "heads": 3, "decoder_width": 12, "decoder_depth": 1},
    "stunet-s": {"widths": (4, 6, 8)},
    "stunet-b": {"widths": (4, 8)},
    "stunet-l": {"widths": (4, 8), "depth": 2},
}
GRIDS = {2: Patches((32, 48), (8, 8)), 3: Patches((32, 32, 32), (16, 16, 16))}


def small(name: str, dims: int = 2, channels: int = 2, **more: Any) -> nn.Module:
    torch.manual_seed(0)
    student = make_student(name, channels, GRIDS[dims], {**SETTINGS[name], **more})
    for name, weight in student.named_parameters():  # norms and tokens that start at 0 or 1 hide mistakes
        if "norm" in name or "hidden" in name:
            weight.data += 0.3 * torch.randn_like(weight)
    return student


def shown(dims: int = 2, channels: int = 2, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images (B, C, *size), and masks (B, *grid) that differ from image to image and hide half of each."""
    patches, generator = GRIDS[dims], torch.Generator().manual_seed(seed)
    images = torch.randn(batch, channels, *patches.size, generator=generator)
    order = torch.rand(batch, patches.count, generator=generator).argsort(1)
    return images, (order < patches.count // 2).view(batch, *patches.grid)


def disturbed(images: Tensor, mask: Tensor, dims: int = 2) -> Tensor:
    """Other images that differ in what is hidden."""
    return torch.where(GRIDS[dims].spread(mask), 7.0 - 3.0 * images, images)
