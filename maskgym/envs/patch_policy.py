"""A policy for Stable-Baselines3 in which one convolutional trunk and one head serve all patches."""

from __future__ import annotations

from math import log, prod
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import BernoulliDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from maskgym.envs.task import Settings
from maskgym.errors import BadInput
from maskgym.masking.observation import from_observation
from maskgym.masking.patches import Patches
from maskgym.masking.select import budget
from maskgym.patchnet import PatchNet
from maskgym.sizes import read_size


class PatchPolicy(ActorCriticPolicy):
    """One convolutional trunk for all patches: a logit for each, and a value pooled over them.

    What is learned about a patch in one place holds everywhere, so it learns from far fewer images than CnnPolicy,
    whose last layer learns each of the N bits for itself. `PPO(PatchPolicy, "maskgym:MaskMIM-v0")` works as it is,
    with the single environment or `SB3VecEnv`, in 2D or in 3D.

    Args:
        observation_space: an image, channels first (SB3 turns 2D ones round) or last.
        action_space: `MultiBinary(N)`.
        lr_schedule: of SB3.
        patch_size: as in the environment; 0 = worked out from N, right where all sides of a patch are equal.
        ratio: as in the environment; deterministic actions ask for exactly the K patches with the highest logits, and
            what is asked for is hidden. None = all with a probability over one half, as SB3 does it.
        width: features per patch.
        dilations: of the trunk's convolutions at patch resolution.
        keywords: SB3's (`optimizer_class`, `optimizer_kwargs`, `use_sde`).
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        patch_size: str | int = 0,
        ratio: float | None = Settings.ratio,
        width: int = 48,
        dilations: tuple[int, ...] = (1, 2, 4, 1),
        **keywords: Any,
    ):
        if not isinstance(action_space, spaces.MultiBinary):
            raise BadInput(f"PatchPolicy acts in MultiBinary(N), not in {action_space}: leave action_type out")
        self.patch_size, self.ratio, self.width, self.dilations = patch_size, ratio, width, dilations
        size, channels, last = _layout(observation_space)
        patches = _patches(size, int(prod(action_space.shape)), patch_size)
        keywords |= {"normalize_images": False, "net_arch": [], "features_extractor_class": _Trunk}
        trunk = {"channels": channels, "patches": patches, "width": width, "dilations": tuple(dilations)}
        keywords["features_extractor_kwargs"] = {"trunk": trunk, "channels_last": last}
        super().__init__(observation_space, action_space, lr_schedule, **keywords)
        if ratio is not None:
            self.action_dist = _TopK(patches.count, budget(ratio, patches.count))

    def _build(self, lr_schedule: Schedule) -> None:
        """Set the heads on the trunk; SB3 calls this in place of its own."""
        self._build_mlp_extractor()  # no layers: net_arch is empty
        self.action_net = _Logits(self.width)
        self.value_net = _Value(self.width)  # type: ignore[assignment]  # SB3 only calls it
        if self.ratio is not None:  # ask for about as many as are hidden, so that few are added or dropped
            nn.init.constant_(self.action_net.head.bias, log(self.ratio / (1 - self.ratio)))
        make: Any = self.optimizer_class
        self.optimizer = make(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        ours = {"patch_size": self.patch_size, "ratio": self.ratio, "width": self.width, "dilations": self.dilations}
        set_here = ("normalize_images", "net_arch", "features_extractor_class", "features_extractor_kwargs")
        return {name: value for name, value in data.items() if name not in set_here} | ours


class _Trunk(BaseFeaturesExtractor):
    """PatchNet on SB3's float view of uint8 images, flattened: (B, width * N), as SB3 passes features on."""

    def __init__(self, observation_space: spaces.Space[Any], trunk: dict[str, Any], channels_last: bool):
        super().__init__(observation_space, trunk["width"] * trunk["patches"].count)
        self.channels_last = channels_last
        self.net = PatchNet(**trunk)

    def forward(self, observations: Tensor) -> Tensor:
        views = observations if self.channels_last else observations.movedim(1, -1)
        return self.net(from_observation(views)).flatten(1)


class _Logits(nn.Module):
    """One logit per patch from (B, width * N), with the same weights for all."""

    def __init__(self, width: int):
        super().__init__()
        self.head = nn.Linear(width, 1)
        nn.init.orthogonal_(self.head.weight, gain=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.head(features.unflatten(1, (self.head.in_features, -1)).mT)[..., 0]


class _Value(nn.Module):
    """The value of an image, from the mean and the maximum of each feature over the patches."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.head = nn.Linear(2 * width, 1)
        nn.init.orthogonal_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor) -> Tensor:
        cells = features.unflatten(1, (self.width, -1))
        return self.head(torch.cat([cells.mean(2), cells.amax(2)], 1))


class _TopK(BernoulliDistribution):
    """Independent bits whose mode has exactly K ones, where the logits are highest."""

    def __init__(self, bits: int, hidden: int):
        super().__init__(bits)
        self.hidden = hidden

    def mode(self) -> Tensor:
        logits = self.distribution.logits
        return torch.zeros_like(logits).scatter_(1, logits.topk(self.hidden, dim=1).indices, 1.0)


def _layout(space: spaces.Space[Any]) -> tuple[tuple[int, ...], int, bool]:
    """Read size, channels, and whether channels come last, off an observation space; they are its smallest end."""
    shape = space.shape or ()
    if len(shape) not in (3, 4):
        raise BadInput(f"PatchPolicy sees images (H, W, C) or volumes (D, H, W, C), not {space}")
    last = shape[-1] <= shape[0]
    return (shape[:-1], shape[-1], True) if last else (shape[1:], shape[0], False)


def _patches(size: tuple[int, ...], count: int, patch_size: str | int) -> Patches:
    """Find the grid that has as many patches as the action has bits."""
    side = patch_size or max(1, round((prod(size) / count) ** (1 / len(size))))
    fits = f"{count} bits do not fit images of {'x'.join(map(str, size))} in patches of {side}: pass "
    fits += "policy_kwargs={'patch_size': ...} with the environment's"
    try:
        patches = Patches(size, read_size(side, "patch_size", len(size)))
    except BadInput as error:
        raise BadInput(fits) from error
    if patches.count != count:
        raise BadInput(fits)
    return patches
