"""Improving masks by asking the network: every mask tried tells something about every patch flipped in it.

What flipping a patch changes, it changes nearby. So many flips can be tried in one query, and each be credited with the
change around it; and what swapping a hidden for a visible patch brings is nearly the sum of what the two flips bring.
A climb keeps for every patch an estimate of what hiding it is worth, older ones being less certain, tries the swaps
that look best under a draw from them, learns from what comes back, and keeps the mask if it was better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from maskgym.game import Game
from maskgym.masking import rng
from maskgym.masking.select import select

_REACH = 0.6  # how far from a flip its consequences are credited to it, in patches
_DOUBT = 0.15  # deviation by which an estimate grows uncertain with every query, in deviations of the estimates
_FAR = -1e9

Foresee = Callable[
    [Tensor, Tensor], Tensor
]  # masks and patch rewards (B, N) -> what hiding each patch is worth, (B, N)


class Found(NamedTuple):
    """The best masks so far."""

    queries: int  # asked so far, an image
    mask: Tensor  # (B, N) bool, True = hidden
    reward: Tensor  # (B,) float32


@dataclass(frozen=True)
class Steps:
    """How large the steps of a climb are, as shares of the hidden or the visible patches, whichever are fewer."""

    first: float = 0.375
    """Most patches exchanged in the first try."""
    most: float = 0.75
    """Most patches exchanged in any."""
    grow: float = 1.3
    """By how much that grows after a better mask."""
    shrink: float = 0.7
    """By how much it shrinks after another one."""


class Climb:
    """One climb for each image of a batch, in step; an image is searched alike alone and among many.

    Args:
        game: asked for rewards.
        images: (B, C, *size).
        scores: (B, N) whose top K is the first mask.
        seeds: (B,) int64, from which all that is random grows.
        trusted: whether low and high scores are nearly certain: then only the middle half is surveyed.
        foresee: says what hiding each patch is worth before it is tried; half of that, half the scores' own order, then
            stands for the estimates, and no survey is needed. None = a survey makes them.
        steps: how large they are.
    """

    def __init__(
        self,
        game: Game,
        images: Tensor,
        scores: Tensor,
        seeds: Tensor,
        trusted: bool = True,
        foresee: Foresee | None = None,
        steps: Steps | None = None,
    ):
        self.game, self.images, self.seeds = game, images, seeds
        self.steps = steps or Steps()
        self.queries = self.tries = 0
        keys = rng.keys(seeds, scores.shape[1])
        self.mask = select(scores, game.budget, keys)  # (B, N) the best so far
        cells = cells_of(game.patches.grid, images.device).float()
        self.nearness = torch.exp(-torch.cdist(cells, cells).square() / (2 * _REACH**2)) + 1e-6
        self.scarce = min(game.budget, scores.shape[1] - game.budget)
        self.size = torch.full((len(images), 1), self.steps.first * self.scarce, device=images.device)
        self.prior = self._standard(scores)
        self.trusted, self.foresee = trusted, foresee
        self.unmet = torch.ones_like(self.mask)  # (B, N) bool: never flipped so far
        self.age = torch.full_like(
            scores, 9.0 if foresee is None else 6.0
        )  # (B, N) queries since the estimate was made
        self.worth = torch.zeros_like(scores)  # (B, N) what hiding a patch is worth over showing it
        self.spread = torch.ones(len(images), 1, device=images.device)
        self.patch, self.reward = scores, scores[:, 0]  # of the best mask, once it was asked for

    def found(self) -> Found:
        """Give the best masks so far."""
        return Found(self.queries, self.mask, self.reward)

    def begin(self) -> None:
        """Ask for the first mask."""
        self.patch = self.ask(self.mask)
        self.reward = self.patch.mean(1)
        if self.foresee is not None:
            foreseen = self.foresee(self.mask, self.patch)
            self.spread = foreseen.std(1, keepdim=True).clamp(min=1e-9)
            self.worth = (foreseen + self.prior * self.spread) / 2

    def _standard(self, scores: Tensor) -> Tensor:
        """Measure scores (B, N) from the one that is just hidden, in their deviations."""
        threshold = scores.topk(self.game.budget, 1).values[:, -1:]
        return (scores - threshold) / scores.std(1, keepdim=True).clamp(min=1e-9)

    def ask(self, mask: Tensor) -> Tensor:
        """Ask for masks (B, N): the patch rewards."""
        self.queries += self.game.cost
        self.age = self.age + 1
        return self.game.evaluate(self.images, mask.view(-1, *self.game.patches.grid)).patch_reward.flatten(1)

    def survey(self, groups: list[Tensor]) -> Iterator[Found]:
        """Flip the patches of one group after the other, and take the credits for estimates."""
        asked = torch.zeros_like(self.mask)
        middle = self.mask.new_ones(self.mask.shape)
        if self.trusted:
            nearest = (-self.prior.abs()).topk(self.mask.shape[1] // 2, 1).indices
            middle = torch.zeros_like(self.mask).scatter_(1, nearest, True)
        for group in groups:
            flipped = group & middle
            self.learn(flipped, self.ask(self.mask ^ flipped))
            asked |= flipped
            yield self.found()
        times = asked.sum(1, keepdim=True).clamp(min=1)
        self.spread = ((self.worth.square() * asked).sum(1, keepdim=True) / times).sqrt().clamp(min=1e-9)
        if self.trusted:
            self.worth = torch.where(asked, self.worth, self.prior * self.spread)

    def learn(self, flipped: Tensor, patch: Tensor) -> None:
        """Renew the estimates of the patches flipped (B, N) bool from the patch rewards that came back."""
        gain = credit(patch - self.patch, flipped, self.nearness)
        self.worth = torch.where(flipped, torch.where(self.mask, -gain, gain), self.worth)
        self.age = torch.where(flipped, 0.0, self.age)
        self.unmet = self.unmet & ~flipped

    def try_swaps(self) -> None:
        """Try the swaps that look best under a draw from the estimates; keep the mask if it is better."""
        self.tries += 1
        noise = normal(rng.keys(self.seeds + self.tries, self.mask.shape[1]))
        drawn = self.worth / self.spread + _DOUBT * self.age.sqrt() * noise
        hide = drawn.masked_fill(self.mask, _FAR).sort(1, descending=True)
        show = (-drawn).masked_fill(~self.mask, _FAR).sort(1, descending=True)
        promising = (hide.values + show.values > 0).sum(1, keepdim=True)
        swaps = torch.minimum(promising, self.size.round()).clamp(min=1)
        chosen = torch.arange(drawn.shape[1], device=drawn.device) < swaps  # (B, N) the first ones of either order
        flipped = torch.zeros_like(self.mask).scatter_(1, hide.indices, chosen)
        flipped |= torch.zeros_like(self.mask).scatter_(1, show.indices, chosen)
        mask = self.mask ^ flipped
        patch = self.ask(mask)
        self.learn(flipped, patch)
        reward = patch.mean(1)
        better = (reward > self.reward)[:, None]
        self.mask, self.patch = torch.where(better, mask, self.mask), torch.where(better, patch, self.patch)
        self.reward = torch.where(better[:, 0], reward, self.reward)
        if self.foresee is not None:
            foreseen = (self.foresee(self.mask, self.patch) + self.prior * self.spread) / 2
            self.worth = torch.where(self.unmet, foreseen, self.worth)
        size = torch.where(better, self.size * self.steps.grow, self.size * self.steps.shrink)
        self.size = size.clamp(1, max(1.0, self.steps.most * self.scarce))


@torch.no_grad()
def climb(
    game: Game,
    images: Tensor,
    scores: Tensor,
    queries: int,
    seeds: Tensor,
    trusted: bool = True,
    foresee: Foresee | None = None,
) -> Iterator[Found]:
    """Climb from the top K of scores (B, N) by so many queries an image; gives the best so far after each.

    First every patch in question is flipped once, some cells apart, then swaps are tried; with `foresee` at once.
    """
    state = Climb(game, images, scores, seeds, trusted, foresee)
    state.begin()
    yield state.found()
    tries = queries // game.cost
    groups = far_apart(game.patches.grid, tries - 2, images.device)
    if groups and foresee is None:
        yield from state.survey(groups)
    while state.queries + game.cost <= queries:
        state.try_swaps()
        yield state.found()


def far_apart(grid: tuple[int, ...], most: int, device: torch.device) -> list[Tensor]:
    """Part the grid into patches that lie two cells from each other, like a chequerboard if there must be fewer groups.

    Gives (N,) bool each, `most` of them at most.
    """
    cells = cells_of(grid, device)
    for place in ((cells % 2 * 2 ** torch.arange(cells.shape[1], device=device)).sum(1), cells.sum(1) % 2):
        groups = [place == one for one in place.unique().tolist()]
        if len(groups) <= most:
            return groups
    return []


def credit(change: Tensor, flipped: Tensor, nearness: Tensor) -> Tensor:
    """Share the change of every patch's reward (B, N) out to the flipped patches (B, N) bool near it: (B, N).

    The shares of a patch add up to its change, so the credits of an image add up to the change of its reward.
    """
    near = flipped.float() @ nearness  # (B, N) how much flipping there was around each patch
    return (change / near.clamp(min=1e-9)) @ nearness * flipped


def cells_of(grid: tuple[int, ...], device: torch.device) -> Tensor:
    """Where every patch lies: (N, dims) int64."""
    axes = [torch.arange(side, device=device) for side in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)


def normal(keys: Tensor) -> Tensor:
    """Turn random keys into standard normal numbers, float32."""
    uniform = keys.double() / 2**63
    return torch.special.ndtri(uniform.clamp(1e-12, 1 - 1e-12)).float()
