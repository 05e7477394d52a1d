"""What a learner is shown and what its masks bring: the games of one update, on the device they are played on."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskgym.errors import BadInput
from maskgym.learner import Learner, Played, Proposal
from maskgym.masking import rng
from maskgym.masking.observation import from_observation, to_observation
from maskgym.training.devices import autocast, check_precision


class Rollout:
    """The games that one process plays, batch by batch.

    All randomness of an update grows from the agent's seed and the number of the update, so that a run that was killed
    and resumed goes on as if nothing had happened. The game is played as the vector environment plays it, without
    handing arrays through its face: on a GPU nothing is copied to or from the device inside an update, but for the
    order of the images once a round.

    Args:
        env: a vector environment; its task has the images, the frozen network and the rules. `num_envs` masks are
            played an update.
        agent: who is trained.
        precision: "32" or "bf16", in which policy and frozen network compute while training; scores are never rounded.
    """

    def __init__(self, env: Any, agent: Learner, precision: str = "32"):
        check_precision(precision)
        self.precision = precision
        self.task = getattr(env, "unwrapped", env).task
        self.num_envs, self.masks = int(env.num_envs), int(agent.settings.masks)
        if self.num_envs % self.masks:
            raise BadInput(
                f"{self.num_envs} environments cannot show each image {self.masks} times: take a multiple of it"
            )
        self.shown, self.seed = self.num_envs // self.masks, agent.seed
        self._orders: dict[int, Tensor] = {}  # by round: in which order all images are shown
        self._rows = torch.arange(self.num_envs, device=self.task.device)

    def images(self, update: int) -> Tensor:
        """Get the images (I, C, *size) of an update: the next ones of an endless shuffled row."""
        there = len(self.task.images)
        first = update * self.shown
        rounds = range(first // there, (first + self.shown - 1) // there + 1)
        row = torch.cat([self._order(number) for number in rounds])
        return self.task.fetch(row[first - rounds[0] * there :][: self.shown])

    def views(self, images: Tensor) -> Tensor:
        """Show images (I, C, *size) as agents see them: through 8 bits."""
        return from_observation(to_observation(images))

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute in the precision asked for."""
        return autocast(self.task.device, self.precision)

    def play(self, images: Tensor, proposal: Proposal, update: int) -> Played:
        """Play what a learner proposes on images (I, C, *size)."""
        game, mask = self.task.game, proposal.mask
        if mask.is_floating_point():
            patch_reward = game.soft_patch_reward(images, mask).flatten(2)
            return Played(mask, patch_reward, patch_reward.mean(2))
        seed = np.random.SeedSequence((self.seed % 2**32, update)).generate_state(1, np.uint64)
        keys = rng.keys(self._rows + int(seed[0] >> 2), self.task.patches.count)
        with torch.no_grad():  # not inference mode: learners keep what came back for their backward pass
            hidden = game.select(mask.flatten(0, 1), keys).view_as(mask)
            outcome = game.evaluate(images, hidden)
        return Played(hidden, outcome.patch_reward.flatten(2), outcome.reward)

    def _order(self, number: int) -> Tensor:
        if number not in self._orders:
            self._orders = {key: row for key, row in self._orders.items() if key >= number - 1}
            order = np.random.default_rng((self.seed % 2**32, number)).permutation(len(self.task.images))
            self._orders[number] = torch.from_numpy(order).to(self.task.device)
        return self._orders[number]
