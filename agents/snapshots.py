"""`snapshots`: hide what a network has lately learned to rebuild, as two averages of its own training run tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from maskgym.agent import Agent
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking.select import select
from maskgym.rewards import Losses, make_reward


@dataclass(frozen=True)
class SnapshotsSettings:
    """Settings of `snapshots`."""

    reward: str = "relative"
    """What a patch is worth: a reward that compares two networks, here the slow average with the fast one."""
    share: float = 0.5
    """Share of the hidden patches that is chosen by worth, the rest is random."""
    target: Literal["raw", "normalised"] = "raw"
    """"raw": the networks give pixels. "normalised": they give patches of mean 0 and variance 1."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise BadInput(f"share {self.share} is outside [0, 1]: 0 leaves all to random masks")
        if not make_reward(self.reward).compares:
            raise BadInput(f"reward {self.reward!r} looks at one network: choose relative or reducible")


class Snapshots(Agent):
    """Hide the patches whose loss fell most between a slow and a fast average of the student's own run.

    Both see the same random mask: two queries an image. Patches that nobody can rebuild cost both averages the same
    and earn nothing, nor do those that both rebuild. Only the hidden patches have a loss, so the best `share` of them
    are scored and all others are left to random choice. In pre-training the slow average is the teacher and the fast
    one `--fast`; where there is but one network, as in an environment, all patches are worth the same.
    """

    name = "snapshots"
    paper = "baseline"
    needs = "a student's run"

    Settings = SnapshotsSettings

    def score(self, images: Tensor) -> Tensor:
        """Score the best patches of one random mask by their worth, all others below."""
        keys = self.draw_keys(len(images))
        hidden = select(keys, self.game_spec.budget, keys, hard_share=0.0)  # (B, N)
        mask = hidden.view(-1, *self.patches.grid)
        with self._both() as (slow, fast):
            losses = [
                Game(network, self.patches, self.game_spec.ratio, target=self.settings.target)
                .evaluate(images, mask)
                .patch_loss
                for network in (slow, fast)
            ]
        worth = make_reward(self.settings.reward)(Losses(losses[0], losses[1], mask, float("nan"))).flatten(1)
        below = worth.amin(1, keepdim=True) - 1
        worth = torch.where(hidden, worth, below)
        best = select(worth, round(self.settings.share * self.game_spec.budget), keys)
        return torch.where(best, worth, below).view(-1, *self.patches.grid)

    @contextmanager
    def _both(self) -> Iterator[tuple[nn.Module, nn.Module]]:
        """Lend the slow and the fast average, without gradients and in evaluation mode."""
        slow = self.network
        fast = self._attached[0] if self._attached[0] is not None else slow
        learning = [module for network in (slow, fast) for module in network.modules() if module.training]
        with ExitStack() as stack:
            stack.callback(_learn_on, learning)
            for network in (slow, fast):
                network.eval()
            with torch.no_grad():
                yield slow, fast


def _learn_on(modules: list[nn.Module]) -> None:
    for module in modules:
        module.training = True
