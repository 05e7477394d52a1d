"""What a masking agent is.

An agent scores patches: the higher, the sooner a patch is hidden. The same object plays in every face of the
environment, drives pre-training and is measured by the benchmark.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor, nn

from maskgym.errors import BadInput
from maskgym.masking import rng
from maskgym.masking.observation import from_observation
from maskgym.masking.patches import Patches
from maskgym.masking.select import budget, select

_WEIGHTS, _ABOUT = "agent.safetensors", "agent.json"


@dataclass(frozen=True)
class GameSpec:
    """What an agent is told of the game it will play."""

    patches: Patches
    channels: int = 1
    ratio: float = 0.75
    device: str = "cpu"

    @property
    def budget(self) -> int:
        """K, how many patches are hidden."""
        return budget(self.ratio, self.patches.count)


@dataclass(frozen=True)
class NoSettings:
    """Settings of an agent that has none."""


class Agent(nn.Module):
    """Base of all masking agents: override `score`, and what else the idea needs.

    An agent is an `nn.Module` so that its networks and buffers are saved, loaded and moved without code of its own.

    Args:
        board: the game to be played.
        settings: an instance of the class's `Settings`.
        seed: of the agent's own chance.
    """

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""  # where the idea is from, as `maskgym agents` shows it
    learns: ClassVar[bool] = False  # does `observe` or `learn` change it?
    remembers: ClassVar[bool] = False  # does it keep something of every image's patches, so that they must not move?
    needs: ClassVar[str] = ""  # what it needs besides images, in a word or two
    Settings: ClassVar[type] = NoSettings

    def __init__(self, game_spec: GameSpec, settings: Any = None, seed: int = 0):
        super().__init__()
        self.game_spec, self.patches, self.seed = game_spec, game_spec.patches, seed
        self.settings = self.Settings() if settings is None else settings
        self.turns: Tensor  # (2,) int64: images scored and masks spent so far; the agent's chance is hashed from them
        self.register_buffer("turns", torch.zeros(2, dtype=torch.int64, device=game_spec.device))
        self.shard = (0, 1)  # which part of every batch this process scores, of how many
        self._attached: list[Any] = [None, None]  # student, teacher; in a list, so that they are not saved as ours

    # What an agent does

    def score(self, images: Tensor) -> Tensor:
        """Score every patch of z-scored images (B, C, *size): (B, *grid), higher = hide sooner."""
        raise TypeError(f"agent {type(self).__name__} does not say how it scores: override score(images)")

    def sample(self, images: Tensor, index: Tensor | None = None) -> Tensor:
        """Score as while learning: with chance if the agent explores, with what it remembers of images `index` (B,).

        `score` is what an agent makes of images it has never met; agents that know no such difference score as ever.
        """
        return self.score(images)

    def observe(self, images: Tensor, mask: Tensor, patch_loss: Tensor, index: Tensor) -> dict[str, float]:
        """Learn from what was just paid; returns figures worth plotting.

        Args:
            images: (B, C, *size).
            mask: (B, *grid) bool, True = hidden.
            patch_loss: (B, *grid).
            index: (B,) which images these are.
        """
        return {}

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Hear that epoch `epoch` (from 1) of `epochs` begins."""

    def attach(self, student: nn.Module | None, teacher: nn.Module | None = None) -> None:
        """Take the network that fills patches in: an environment's frozen one, or student and teacher in training."""
        self._attached = [student, teacher]

    def auxiliary_loss(self, images: Tensor, mask: Tensor, patch_loss: Tensor, index: Tensor) -> Tensor | None:
        """Add a term to the student's loss in pre-training; arguments as in `observe`, patch loss differentiable."""
        return None

    def learn(self, env: Any, steps: int, report: Callable[[int, dict[str, float]], None] | None = None) -> Agent:
        """Train for so many environment steps (masks) against a vector environment made with `output="torch"`.

        The default plays sampled masks and hands what was paid to `observe`; agents with a better way override it.
        """
        observations, infos = env.reset(seed=self.seed)
        done = 0
        while done < steps:
            images, index = from_observation(observations), infos["index"]
            wish = self.to_mask(self.sample(images, index))
            observations, _, _, _, infos = env.step(wish)
            figures = self.observe(images, infos["mask"].bool(), infos["patch_reward"], index)
            done += len(images)
            if report is not None:
                report(done, figures)
        return self

    # What it gets for free

    @property
    def network(self) -> nn.Module:
        """The network to score by: the teacher if there is one, else the student, else an error that says the fix."""
        attached = self._attached[1] if self._attached[1] is not None else self._attached[0]
        if attached is None:
            raise BadInput(f"agent {self.name!r} needs a reconstructor: make it with an environment, or call attach")
        return attached

    @contextmanager
    def lent_network(self) -> Iterator[nn.Module]:
        """Lend the network for a look that leaves no trace: without gradients, in evaluation mode for as long."""
        network = self.network
        learning = [module for module in network.modules() if module.training]
        network.eval()
        try:
            with torch.no_grad():
                yield network
        finally:
            for module in learning:
                module.training = True

    def act(self, observation: Any, sample: bool = False) -> Any:
        """Answer an observation of any face with a mask: one image, a batch, tensors, or PettingZoo's dictionary."""
        if isinstance(observation, dict):
            if not observation:
                return {}
            mask = self.act(next(iter(observation.values())), sample)
            return {agent: int(mask[int(agent.rpartition("_")[2])]) for agent in observation}
        tensors = isinstance(observation, Tensor)
        views = observation if tensors else torch.from_numpy(np.array(observation))
        single = views.dim() == self.patches.dims + 1
        images = from_observation(views[None] if single else views).to(self.game_spec.device)
        mask = self.to_mask(self.sample(images) if sample else self.score(images))
        mask = mask[0] if single else mask
        return mask if tensors else mask.cpu().numpy().astype(np.int8)

    def to_mask(self, scores: Tensor, hidden: int | None = None, hard_share: float = 1.0) -> Tensor:
        """Turn scores into the mask of K patches that they ask for, (B, N) bool."""
        flat = scores.detach().flatten(1)
        keys = self._keys(len(flat), self.patches.count, spent=True)
        return select(flat, self.game_spec.budget if hidden is None else hidden, keys, hard_share)

    def draw_keys(self, batch: int, count: int | None = None) -> Tensor:
        """Give the next random keys (batch, count or N) int64 to score by, the same one by one as in a batch."""
        return self._keys(batch, self.patches.count if count is None else count, spent=False)

    def _keys(self, batch: int, count: int, spent: bool) -> Tensor:
        wrapped = (((2 * self.seed + spent) << 32) + 2**63) % 2**64 - 2**63  # any seed fits
        place, shards = self.shard
        turns = torch.arange(batch, device=self.turns.device) + self.turns[int(spent)] + place * batch + wrapped
        self.turns[int(spent)] += batch * shards
        return rng.keys(turns, count)

    # Saving

    def save(self, folder: Path | str) -> None:
        """Write weights and settings into a folder, each file whole or not at all."""
        from safetensors.torch import save_model

        folder = Path(folder)
        about = {
            "agent": self.name,
            "settings": asdict(self.settings),
            "image_size": list(self.patches.size),
            "patch_size": list(self.patches.patch),
            "channels": self.game_spec.channels,
            "ratio": self.game_spec.ratio,
            "seed": self.seed,
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _draft(folder / _WEIGHTS) as draft:
                save_model(self, str(draft))  # a tensor that goes by several names is written once
            with _draft(folder / _ABOUT) as draft:
                draft.write_text(json.dumps(about, indent=2))
        except OSError as error:
            raise BadInput(
                f"cannot save to {folder}: {error.strerror or error}; free space or choose another"
            ) from error

    @classmethod
    def load(cls, folder: Path | str, game_spec: GameSpec) -> Agent:
        """Load what `save` wrote, for the same kind of agent, patches and channels (size and ratio may differ)."""
        from safetensors import SafetensorError
        from safetensors.torch import load_model

        folder = Path(folder)
        if not (folder / _ABOUT).is_file():
            raise BadInput(f"no saved agent in {folder}: it has no {_ABOUT}")
        try:
            about = json.loads((folder / _ABOUT).read_text())
            kind, patch, channels = about["agent"], tuple(about["patch_size"]), about["channels"]
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{folder / _ABOUT} is damaged ({error}): save the agent again") from error
        if kind != cls.name:
            raise BadInput(f"{folder} holds agent {kind!r}, not {cls.name!r}: ask for {kind}:{folder}")
        if channels != game_spec.channels or len(patch) != game_spec.patches.dims:
            raise BadInput(
                f"{folder} was trained on {len(patch)}D images of {channels} channels, "
                f"this game has {game_spec.patches.dims}D images of {game_spec.channels}: train it on this game"
            )
        if patch != game_spec.patches.patch:
            raise BadInput(
                f"{folder} was trained on patches of {patch}, this game has {game_spec.patches.patch}: use those"
            )
        agent = cls(game_spec, read_settings(cls, about["settings"]), about["seed"])
        try:
            load_model(agent, folder / _WEIGHTS, strict=True)
        except (SafetensorError, OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:120]
            raise BadInput(f"{folder / _WEIGHTS} is damaged or of another agent ({reason}): save it again") from error
        return agent.to(game_spec.device)


def read_settings(cls: type[Agent], given: dict[str, Any]) -> Any:
    """Build an agent's settings, reading strings as the type of the field's default."""
    assert is_dataclass(cls.Settings)
    known = {field.name: field for field in fields(cls.Settings)}
    kinds = get_type_hints(cls.Settings)
    filled = {}
    for name, value in given.items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'none'}"
            raise BadInput(f"agent {cls.name!r} has no setting {name!r}: {hint}")
        filled[name] = _read(name, value, kinds[name], known[name].default)
    return cls.Settings(**filled)


def _read(name: str, value: Any, kind: Any, default: Any) -> Any:
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise BadInput(f"{name}={value} is unknown: choose {' or '.join(map(str, get_args(kind)))}")
        return value
    if not isinstance(value, str) or isinstance(default, str):
        return tuple(value) if isinstance(value, list) else value
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
        return type(default)(value)
    except (KeyError, ValueError):
        raise BadInput(f"setting {name}={value!r} must be of type {type(default).__name__}") from None


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """Lend a file name beside `path` that takes its place when all is written, and leaves nothing when it is not."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run code that draws from the global generators from a seed, without touching anybody else's chance."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
