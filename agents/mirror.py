"""`mirror`: ask an agent about the image and its mirror images, and average what it says."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, combinations
from typing import Literal

import torch
from torch import Tensor

from maskgym.composed import RANDOM, Composed
from maskgym.errors import BadInput


@dataclass(frozen=True)
class MirrorSettings:
    """Settings of `mirror`."""

    start: str = "variance"
    """Whose scores are averaged: any agent but random, as a3c:runs/a3c."""
    flips: Literal["last", "all"] = "last"
    """Axes along which the image is mirrored: the last, or all, each way there is to combine them."""

    def __post_init__(self) -> None:
        if self.start == RANDOM:
            raise BadInput("mirror?start=random has nothing to average: name an agent, as in mirror?start=a3c:FOLDER")


class Mirror(Composed):
    """Score by the mean of what another agent says of the image and its mirror images: `mirror?start=a3c:runs/a3c`.

    A policy that learned from few images is not quite the same for an image and its mirror image, though the game
    hardly is another one. So its answers differ by chance, and their mean is better than each. The agent is asked
    twice, along all axes four times in 2D and eight times in 3D, and so is the network, if the agent asks it.
    """

    name = "mirror"
    paper = "test-time augmentation"

    Settings = MirrorSettings

    def score(self, images: Tensor) -> Tensor:
        """Average the scores of the image and its mirror images, each turned back."""
        (start,) = self._starts
        last = self.patches.dims  # an axis of the scores; images have one more before it, the channels
        axes = range(1 if self.settings.flips == "all" else last, last + 1)
        turns = list(chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1)))
        told = [start.score(images.flip([axis + 1 for axis in turn])).flip(turn) for turn in turns]
        return torch.stack(told).float().mean(0)
