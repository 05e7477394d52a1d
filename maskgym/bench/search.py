"""Search for the mask of each image that a frozen network rebuilds worst: the maker of par.

Two observations carry it. What swapping a hidden for a visible patch brings is, to a correlation of 0.99, the sum of
what the two flips bring by themselves. And what a flip changes, it changes nearby: so many flips can be tried in one
forward, and each be credited with the change of loss around it. A population of masks an image is therefore improved by
swaps guided by a running estimate of what every flip is worth, and by crossing: a disc of one mask set into another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking import chance
from maskgym.masking.select import select

_FIRST = 1e4  # lifts what a move insists on above all estimates


@dataclass(frozen=True)
class Search:
    """Settings of the search."""

    chains: int = 8
    """Masks an image that are improved side by side; halved three times on the way, the best stay."""
    swaps: int = 8
    """Hidden and visible patches exchanged at once at the start; falls to one."""
    crossing: float = 0.5
    """Share of the moves that set a piece of one mask into another of the same image."""
    temperature: float = 0.3
    """Chance in the choice of patches, in deviations of the estimates; 0 takes the best estimate only."""
    reach: float = 1.0
    """How far from a flip its consequences are looked for, in patches."""
    survey: int = 150
    """Moves between two surveys, in which every patch of the mask is flipped to renew the estimates."""

    def __post_init__(self) -> None:
        if min(self.chains, self.swaps, self.survey) < 1 or min(self.temperature, self.reach) <= 0:
            raise BadInput(f"{self}: chains, swaps, survey, temperature and reach must be positive")
        if not 0 <= self.crossing <= 1:
            raise BadInput(f"crossing {self.crossing} is outside [0, 1]: it is a share of the moves")


class Found(NamedTuple):
    """The best masks met."""

    mask: Tensor  # (B, N) bool, True = hidden
    reward: Tensor  # (B,) float32
    spent: int  # forwards an image


Progress = Callable[[Found], None]


@torch.no_grad()  # not inference mode: what it finds goes into a learner's batch
def search(
    game: Game,
    images: Tensor,
    starts: Tensor,
    evaluations: int,
    seeds: Tensor,
    settings: Search | None = None,
    progress: Progress | None = None,
) -> Found:
    """Improve masks by so many forwards an image; an image meets the same chance alone and among many.

    Args:
        game: its frozen network, patches and budget.
        images: (B, C, *size).
        starts: (S, B, N) bool, True = hidden, K hidden in each; what is missing to the chains is filled up by chance.
        evaluations: forwards an image, whatever they are for.
        seeds: (B,) int64, from which all chance grows.
        settings: how to search.
        progress: hears the best so far after every round.
    """
    settings = settings or Search()
    if starts.dim() != 3 or starts.shape[1:] != (len(images), game.patches.count):
        raise BadInput(f"starts of shape {tuple(starts.shape)} must be (S, {len(images)}, {game.patches.count})")
    if bool((starts.sum(2) != game.budget).any()):
        raise BadInput(f"a start does not hide {game.budget} patches: every mask of this game does")
    if evaluations < len(starts):
        raise BadInput(f"{evaluations} evaluations do not pay for {len(starts)} starts: give at least as many")
    chains = max(len(starts), min(settings.chains, evaluations // 50))
    more = random_masks(game, seeds ^ 0x5EED, chains - len(starts))
    population = _Population(game, images, torch.cat([starts, more]), seeds, settings)
    while population.spent + population.chains <= evaluations:
        population.move(evaluations)
        if progress is not None:
            progress(population.found())
    return population.found()


def random_masks(game: Game, seeds: Tensor, masks: int) -> Tensor:
    """Draw masks by chance: (masks, B, N) bool from (B,) int64 seeds."""
    batch, count = len(seeds), game.patches.count
    keys = chance.keys(seeds, max(masks, 1) * count).view(batch, -1, count)[:, :masks].transpose(0, 1)
    flat = keys.reshape(-1, count)
    return select(flat, game.budget, flat, hard_share=0.0).view(masks, batch, count)


def credit(change: Tensor, flipped: Tensor, nearness: Tensor) -> Tensor:
    """Share the change of every patch's loss (B, N) out to the flipped patches (B, N) bool near it: (B, N).

    The shares of a patch add up to its change, so the credits of an image add up to the change of its loss.
    """
    near = flipped.float() @ nearness  # (B, N) how much flipping there was around each patch
    return (change / near.clamp(min=1e-9)) @ nearness * flipped


class _Population:
    """Several masks of each image, chain by chain: row c * B + b is chain c of image b."""

    def __init__(self, game: Game, images: Tensor, starts: Tensor, seeds: Tensor, settings: Search):
        self.game, self.images, self.settings = game, images, settings
        self.chains, self.batch, self.count = starts.shape
        cells = torch.stack(torch.meshgrid(*(torch.arange(side) for side in game.patches.grid), indexing="ij"), -1)
        self.cells = cells.flatten(0, -2).to(images.device)  # (N, dims)
        self.far = torch.cdist(self.cells.float(), self.cells.float())  # (N, N)
        self.nearness = torch.exp(-self.far.square() / (2 * settings.reach**2)) + 1e-6
        turns = torch.arange(self.chains, device=images.device)[:, None]
        self.seeds = chance.keys((seeds[None] + (turns << 40)).flatten(), 1)[:, 0]  # (S * B,)
        self.mask = starts.reshape(-1, self.count).clone()
        self.loss = self.pay(self.mask)
        self.best, self.best_mask = self.loss.mean(1), self.mask.clone()
        self.spent, self.turn, self.surveyed = self.chains, 0, -settings.survey
        self.worth = torch.zeros_like(self.loss)  # (S * B, N) what hiding a patch is worth over showing it
        self.spread = torch.ones(len(self.mask), 1, device=images.device)  # (S * B, 1) deviation of the estimates
        self.halvings = [0.25, 0.5, 0.75]  # shares of the evaluations

    def pay(self, mask: Tensor) -> Tensor:
        """Play masks (S * B, N): the loss of every patch."""
        images = self.images.repeat(len(mask) // self.batch, *[1] * (self.images.dim() - 1))
        return self.game.pay(images, mask.view(-1, *self.game.patches.grid)).patch_loss.flatten(1)

    def found(self) -> Found:
        """The best of all chains."""
        reward, chain = self.best.view(-1, self.batch).max(0)
        mask = self.best_mask.view(-1, self.batch, self.count)[chain, torch.arange(self.batch, device=chain.device)]
        return Found(mask, reward, self.spent)

    def move(self, evaluations: int) -> None:
        """Propose another mask in every chain, take it where it pays more, learn from it in any case."""
        if self.halvings and self.chains > 1 and self.spent >= evaluations * self.halvings[0]:
            self.halvings.pop(0)
            self.halve()
        groups = self.groups()
        if self.turn - self.surveyed >= self.settings.survey and (
            evaluations - self.spent >= 4 * len(groups) * self.chains
        ):
            self.survey(groups)
        chances = chance.keys(self.seeds + self.turn, self.count + 2).double() / 2**63  # (S * B, N + 2) in [0, 1)
        wish = self.worth / self.spread / self.settings.temperature + _gumbel(chances[:, 2:]).to(self.worth.dtype)
        self.turn += 1
        crossings = int(self.turn * self.settings.crossing) - int((self.turn - 1) * self.settings.crossing)
        if self.chains > 1 and crossings:
            proposal = self.cross(wish, chances)
        else:
            left = 1 - self.spent / evaluations
            proposal = self.swap(wish, max(1, round(self.settings.swaps * left)))
        loss = self.pay(proposal)
        self.spent += self.chains
        self.learn(proposal, loss)
        better = loss.sum(1) > self.loss.sum(1)
        self.mask = torch.where(better[:, None], proposal, self.mask)
        self.loss = torch.where(better[:, None], loss, self.loss)
        reward = self.loss.mean(1)
        up = reward > self.best
        self.best = torch.where(up, reward, self.best)
        self.best_mask = torch.where(up[:, None], self.mask, self.best_mask)

    def swap(self, wish: Tensor, swaps: int) -> Tensor:
        """Hide visible patches that seem worth it, show as many hidden ones that seem not."""
        swaps = min(swaps, self.game.budget, self.count - self.game.budget)
        hide = wish.masked_fill(self.mask, -torch.inf).topk(swaps, 1).indices
        # The same chance serves both sides: no patch is on both, and what is wished least is shown first.
        show = wish.masked_fill(~self.mask, torch.inf).topk(swaps, 1, largest=False).indices
        return self.mask.scatter(1, hide, True).scatter(1, show, False)

    def cross(self, wish: Tensor, chances: Tensor) -> Tensor:
        """Set a disc of another chain's mask into each, and make up for the difference in hidden patches outside it."""
        centre = (chances[:, 0] * self.count).long()
        radius = self.far.max() * (0.08 + 0.35 * chances[:, 1:2])
        inside = self.far[centre] <= radius
        other = self.mask.view(-1, self.batch, self.count).roll(1 + self.turn % (self.chains - 1), 0).flatten(0, 1)
        mixed = torch.where(inside, other, self.mask)
        lifted = mixed * (2.0 * _FIRST) + torch.where(inside, torch.where(other, _FIRST, -_FIRST), 0.0) + wish
        hidden = lifted.topk(self.game.budget, 1).indices
        return torch.zeros_like(self.mask).scatter_(1, hidden, True)

    def learn(self, played: Tensor, loss: Tensor) -> None:
        """Renew the estimates of the patches in which the mask played differs from the chain's own."""
        flipped = played ^ self.mask
        gain = credit(loss - self.loss, flipped, self.nearness)
        self.worth = torch.where(flipped, torch.where(played, gain, -gain), self.worth)

    def survey(self, groups: list[Tensor]) -> None:
        """Flip every patch once, many far from each other at a time."""
        for group in groups:
            played = self.mask ^ group
            self.learn(played, self.pay(played))
        self.spent += self.chains * len(groups)
        self.surveyed = self.turn
        self.spread = self.worth.std(1, keepdim=True).clamp(min=1e-9)

    def groups(self) -> list[Tensor]:
        """Part the grid into patches that lie some cells from each other: (N,) bool each."""
        gap = 3 if self.cells.shape[1] == 2 else 2
        place = (self.cells % gap * gap ** torch.arange(self.cells.shape[1], device=self.cells.device)).sum(1)
        return [place == one for one in place.unique()]

    def halve(self) -> None:
        """Keep the better half of each image's chains."""
        self.chains = (self.chains + 1) // 2
        kept = self.best.view(-1, self.batch).topk(self.chains, 0).indices  # (S', B)
        rows = (kept * self.batch + torch.arange(self.batch, device=kept.device)).flatten()
        for name in ("mask", "loss", "best", "best_mask", "worth", "spread", "seeds"):
            setattr(self, name, getattr(self, name)[rows])


def _gumbel(chances: Tensor) -> Tensor:
    return -(-chances.clamp(1e-12, 1 - 1e-12).log()).log()
