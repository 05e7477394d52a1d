"""What a mask is worth: a function of the patch losses of one or two frozen networks under the same mask.

Every reward is given patch by patch, and the reward of an image is the mean over its patches. So whoever credits
patches, and whoever compares whole masks, plays any of them without knowing which.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from maskgym.errors import BadInput

GROUP = "maskgym.rewards"


class Losses(NamedTuple):
    """What a reward is made of."""

    first: Tensor  # (B, *grid) float32: mean squared error of each patch under the first network
    reference: Tensor | None  # (B, *grid) float32: under the reference, with the same mask; None where none is asked
    mask: Tensor  # (B, *grid) bool, True = hidden, or float in [0, 1] where the mask is relaxed
    random: float  # mean patch loss of the first network under random masks of this ratio; NaN where none is asked


@dataclass(frozen=True)
class Reward:
    """Base of all rewards: a frozen dataclass whose fields are its settings, called with `Losses`.

    A package of your own adds one by an entry point in the group `maskgym.rewards`; `reward="NAME?field=0.5"` then
    plays it in every environment, score and training.
    """

    compares: ClassVar[bool] = False  # does it need the reference? Then every query costs two forwards
    calibrates: ClassVar[bool] = False  # does it need the loss under random masks? It is measured when a game is made

    def __call__(self, losses: Losses) -> Tensor:
        """Give the reward of every patch, (B, *grid) float32, differentiable where the losses are."""
        raise TypeError(f"reward {type(self).__name__} does not say what it is: override __call__(losses)")


@dataclass(frozen=True)
class Loss(Reward):
    """The patch loss itself (AHM, eq. 7): hide what this network rebuilds badly, learnable or not."""

    def __call__(self, losses: Losses) -> Tensor:
        """L."""
        return losses.first


@dataclass(frozen=True)
class Reducible(Reward):
    """The part of the loss that a longer-trained network takes away: noise that nobody can learn earns nothing."""

    compares: ClassVar[bool] = True

    def __call__(self, losses: Losses) -> Tensor:
        """L - L_ref."""
        assert losses.reference is not None
        return losses.first - losses.reference


@dataclass(frozen=True)
class Relative(Reward):
    """The share of the loss that a longer-trained network takes away: faint but learnable detail counts in full."""

    compares: ClassVar[bool] = True
    floor: float = 0.05
    """Added to the loss it is divided by, in units of the image's variance: keeps air and visible patches near 0."""

    def __post_init__(self) -> None:
        if not self.floor > 0:
            raise BadInput(f"floor {self.floor} must be positive: visible patches have next to no loss")

    def __call__(self, losses: Losses) -> Tensor:
        """(L - L_ref) / (L + floor)."""
        assert losses.reference is not None
        return (losses.first - losses.reference) / (losses.first + self.floor)


@dataclass(frozen=True)
class Band(Reward):
    """Nearness to a requested multiple of the loss under random masks: harder than random, but not as hard as can be.

    With T = multiple * (loss under random masks), an image whose mean loss is R gets 1 - |R - T| / T. Below T a patch
    gets L / T, above it 2 - L / T: the mean over the patches is the same number, and patches are told which way to go.
    """

    calibrates: ClassVar[bool] = True
    multiple: float = 1.25
    """The requested multiple."""

    def __post_init__(self) -> None:
        if not self.multiple > 0:
            raise BadInput(f"multiple {self.multiple} must be positive: 1 is as hard as random masks")

    def __call__(self, losses: Losses) -> Tensor:
        """1 - |R - T| / T, shared out to the patches."""
        share = losses.first / (self.multiple * losses.random)
        axes = tuple(range(1, share.dim()))
        return torch.where(share.mean(axes, keepdim=True) <= 1, share, 2 - share)


OURS: dict[str, type[Reward]] = {"loss": Loss, "reducible": Reducible, "relative": Relative, "band": Band}


def names() -> list[str]:
    """Name every reward: ours first, then those of installed packages."""
    return [*OURS, *sorted(set(_found()) - set(OURS))]


def make_reward(spec: str) -> Reward:
    """Make a reward from its name and settings: "loss", "band?multiple=1.5"."""
    name, _, options = spec.partition("?")
    cls = OURS.get(name) or _load(name)
    settings = {field.name: field for field in fields(cls)}
    given = {}
    for part in options.split("&") if options else []:
        key, _, value = part.partition("=")
        if key not in settings:
            raise BadInput(f"reward {name!r} has no setting {key!r}: it has {', '.join(settings) or 'none'}")
        try:
            given[key] = float(value)
        except ValueError:
            raise BadInput(f"setting {key}={value!r} of reward {name!r} must be a number") from None
    return cls(**given)


def _load(name: str) -> type[Reward]:
    found = _found()
    if name not in found:
        near = get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names())}"
        raise BadInput(f"unknown reward {name!r}: {hint}")
    where = found[name].value
    try:
        loaded: type[Reward] = found[name].load()
    except (ImportError, AttributeError) as error:
        raise BadInput(f"reward {name!r} cannot be loaded from {where} ({error}): repair its package") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Reward)):
        raise BadInput(f"reward {name!r} at {where} is no reward: make it a subclass of maskgym.rewards.Reward")
    return loaded


def _found() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
