"""Search for the mask of each image that a frozen network rebuilds worst: the maker of par.

Two observations carry it. What swapping a hidden for a visible patch brings is, to a correlation of 0.99, the sum of
what the two flips bring by themselves. And what a flip changes, it changes nearby: so many flips can be tried in one
forward, and each be credited with the change of loss around it. A population of masks an image is therefore improved by
swaps guided by a running estimate of what every flip is worth, and by crossing: a disc of one mask set into another.
Hiding an organ helps only when all of it is hidden, which no swap finds: so discs are hidden whole, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from maskgym.climbing import cells_of, credit
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking import rng
from maskgym.masking.select import select

_FIRST = 1e4  # lifts what a move insists on above all estimates


@dataclass(frozen=True)
class Search:
    """Settings of the search."""

    chains: int = 16
    """Masks of an image that are improved side by side; the worse half is dropped three times on the way."""
    exchange: float = 0.25
    """Most patches that one swap exchanges, as a share of the hidden or the visible ones, whichever are fewer."""
    crossing: float = 0.5
    """Share of the moves that change a whole disc: two in three copy it from another mask, the third hides all."""
    temperature: float = 0.3
    """Randomness in the choice of patches, in standard deviations of the estimates."""
    reach: float = 1.0
    """How far from a flip its effect is looked for, in patches."""
    survey: int = 150
    """Moves between two surveys; a survey flips every patch of the mask to renew the estimates."""

    def check(self) -> None:
        """Refuse what cannot be searched with; not when it is built, where the command line would say it at length."""
        if min(self.chains, self.survey) < 1 or min(self.temperature, self.reach) <= 0:
            raise BadInput(f"{self}: chains, survey, temperature and reach must be positive")
        if not 0 <= self.crossing <= 1 or not 0 <= self.exchange <= 1:
            raise BadInput(f"crossing {self.crossing}, exchange {self.exchange}: both are shares, from 0 to 1")


class Found(NamedTuple):
    """The best masks found."""

    mask: Tensor  # (B, N) bool, True = hidden
    reward: Tensor  # (B,) float32
    queries: int  # an image


Progress = Callable[[Found], None]


@torch.no_grad()  # not inference mode: what it finds goes into a learner's batch
def search(
    game: Game,
    images: Tensor,
    starts: Tensor,
    queries: int,
    seeds: Tensor,
    settings: Search | None = None,
    progress: Progress | None = None,
) -> Found:
    """Improve masks by so many queries an image; an image is searched alike alone and among many.

    Args:
        game: its frozen network, patches and budget.
        images: (B, C, *size).
        starts: (S, B, N) bool, True = hidden, K hidden in each; other chains start from blocks or random masks.
        queries: of each image, whatever they are for: one mask, one query.
        seeds: (B,) int64, from which all that is random grows.
        settings: how to search.
        progress: hears the best so far after every round.
    """
    settings = settings or Search()
    settings.check()
    if starts.dim() != 3 or starts.shape[1:] != (len(images), game.patches.count):
        raise BadInput(f"starts of shape {tuple(starts.shape)} must be (S, {len(images)}, {game.patches.count})")
    if bool((starts.sum(2) != game.budget).any()):
        raise BadInput(f"a start does not hide {game.budget} patches: every mask of this game does")
    if queries < len(starts):
        raise BadInput(f"{queries} queries are too few for {len(starts)} starts: give at least as many")
    chains = max(len(starts), min(settings.chains, queries // 50))
    more = random_masks(game, seeds ^ 0x5EED, chains - len(starts))
    more[::2] = _blocks(game, seeds ^ 0xB10C, len(more[::2]))
    population = _Population(game, images, torch.cat([starts, more]), seeds, settings)
    while population.queries + population.chains <= queries:
        population.move(queries)
        if progress is not None:
            progress(population.found())
    return population.found()


def random_masks(game: Game, seeds: Tensor, masks: int) -> Tensor:
    """Draw random masks: (masks, B, N) bool from (B,) int64 seeds."""
    batch, count = len(seeds), game.patches.count
    keys = rng.keys(seeds, max(masks, 1) * count).view(batch, -1, count)[:, :masks].transpose(0, 1)
    flat = keys.reshape(-1, count)
    return select(flat, game.budget, flat, hard_share=0.0).view(masks, batch, count)


def _blocks(game: Game, seeds: Tensor, masks: int) -> Tensor:
    """Draw masks whose patches lie round one centre: (masks, B, N) bool."""
    far = _distances(game.patches.grid, seeds.device)
    centres = rng.keys(seeds, max(masks, 1))[:, :masks].T % len(far)  # (masks, B)
    hidden = far[centres].topk(game.budget, 2, largest=False).indices
    return torch.zeros(*centres.shape, len(far), dtype=torch.bool, device=seeds.device).scatter_(2, hidden, True)


def _distances(grid: tuple[int, ...], device: torch.device) -> Tensor:
    cells = cells_of(grid, device).float()
    return torch.cdist(cells, cells)  # (N, N)


class _Population:
    """Several masks of each image, chain by chain: row c * B + b is chain c of image b."""

    def __init__(self, game: Game, images: Tensor, starts: Tensor, seeds: Tensor, settings: Search):
        self.game, self.images, self.settings = game, images, settings
        self.chains, self.batch, self.count = starts.shape
        self.cells, self.far = cells_of(game.patches.grid, images.device), _distances(game.patches.grid, images.device)
        self.scarce = min(game.budget, self.count - game.budget)
        self.nearness = torch.exp(-self.far.square() / (2 * settings.reach**2)) + 1e-6
        steps = torch.arange(self.chains, device=images.device)[:, None]
        self.seeds = rng.keys((seeds[None] + (steps << 40)).flatten(), 1)[:, 0]  # (S * B,)
        self.mask = starts.reshape(-1, self.count).clone()
        self.loss = self.evaluate(self.mask)
        self.best, self.best_mask = self.loss.mean(1), self.mask.clone()
        self.queries, self.step, self.surveyed = self.chains, 0, -settings.survey
        self.worth = torch.zeros_like(self.loss)  # (S * B, N) what hiding a patch is worth over showing it
        self.spread = torch.ones(len(self.mask), 1, device=images.device)  # (S * B, 1) deviation of the estimates
        self.halvings = [0.25, 0.5, 0.75]  # shares of the queries

    def evaluate(self, mask: Tensor) -> Tensor:
        """Play masks (S * B, N): the loss of every patch."""
        images = self.images.repeat(len(mask) // self.batch, *[1] * (self.images.dim() - 1))
        return self.game.evaluate(images, mask.view(-1, *self.game.patches.grid)).patch_reward.flatten(1)

    def found(self) -> Found:
        """The best of all chains."""
        reward, chain = self.best.view(-1, self.batch).max(0)
        mask = self.best_mask.view(-1, self.batch, self.count)[chain, torch.arange(self.batch, device=chain.device)]
        return Found(mask, reward, self.queries)

    def move(self, queries: int) -> None:
        """Propose another mask in every chain, keep it where it brings more, learn from it in any case."""
        if self.halvings and self.chains > 1 and self.queries >= queries * self.halvings[0]:
            self.halvings.pop(0)
            self.halve()
        groups = self.groups()
        if self.step - self.surveyed >= self.settings.survey and (
            queries - self.queries >= 4 * len(groups) * self.chains
        ):
            self.survey(groups)
        uniform = rng.keys(self.seeds + self.step, self.count + 2).double() / 2**63  # (S * B, N + 2) in [0, 1)
        appeal = self.worth / self.spread / self.settings.temperature + _gumbel(uniform[:, 2:]).to(self.worth.dtype)
        self.step += 1
        discs = int(self.step * self.settings.crossing)
        due = discs > int((self.step - 1) * self.settings.crossing)
        if due and discs % 3 == 0:
            proposal = self.fill(appeal, uniform)
        elif due and self.chains > 1:
            proposal = self.cross(appeal, uniform)
        else:
            # Most swaps are of one pair; larger ones in between leave what no single pair improves.
            most = self.scarce * self.settings.exchange
            proposal = self.swap(appeal, max(1, round((most, 0, most / 2, 0)[self.step // 2 % 4])))
        loss = self.evaluate(proposal)
        self.queries += self.chains
        self.learn(proposal, loss)
        better = loss.sum(1) > self.loss.sum(1)
        self.mask = torch.where(better[:, None], proposal, self.mask)
        self.loss = torch.where(better[:, None], loss, self.loss)
        reward = self.loss.mean(1)
        up = reward > self.best
        self.best = torch.where(up, reward, self.best)
        self.best_mask = torch.where(up[:, None], self.mask, self.best_mask)

    def swap(self, appeal: Tensor, swaps: int) -> Tensor:
        """Hide visible patches that seem worth it, show as many hidden ones that seem not."""
        hide = appeal.masked_fill(self.mask, -torch.inf).topk(swaps, 1).indices
        # One draw serves both sides: no patch is on both, and what appeals least is shown first.
        show = appeal.masked_fill(~self.mask, torch.inf).topk(swaps, 1, largest=False).indices
        return self.mask.scatter(1, hide, True).scatter(1, show, False)

    def cross(self, appeal: Tensor, uniform: Tensor) -> Tensor:
        """Set a disc of another chain's mask into each, and make up for the difference in hidden patches outside it."""
        inside = self.disc(uniform, 0.43)
        other = self.mask.view(-1, self.batch, self.count).roll(1 + self.step % (self.chains - 1), 0).flatten(0, 1)
        mixed = torch.where(inside, other, self.mask)
        lifted = mixed * (2.0 * _FIRST) + torch.where(inside, torch.where(other, _FIRST, -_FIRST), 0.0) + appeal
        return self.highest(lifted)

    def fill(self, appeal: Tensor, uniform: Tensor) -> Tensor:
        """Hide all of a disc, and show as many patches outside it that seem worth least."""
        return self.highest(torch.where(self.disc(uniform, 0.28), 2.0 * _FIRST, self.mask * _FIRST) + appeal)

    def disc(self, uniform: Tensor, widest: float) -> Tensor:
        """Draw a disc on the grid, its radius up to so much of the grid's diagonal: (S * B, N) bool."""
        centre = (uniform[:, 0] * self.count).long()
        radius = self.far.max() * (0.08 + (widest - 0.08) * uniform[:, 1:2])
        return self.far[centre] <= radius

    def highest(self, scores: Tensor) -> Tensor:
        """Hide the K highest scores."""
        return torch.zeros_like(self.mask).scatter_(1, scores.topk(self.game.budget, 1).indices, True)

    def learn(self, played: Tensor, loss: Tensor) -> None:
        """Renew the estimates of the patches in which the mask played differs from the chain's own."""
        flipped = played ^ self.mask
        gain = credit(loss - self.loss, flipped, self.nearness)
        self.worth = torch.where(flipped, torch.where(played, gain, -gain), self.worth)

    def survey(self, groups: list[Tensor]) -> None:
        """Flip every patch once, many far from each other at a time."""
        for group in groups:
            played = self.mask ^ group
            self.learn(played, self.evaluate(played))
        self.queries += self.chains * len(groups)
        self.surveyed = self.step
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


def _gumbel(uniform: Tensor) -> Tensor:
    return -(-uniform.clamp(1e-12, 1 - 1e-12).log()).log()
