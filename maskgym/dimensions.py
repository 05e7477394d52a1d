"""Layers and functions by the number of axes, so that 2D and 3D are one code."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn import functional as F

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
CONV_TRANSPOSE: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORM: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE_NORM: dict[int, Any] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
AVG_POOL: dict[int, Any] = {2: F.avg_pool2d, 3: F.avg_pool3d}
MAX_POOL: dict[int, Any] = {2: F.max_pool2d, 3: F.max_pool3d}
