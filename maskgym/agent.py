"""What a masking agent is.

An agent scores patches: the higher, the sooner a patch is hidden. The same object plays in every face of the
environment, drives pre-training and is measured by the benchmark. A stranger writes `score` and a name, and has an
agent; `maskgym.learner` and `maskgym.pretrain_hooks` say what a learner and a companion of pre-training add.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from maskgym import agent_files
from maskgym.agent_settings import NoSettings, read_settings
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.game_spec import GameSpec
from maskgym.masking import rng
from maskgym.masking.observation import from_observation
from maskgym.masking.select import select
from maskgym.meter import Meter

__all__ = ["Agent", "GameSpec", "NoSettings"]


class Agent(nn.Module):
    """Base of all masking agents: override `score`.

    An agent is an `nn.Module` so that its networks and buffers are saved, loaded and moved without code of its own.

    Args:
        game_spec: the game to be played.
        settings: an instance of the class's `Settings`.
        seed: of the agent's own random keys.
    """

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""  # where the idea is from, as `maskgym agents` shows it
    needs: ClassVar[str] = ""  # what it needs besides images at play, in a word or two
    Settings: ClassVar[type] = NoSettings
    at_play: ClassVar[tuple[str, ...]] = ()  # settings that a saved one may be asked to play otherwise by

    def __init__(self, game_spec: GameSpec, settings: Any = None, seed: int = 0):
        super().__init__()
        self.game_spec, self.patches, self.seed = game_spec, game_spec.patches, seed
        self.settings = self.Settings() if settings is None else settings
        self.drawn: (
            Tensor  # (2,) int64: rows of keys drawn for scores and for masks; the next ones are hashed from them
        )
        self.register_buffer("drawn", torch.zeros(2, dtype=torch.int64, device=game_spec.device))
        self.shard = (0, 1)  # which part of every batch this process scores, of how many
        self._attached: list[Any] = [None, None]  # student, teacher; in a list, so that they are not saved as ours
        self._lent: Game | None = None

    def score(self, images: Tensor) -> Tensor:
        """Score every patch of z-scored images (B, C, *size): (B, *grid), higher = hide sooner."""
        raise TypeError(f"agent {type(self).__name__} does not say how it scores: override score(images)")

    def sample(self, images: Tensor, index: Tensor | None = None) -> Tensor:
        """Score as while learning: exploring, with what the agent remembers of images `index` (B,).

        `score` is what an agent makes of images it has never met; agents that make no such difference score as ever.
        """
        return self.score(images)

    def act(self, observation: Any, sample: bool = False, hard_share: float = 1.0) -> Any:
        """Answer an observation of any face with a mask: one image, a batch, tensors, or PettingZoo's dictionary.

        Args:
            observation: what an environment shows.
            sample: explore, as while learning.
            hard_share: share of the hidden patches that is taken by score, the rest at random.
        """
        if isinstance(observation, dict) and "image" in observation:  # a game of several queries
            observation = observation["image"]
        if isinstance(observation, dict):
            if not observation:
                return {}
            mask = self.act(next(iter(observation.values())), sample, hard_share)
            return {agent: int(mask[int(agent.rpartition("_")[2])]) for agent in observation}
        tensors = isinstance(observation, Tensor)
        views = observation if tensors else torch.from_numpy(np.array(observation))
        single = views.dim() == self.patches.dims + 1
        images = from_observation(views[None] if single else views).to(self.game_spec.device)
        mask = self.to_mask(self.sample(images) if sample else self.score(images), hard_share=hard_share)
        mask = mask[0] if single else mask
        return mask if tensors else mask.cpu().numpy().astype(np.int8)

    def to_mask(self, scores: Tensor, hidden: int | None = None, hard_share: float = 1.0) -> Tensor:
        """Turn scores into the mask of K patches that they ask for, (B, N) bool."""
        flat = scores.detach().flatten(1)
        keys = self._keys(len(flat), self.patches.count, for_masks=True)
        return select(flat, self.game_spec.budget if hidden is None else hidden, keys, hard_share)

    def draw_keys(self, batch: int, count: int | None = None) -> Tensor:
        """Give the next random keys (batch, count or N) int64 to score by, the same one by one as in a batch."""
        return self._keys(batch, self.patches.count if count is None else count, for_masks=False)

    def _keys(self, batch: int, count: int, for_masks: bool) -> Tensor:
        wrapped = (((2 * self.seed + for_masks) << 32) + 2**63) % 2**64 - 2**63  # any seed fits
        place, shards = self.shard
        rows = torch.arange(batch, device=self.drawn.device) + self.drawn[int(for_masks)] + place * batch + wrapped
        self.drawn[int(for_masks)] += batch * shards
        return rng.keys(rows, count)

    # The network that fills patches in, for agents that ask it

    def attach(self, student: nn.Module | None, teacher: nn.Module | None = None) -> None:
        """Take the network that fills patches in: an environment's frozen one, or student and teacher in training."""
        self._attached = [student, teacher]

    def lend(self, game: Game) -> None:
        """Take the game of an environment to ask, by its own reward and metered; attaches its network."""
        self.attach(game.reconstructor)
        self._lent = game

    def meter_own(self, meter: Meter) -> None:
        """Count what it asks of a game of its own, such as one of frozen networks that its settings name."""
        if self._lent is not None:
            self.lend(self._lent.metered(meter))

    @property
    def network(self) -> nn.Module:
        """The network to score by: the teacher if there is one, else the student, else an error that says the fix."""
        attached = self._attached[1] if self._attached[1] is not None else self._attached[0]
        if attached is None:
            raise BadInput(f"agent {self.name!r} needs a reconstructor: make it with an environment, or call attach")
        return attached

    @contextmanager
    def lent_network(self) -> Iterator[nn.Module]:
        """Lend the network and leave no trace in it: without gradients, in evaluation mode for as long."""
        network = self.network
        learning = [module for module in network.modules() if module.training]
        network.eval()
        try:
            with torch.no_grad():
                yield network
        finally:
            for module in learning:
                module.training = True

    @contextmanager
    def lent_game(self, piece: int | None = None) -> Iterator[Game]:
        """Lend the game that was lent to the agent, or one of the network attached, and leave no trace in it.

        Args:
            piece: images that go through the network at once; None = as the game has it.
        """
        with self.lent_network() as network:
            if self._lent is not None and self._lent.reconstructor is network:
                yield self._lent.at(self.game_spec.ratio, piece)
            else:
                yield Game(network, self.patches, self.game_spec.ratio, piece=piece)

    # Saving

    def save(self, folder: Path | str) -> None:
        """Write weights and settings into a folder, each file whole or not at all."""
        about = {
            "agent": self.name,
            "settings": asdict(self.settings),
            "image_size": list(self.patches.size),
            "patch_size": list(self.patches.patch),
            "channels": self.game_spec.channels,
            "ratio": self.game_spec.ratio,
            "seed": self.seed,
        }
        agent_files.save(Path(folder), self, about)

    @classmethod
    def load(cls, folder: Path | str, game_spec: GameSpec, **otherwise: Any) -> Self:
        """Load what `save` wrote, for the same kind of agent, patches and channels (size and ratio may differ).

        Args:
            folder: where it was saved.
            game_spec: the game to be played.
            otherwise: settings named in `at_play`, in place of the saved ones.
        """
        if wrong := [name for name in otherwise if name not in cls.at_play]:
            may = f"only {' and '.join(cls.at_play)} may differ at play" if cls.at_play else "leave the settings away"
            raise BadInput(f"{cls.name}:{folder} is a saved agent with its own {wrong[0]}: {may}")
        about = agent_files.read_about(Path(folder), cls.name, game_spec)
        agent = cls(game_spec, read_settings(cls.name, cls.Settings, {**about["settings"], **otherwise}), about["seed"])
        agent_files.read_weights(Path(folder), agent)
        return agent.to(game_spec.device)
