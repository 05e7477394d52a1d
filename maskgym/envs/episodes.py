"""What an episode is, for a batch of them: what is shown, when it ends and what a step is worth.

The faces (single, vector) know about seeds, resets and infos; they ask here for the rest, with a batch of one or of
many. In this file an episode is one step; `maskgym.envs.query` has the longer ones.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces
from torch import Tensor

from maskgym.envs.rendering import panel
from maskgym.envs.task import Settings, Task
from maskgym.game import Outcome


class Taken(NamedTuple):
    """What one step came to."""

    reward: Tensor  # (n,) float32
    ended: np.ndarray  # (n,) bool
    told: dict[str, Any]  # name -> (n, ...) array or tensor, for the infos


class OneShot:
    """One mask, one reward, the end.

    Args:
        task: images, network, rules.
        count: n, how many episodes are played side by side.
    """

    settings_type: ClassVar[type[Settings]] = Settings

    def __init__(self, task: Task, count: int):
        self.task, self.count = task, count

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """What one episode shows."""
        return self.task.observation_space

    def begin(self, which: np.ndarray, index: np.ndarray) -> dict[str, Any]:
        """Begin the episodes `which` (n,) bool on images (n,); gives what their infos are told."""
        return {}

    def meet(self, index: np.ndarray) -> None:
        """Work out beforehand what is kept of images (k,) from the first episode on."""

    def draws(self, draws: np.ndarray) -> np.ndarray:
        """Turn what was drawn for an episode (n,) int64 into what is drawn for its next step."""
        return draws

    def take(self, outcome: Outcome, live: np.ndarray, asked: int) -> Taken:
        """Take a step in the episodes `live` (n,) bool; `asked` = queries of an agent, an image."""
        return Taken(outcome.reward, live, {"queries": np.full(self.count, asked)})

    def observe(self, index: np.ndarray) -> Tensor | dict[str, Tensor]:
        """Show all episodes on images (n,): a copy at every call."""
        return self.task.view(index)

    def draw(self, number: int, images: Tensor, outcome: Outcome | None) -> np.ndarray:
        """Draw the last step of episode `number`, or only its image (1, C, *size) where there was none."""
        return panel(self.task, images, outcome)
