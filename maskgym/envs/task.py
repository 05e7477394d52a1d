"""What every face of the environment shares: the settings, and from them the images, the network and the game."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Self, get_args, get_type_hints

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from maskgym.data.cache import remember
from maskgym.data.source import SPLITS, load
from maskgym.envs.actions import ACTION_TYPES, action_space, read_actions
from maskgym.envs.kept import Kept
from maskgym.errors import BadInput
from maskgym.game import Game, Outcome
from maskgym.masking import rng
from maskgym.masking.layout import channels_last
from maskgym.masking.observation import to_observation
from maskgym.masking.patches import Patches
from maskgym.meter import Meter
from maskgym.networks import store
from maskgym.networks.frozen import best_piece, freeze
from maskgym.rewards import Reward, make_reward
from maskgym.sizes import read_size

_CALIBRATION = 64  # images by which the loss under random masks is measured

if hasattr(os, "register_at_fork"):  # AsyncVectorEnv forks; a child would wait for ever for its parent's threads
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


@dataclass(frozen=True)
class Settings:
    """What `gym.make` takes by keyword: strings and numbers only, so that specs stay printable."""

    dataset: str = "phantoms"
    """Where images come from: "phantoms", or LAYOUT:DIR such as "lgg:/data/kaggle_3m"."""
    split: str = "train"
    """Which images: train, val or test."""
    split_file: str = ""
    """A split saved by `maskgym data split`; empty = the data set's own."""
    reconstructor: str = "phantoms-128"
    """The frozen network: a bundled name, a .safetensors file, or a run folder."""
    image_size: str | int = "128x128"
    """Pixels along each axis, "HxW" or "DxHxW"; one number means a square image."""
    patch_size: str | int = 8
    """Pixels of a patch along each axis; one number means the same on all."""
    ratio: float = 0.75
    """Share of the patches that is hidden."""
    hint_share: float = 0.0
    """Share of the hidden patches that is chosen at random instead of by the action."""
    reward: str = "loss"
    """What a mask is worth: loss, reducible, relative, band, or one of your own; settings after a ?, as in
    "band?multiple=1.5"."""
    reference: str = ""
    """The second network, of rewards that compare two; empty = `reconstructor`, its early snapshot being the first."""
    action_type: str = "mask"
    """"mask": the action says which patches to hide; "score": it scores patches and the top K are hidden."""
    device: str = "cpu"
    """Where the game is played: cpu, cuda, cuda:1."""
    piece: int = 0
    """Images that go through the network at once on a CPU; 0 = measured once and remembered."""

    @classmethod
    def of(cls, keywords: dict[str, Any]) -> Self:
        """Build settings from keywords, refusing unknown ones by the nearest name there is."""
        kinds_of = get_type_hints(cls)
        for name, value in keywords.items():
            if name not in kinds_of:
                near = get_close_matches(name, kinds_of, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(kinds_of)}"
                raise BadInput(f"unknown keyword {name!r}: {hint}")
            kinds = get_args(kinds_of[name]) or (kinds_of[name],)
            fitting = (*kinds, int) if float in kinds else kinds
            if not isinstance(value, fitting) or isinstance(value, bool):
                named = " or ".join(kind.__name__ for kind in kinds)
                raise BadInput(f"{name} {value!r} is of type {type(value).__name__}: give {named}")
        return cls(**keywords)


