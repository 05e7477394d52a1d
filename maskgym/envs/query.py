"""Episodes of several queries: every step tries a mask and is told what it came to, patch by patch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from maskgym.envs.episodes import OneShot, Taken
from maskgym.envs.kept import Kept
from maskgym.envs.rendering import search_panel
from maskgym.envs.task import Settings, Task
from maskgym.errors import BadInput
from maskgym.game import Outcome
from maskgym.masking import rng
from maskgym.masking.select import select

OBSERVATIONS = ("dict", "channels")
_BASELINE = 0xBA5E << 40  # parts the random masks that episodes begin with from all other random masks
_LIMIT = 100.0  # patch rewards are shown up to here; those of z-scored images stay far below


@dataclass(frozen=True)
class QuerySettings(Settings):
    """What `gym.make` takes by keyword for the games of several queries."""

    queries: int = 16
    """Masks that an episode may try."""
    observation: str = "dict"
    """"dict": image, masks and patch rewards by name; "channels": all of them as channels of one uint8 image."""


class Queries(OneShot):
    """Episodes in which masks are tried one after the other, the state of each in a row of tensors."""

    settings_type: ClassVar[type[Settings]] = QuerySettings

    def __init__(self, task: Task, count: int):
        super().__init__(task, count)
        assert isinstance(task.settings, QuerySettings)
        self.queries, self.form = task.settings.queries, task.settings.observation
        if self.queries < 1:
            raise BadInput(f"queries {self.queries} must be at least 1: an episode tries masks")
        if self.form not in OBSERVATIONS:
            raise BadInput(f"unknown observation {self.form!r}: choose one of {', '.join(OBSERVATIONS)}")
        patches, device = task.patches.count, task.device
        self._baselines = Kept(len(task.images), (patches,), np.float32, self._measure)
        self.best = torch.zeros(count, device=device)  # (n,) highest reward so far
        self.best_mask = torch.zeros(count, patches, dtype=torch.bool, device=device)  # (n, N)
        self.best_patch = torch.zeros(count, patches, device=device)  # (n, N) patch rewards of that mask
        self.last_mask, self.last_patch = self.best_mask, self.best_patch  # of the mask tried last
        self.left = np.full(count, self.queries)  # (n,) queries left
        self.asked = np.zeros(count, np.int64)  # (n,) queries asked in this episode, lent network included
        self.steps = np.zeros(count, np.int64)  # (n,)
        self.tried = np.full((count, self.queries + 1), np.nan)  # (n, ...) the baseline's reward, then every query's
        self._drawn = (self.best_mask, self.last_mask, self.tried)  # as the last step left them, for pictures

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """What one episode shows."""
        size, count = self.task.patches.size, self.task.patches.count
        if self.form == "channels":
            return spaces.Box(0, 255, (*size, self.task.channels + 5), np.uint8)
        mask, rewards = spaces.MultiBinary(count), spaces.Box(-_LIMIT, _LIMIT, (count,), np.float32)
        return spaces.Dict(
            {
                "image": self.task.observation_space,
                "best_mask": mask,
                "best_reward": rewards,
                "last_mask": mask,
                "last_reward": rewards,
                "left": spaces.Box(0, 1, (1,), np.float32),
            }
        )

    def begin(self, which: np.ndarray, index: np.ndarray) -> dict[str, Any]:
        """Begin with the random baseline mask of each image, always the same one of an image."""
        rows = torch.from_numpy(np.flatnonzero(which)).to(self.task.device)
        mask = self._masks(index[which])
        patch = torch.from_numpy(self._baselines[index[which]]).to(self.task.device)
        for name, value in {"best": patch.mean(1), "best_mask": mask, "best_patch": patch}.items():
            setattr(self, name, getattr(self, name).index_copy(0, rows, value))
        self.last_mask, self.last_patch = (
            state.index_copy(0, rows, value) for state, value in ((self.last_mask, mask), (self.last_patch, patch))
        )
        self.left, self.asked = self.left.copy(), self.asked.copy()
        self.steps, self.tried = self.steps.copy(), self.tried.copy()
        self.left[which], self.asked[which], self.steps[which] = self.queries, 0, 0
        self.tried[which] = np.nan
        baseline = self.best.cpu().numpy().astype(np.float64)
        self.tried[which, 0] = baseline[which]
        return {"baseline": np.where(which, baseline, 0.0)}

    def meet(self, index: np.ndarray) -> None:
        """Work out the baselines of images (k,)."""
        _ = self._baselines[index]

    def draws(self, draws: np.ndarray) -> np.ndarray:
        """Draw anew for every step of an episode."""
        return draws + self.steps

    def take(self, outcome: Outcome, live: np.ndarray, asked: int) -> Taken:
        """Reward what was gained over the best so far; trying the best mask again ends the episode."""
        alive = torch.from_numpy(live).to(self.best.device)
        mask, patch = outcome.mask.flatten(1), outcome.patch_reward.flatten(1)
        again = alive & (mask == self.best_mask).all(1)
        gain = torch.where(alive & ~again, outcome.reward - self.best, 0.0).clamp(min=0.0)
        up, shown = gain > 0, alive[:, None]
        self.best = torch.where(up, outcome.reward, self.best)
        self.best_mask = torch.where(up[:, None], mask, self.best_mask)
        self.best_patch = torch.where(up[:, None], patch, self.best_patch)
        self.last_mask = torch.where(shown, mask, self.last_mask)
        self.last_patch = torch.where(shown, patch, self.last_patch)
        stopped = again.cpu().numpy()
        self.steps, self.left = self.steps + live, self.left - (live & ~stopped)
        self.asked = self.asked + live * (asked + self.task.game.cost * ~stopped)
        self.tried = self.tried.copy()
        self.tried[live, self.steps[live]] = outcome.reward.cpu().numpy()[live]
        self._drawn = (self.best_mask, self.last_mask, self.tried)
        return Taken(
            gain, live & (stopped | (self.left == 0)), {"queries": self.asked.copy(), "best": self.best.double()}
        )

    def observe(self, index: np.ndarray) -> Tensor | dict[str, Tensor]:
        """Show image, best and last mask with their patch rewards, and the share of the queries that is left."""
        image = self.task.view(index)
        left = torch.from_numpy((self.left / self.queries).astype(np.float32)).to(image.device)
        if self.form == "channels":
            return self._channels(image, left)
        return {
            "image": image,
            "best_mask": self.best_mask.to(torch.int8),
            "best_reward": self.best_patch.clamp(-_LIMIT, _LIMIT),
            "last_mask": self.last_mask.to(torch.int8),
            "last_reward": self.last_patch.clamp(-_LIMIT, _LIMIT),
            "left": left[:, None],
        }

    def _channels(self, image: Tensor, left: Tensor) -> Tensor:
        """Stack all of it behind the image: (n, *size, C + 5) uint8, blown up to pixels.

        A mask is 0 or 255, queries left 0 to 255, a patch reward r is 128 + 64 sign(r) sqrt(|r|): fine where most are.
        """
        patches = self.task.patches
        cells = torch.stack(
            [255.0 * self.best_mask, _grey(self.best_patch), 255.0 * self.last_mask, _grey(self.last_patch)], 1
        ).to(torch.uint8)  # (n, 4, N)
        wide = patches.spread(cells.view(-1, *patches.grid)).view(len(image), 4, *patches.size).movedim(1, -1)
        clock = (255.0 * left).to(torch.uint8).view(-1, *[1] * patches.dims, 1).expand(*image.shape[:-1], 1)
        return torch.cat([image, wide, clock], -1)

    def draw(self, number: int, images: Tensor, outcome: Outcome | None) -> np.ndarray:
        """Draw the search of episode `number`: image, last and best mask, error under the best, rewards so far."""
        if outcome is None:
            return search_panel(self.task, images)
        best, last, tried = self._drawn
        one, grid = slice(number, number + 1), self.task.patches.grid
        return search_panel(self.task, images, last[one].view(-1, *grid), best[one].view(-1, *grid), tried[number])

    def _masks(self, index: np.ndarray) -> Tensor:
        """Make the random masks that the episodes of images (k,) begin with: (k, N) bool."""
        keys = rng.keys(torch.from_numpy(index + _BASELINE).to(self.task.device), self.task.patches.count)
        return select(keys, self.task.game.budget, keys, hard_share=0.0)

    @torch.no_grad()
    def _measure(self, index: np.ndarray) -> np.ndarray:
        """Play those masks: patch rewards (k, N)."""
        mask = self._masks(index).view(-1, *self.task.patches.grid)
        return self.task.game.evaluate(self.task.fetch(index), mask).patch_reward.flatten(1).cpu().numpy()


def _grey(rewards: Tensor) -> Tensor:
    return (128 + 64 * rewards.sign() * rewards.abs().sqrt()).clamp(0, 255)
