"""`loss-map`: ask the reconstructor itself, under many random masks, which patches it rebuilds badly."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from maskgym.agent import Agent
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking.select import select
from maskgym.meter import Meter, Metered
from maskgym.networks.frozen import freeze
from maskgym.networks.store import load

_CACHED, _MANY = (
    2**19,
    2**24,
)  # pixels that go through the network at once: what stays in a CPU's cache, what fills a GPU


@dataclass(frozen=True)
class LossMapSettings:
    """Settings of `loss-map`."""

    masks: int = 16
    """Random masks under which an image is rebuilt; each is a forward of the network."""
    piece: int = 0
    """Images that go through the network at once; 0 = by their size and the device."""
    network: str = ""
    """A frozen network to ask in place of the student's, or of the environment's: a name, file or folder."""
    reference: str = ""
    """A second one, for a reward that compares two."""
    reward: str = "loss"
    """What a patch is worth under these: loss, reducible, relative, ..."""

    def __post_init__(self) -> None:
        if not self.network and (self.reference or self.reward != "loss"):
            raise BadInput(f"loss-map with reward={self.reward} asks frozen networks: name the first by network=")
        if self.masks < 1 or self.piece < 0:
            raise BadInput(f"loss-map with masks={self.masks}, piece={self.piece}: take at least one mask, and piece 0")


class LossMap(Agent):
    """Hide what the network rebuilds badly: the mean loss of each patch over the random masks that hid it.

    This is what the masking papers chase. It is not the best mask: hiding a patch makes its hidden neighbours harder,
    too, and a patch's own loss does not show that.
    """

    name = "loss-map"
    paper = "baseline"
    needs = "reconstructor"

    Settings = LossMapSettings

    def attach(self, student: nn.Module | None, teacher: nn.Module | None = None) -> None:
        """Take student and teacher, or in their place the frozen networks that the settings name."""
        if not self.settings.network:
            super().attach(student, teacher)
        elif self._lent is None:
            self._take(self._frozen_game())

    def lend(self, game: Game) -> None:
        """Take the game of an environment, or in its place that of the networks that the settings name, as metered."""
        if self.settings.network:
            asked = game.reconstructor
            game = self._frozen_game().metered(asked.meter) if isinstance(asked, Metered) else self._frozen_game()
        self._take(game)

    def meter_own(self, meter: Meter) -> None:
        """Count what it asks of the networks that its settings name."""
        if self._lent is not None:
            self._take(self._lent.metered(meter))

    def _take(self, game: Game) -> None:
        super().attach(game.reconstructor)
        self._lent = game

    def _frozen_game(self) -> Game:
        told = self.settings
        first, reference = (
            freeze(load(name, self.game_spec.channels, self.patches.dims)[0]).to(self.game_spec.device)
            if name
            else None
            for name in (told.network, told.reference)
        )
        assert first is not None
        return Game(first, self.patches, self.game_spec.ratio, reward=told.reward, reference=reference)

    def score(self, images: Tensor) -> Tensor:
        """Score by the mean loss while hidden; a patch that no mask hid gets the mean of the others."""
        batch, masks, count = len(images), self.settings.masks, self.patches.count
        keys = self.draw_keys(batch, masks * count).view(-1, count)
        hidden = select(keys, self.game_spec.budget, keys, hard_share=0.0).view(batch, masks, count)
        pixels = _CACHED if images.device.type == "cpu" else _MANY
        piece = self.settings.piece or max(1, pixels // prod(self.patches.size))
        part = max(1, piece // masks)
        with self.lent_game(piece) as game:
            losses = [
                game.evaluate(some, mask).patch_reward.flatten(0, 1)
                for some, mask in zip(images.split(part), hidden.split(part), strict=True)
            ]
        loss = torch.cat(losses).view(batch, masks, count)
        times = hidden.sum(1)  # (B, N) how often each patch was hidden
        mean = (loss * hidden).sum(1) / times.clamp(min=1)
        others = mean.sum(1, keepdim=True) / (times > 0).sum(1, keepdim=True)
        return torch.where(times > 0, mean, others).view(batch, *self.patches.grid)