class Task:
    """Images, a frozen network and the rules, ready to be played on a device."""

    def __init__(self, settings: Settings):
        self.settings = settings
        size = read_size(settings.image_size, "image_size")
        self.patches = Patches(size, read_size(settings.patch_size, "patch_size", len(size)))
        if settings.split not in SPLITS:
            raise BadInput(f"unknown split {settings.split!r}: choose one of {', '.join(SPLITS)}")
        if settings.action_type not in ACTION_TYPES:
            raise BadInput(f"unknown action_type {settings.action_type!r}: choose one of {', '.join(ACTION_TYPES)}")
        if settings.piece < 0:
            raise BadInput(f"piece {settings.piece} is negative: 0 measures the best one")
        self.device = choose_device(settings.device)
        reward = make_reward(settings.reward)  # refuse what is wrong before anything is loaded
        Game(torch.nn.Identity(), self.patches, settings.ratio, settings.hint_share)
        first, second = _networks(settings, reward)
        for name in filter(None, (first, second)):
            store.check_axes(name, len(size))
        self.images = load(settings.dataset, size=size, split=settings.split, split_file=settings.split_file or None)
        if not len(self.images):
            raise BadInput(f"the split {settings.split!r} of {settings.dataset!r} is empty: choose another")
        self.channels = self.images.images.shape[1]
        network, self.about, mark = self._load(first)
        reference, _, second_mark = (None, None, "") if second is None else self._load(second)
        self.fingerprint = _fingerprint(settings.reward, mark, second_mark)
        piece = self._piece(network, mark) if self.device.type == "cpu" else None
        ratio, hint_share = settings.ratio, settings.hint_share
        self.game = Game(network, self.patches, ratio, hint_share, piece, reward=reward, reference=reference)
        self._resident: Tensor | None = None  # all images on the device, if that is no CPU
        count = len(self.images)
        self._sound = Kept(count, (), bool, self._examine)  # (n,) True
        self._views = Kept(count, self.observation_space.shape, np.uint8, self._look)
        self._lesions = Kept(count, self.patches.grid, bool, self._find_lesions)  # True = any pixel is lesion
        self._calibrate(self.game)
        self.meter = Meter()  # counts what agents ask of the game they are lent
        self.lent = self.game.metered(self.meter)

    def game_at(self, ratio: float) -> Game:
        """The same game at another ratio, all of it left to the agent."""
        game = self.game.at(ratio)
        self._calibrate(game)
        return game

    def lent_at(self, ratio: float) -> Game:
        """That game, to be lent to an agent: what it asks is counted."""
        return self.game_at(ratio).metered(self.meter)

    def _calibrate(self, game: Game) -> None:
        if game.reward.calibrates:
            game.calibrate(self.fetch(np.arange(min(_CALIBRATION, len(self.images)))))

    @property
    def observation_space(self) -> spaces.Box:
        """The image as (*size, C) uint8."""
        return spaces.Box(0, 255, (*self.patches.size, self.channels), np.uint8)

    @property
    def action_space(self) -> spaces.Space[Any]:
        """One bit, or one score, for each patch, row by row."""
        return action_space(self.settings.action_type, self.patches.count)

    def fetch(self, index: np.ndarray | Tensor) -> Tensor:
        """Get images (B, C, *size) by their (B,) index; one that lies on the device is not copied there."""
        if self.device.type != "cpu":
            return self.resident[torch.as_tensor(index, device=self.device)]
        return Fetched(self, index.numpy() if isinstance(index, Tensor) else index)[:]

    def view(self, index: np.ndarray) -> Tensor:
        """Get the views (B, *size, C) uint8 that agents get of images (B,); a copy at every call."""
        if self.device.type != "cpu":
            return self.observe(self.fetch(index))
        return torch.from_numpy(self._views[index])

    def observe(self, images: Tensor) -> Tensor:
        """Give the view of images that agents get."""
        return to_observation(images)

    def read(self, actions: Any, batch: int) -> Tensor:
        """Bring actions of any accepted form to (B, N) on the device: a bool mask, or float scores."""
        return read_actions(actions, batch, self.patches, self.settings.action_type).to(self.device)

    def play(self, index: np.ndarray, actions: Tensor, draws: np.ndarray) -> Outcome:
        """Play one round on images (B,) with read actions (B, N); what is random in it grows from (B,) int64 draws."""
        keys = rng.keys(torch.from_numpy(draws).to(self.device), self.patches.count)
        with torch.no_grad():  # not inference mode: learners keep the rewards for their backward pass
            images = Fetched(self, index) if self.device.type == "cpu" else self.fetch(index)
            return self.game.play(images, actions, keys)

    def lesion_cover(self, index: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
        """Share of the lesion patches of each image that a (B, *grid) mask hides; NaN where an image has none."""
        if self.images.labels is None:
            return None
        axes = tuple(range(1, mask.ndim))
        holds = self._lesions[index]
        total = holds.sum(axes)
        return np.where(total > 0, (holds & mask).sum(axes) / np.maximum(total, 1), np.nan)

    def _find_lesions(self, index: np.ndarray) -> np.ndarray:
        return self.patches.any(torch.from_numpy(self.images.lesion(index))).numpy()

    def _look(self, index: np.ndarray) -> np.ndarray:
        return self.observe(self.fetch(index)).numpy()

    def examine(self, index: np.ndarray) -> None:
        """Refuse images (B,) that hold NaN or Inf; each is looked at once."""
        _ = self._sound[index]

    def _examine(self, index: np.ndarray) -> np.ndarray:
        if not np.isfinite(np.asarray(self.images.images)[index].sum()):
            raise BadInput(f"an image of {self.settings.dataset!r} holds NaN or Inf: see `maskgym data check`")
        return np.ones(len(index), bool)

    @property
    def resident(self) -> Tensor:
        """All images (n, C, *size) on the device: uploaded when first asked for, or lent by another task."""
        if self._resident is None:
            self._examine(np.arange(len(self.images)))
            self._resident = torch.from_numpy(np.array(self.images.images)).to(self.device)
        return self._resident

    @resident.setter
    def resident(self, images: Tensor) -> None:
        self._resident = images

    def _load(self, name: str) -> tuple[torch.nn.Module, dict[str, Any], str]:
        """Load a network and freeze it; gives what is told of it, and the hash of its weights, too."""
        network, about = store.load(name, self.channels, self.patches.dims)
        mark = store.fingerprint(network)
        network = freeze(network).to(self.device)
        self._try(network, name)
        return network, about, mark

    def _try(self, network: torch.nn.Module, name: str) -> None:
        """Run the network once, so that a size it cannot take is told now and not in the first step."""
        images = torch.zeros(1, self.channels, *self.patches.size, device=self.device)
        try:
            with torch.no_grad():
                network(channels_last(images), torch.zeros(1, *self.patches.grid, dtype=torch.bool, device=self.device))
        except RuntimeError as error:
            size = "x".join(map(str, self.patches.size))
            raise BadInput(
                f"reconstructor {name!r} cannot take images of {size} "
                f"({str(error).splitlines()[0][:80]}): choose an image_size it divides, such as a multiple of 16"
            ) from error

    def _piece(self, network: torch.nn.Module, mark: str) -> int:
        """Take the piece size from the settings, from what was measured before, or measure it now."""
        if self.settings.piece:
            return self.settings.piece

        def measure() -> dict[str, Any]:
            def forward(piece: int) -> None:
                with torch.inference_mode():
                    images = channels_last(torch.zeros(piece, self.channels, *self.patches.size))
                    network(images, torch.zeros(piece, *self.patches.grid, dtype=torch.bool))

            return {"piece": best_piece(forward)}

        size = "x".join(map(str, self.patches.size))
        name = f"piece-{mark}-{size}-{torch.get_num_threads()}-threads-torch-{torch.__version__}"
        return int(remember(name, measure)["piece"])


class Fetched:
    """Images (B,) on a CPU that are fetched piece by piece, so that each is in the cache when it is hidden."""

    def __init__(self, task: Task, index: np.ndarray):
        self.pixels, self.index = np.asarray(task.images.images), index
        task.examine(index)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, part: slice) -> Tensor:
        return torch.from_numpy(self.pixels[self.index[part]])


def _networks(settings: Settings, reward: Reward) -> tuple[str, str | None]:
    """Name the first network and the reference, if the reward compares two."""
    if not reward.compares:
        if settings.reference:
            raise BadInput(f"reference {settings.reference!r} is not used by reward {settings.reward!r}: leave it out")
        return settings.reconstructor, None
    if settings.reference:
        return settings.reconstructor, settings.reference
    early = store.early(settings.reconstructor)
    if early is None:
        raise BadInput(
            f"reward {settings.reward!r} compares two networks and {settings.reconstructor!r} has no early snapshot: "
            "name a longer-trained one by reference="
        )
    return early, settings.reconstructor


def _fingerprint(reward: str, first: str, second: str) -> str:
    """Name the game by its networks and its reward: par is kept under it, because another reward is another game."""
    if reward == "loss":
        return first
    return hashlib.sha256(f"{reward}|{first}|{second}".encode()).hexdigest()[:16]


def choose_device(name: str) -> torch.device:
    """Turn a name into a device that is there."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadInput(f"unknown device {name!r}: choose cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadInput(f"device {name!r} asked for, but this torch sees no CUDA: use cpu")
    return device
