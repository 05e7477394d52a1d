"""The native vector environment: many games in one batch, on any device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from maskgym.envs.mask_mim import MaskMIM, pick
from maskgym.envs.rendering import panel
from maskgym.envs.streams import Streams
from maskgym.envs.task import Settings, Task
from maskgym.errors import BadInput
from maskgym.game import Outcome

OUTPUTS = ("numpy", "torch")


class MaskMIMVector(VectorEnv[Any, Any, Any]):
    """`MaskMIM` many times over, one forward of the network a step.

    Sub-environment i is seeded with `seed + i` and then meets the same images and the same chance as a lone
    environment.

    Args:
        num_envs: how many games are played at once.
        autoreset_mode: when a finished game is followed by the next. SAME_STEP (default) wastes nothing: the step
            returns the next image, what was paid is in `infos["final_info"]`. NEXT_STEP and DISABLED are Gymnasium's.
        output: "numpy", or "torch" to keep observations, rewards and infos as tensors on the device.
        repeat: show each image to so many neighbouring sub-environments, so that masks of one image can be compared.
        render_mode: "rgb_array" or none.
        keywords: those of `MaskMIM`.

    Whatever the mode, `patch_reward`, `mask` and `played` (the index of the image paid for) of the games that were just
    finished stand at the top level of infos.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        output: str = "numpy",
        repeat: int = 1,
        render_mode: str | None = None,
        **keywords: Any,
    ):
        if num_envs < 1 or repeat < 1 or num_envs % repeat:
            raise BadInput(f"num_envs {num_envs} and repeat {repeat} must be positive, and repeat must divide num_envs")
        if output not in OUTPUTS:
            raise BadInput(f"unknown output {output!r}: choose one of {', '.join(OUTPUTS)}")
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError:
            modes = ", ".join(mode.value for mode in AutoresetMode)
            raise BadInput(f"unknown autoreset_mode {autoreset_mode!r}: choose one of {modes}") from None
        if render_mode not in (None, *MaskMIM.metadata["render_modes"]):
            raise BadInput(f"unknown render_mode {render_mode!r}: choose rgb_array or none")
        self.task = Task(Settings.of(keywords))
        self.num_envs, self.output, self.repeat, self.render_mode = num_envs, output, repeat, render_mode
        self.metadata = {**MaskMIM.metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = self.task.observation_space
        self.single_action_space = self.task.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.streams = Streams(num_envs)
        self._everyone = np.ones(num_envs, bool)
        self._done = np.zeros(num_envs, bool)  # finished and not yet reset
        self._index = np.zeros(num_envs, np.int64)
        self._draws = np.zeros(num_envs, np.int64)
        self._images: Tensor | None = None  # (n, C, *size) float32 on the device: what is shown now
        self._shown: tuple[Tensor, Outcome] | None = None  # the last finished step, for render

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generators of the sub-environments."""
        return tuple(self.streams.generators)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seeds of the sub-environments."""
        return tuple(self.streams.seeds)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Show an image to every sub-environment, or to those in `options["reset_mask"]`."""
        which = self._everyone if options is None else self._reset_mask(options.get("reset_mask"))
        if isinstance(seed, int | np.integer):
            self.streams.seed([int(seed) + i for i in range(self.num_envs)], which)
        elif seed is not None:
            if len(seed) != self.num_envs:
                raise BadInput(f"{len(seed)} seeds for {self.num_envs} sub-environments: give one each, or one number")
            self.streams.seed([None if one is None else int(one) for one in seed], which)
        self._next(which, options)
        return self._observe(), self._infos({"index": self._index.copy()}, which)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Play one game in every sub-environment (in NEXT_STEP mode: reset those that finished in the step before)."""
        if self._images is None:
            raise ResetNeeded("call reset before the first step")
        stale = self._done.copy()
        if stale.any() and self.autoreset_mode is AutoresetMode.DISABLED:
            raise ResetNeeded("autoreset is disabled: reset finished sub-environments before the next step")
        if stale.all():  # NEXT_STEP: every game is over, this step only shows the next images
            self._done[:] = False
            self._next(self._everyone)
            zeros = np.zeros(self.num_envs)
            over = np.zeros(self.num_envs, bool)
            infos = self._infos({"index": self._index.copy()}, self._everyone)
            return self._observe(), self._out(zeros), self._out(over), self._out(over.copy()), infos
        played = ~stale
        outcome = self.task.play(self._images, actions, self._draws)
        self._shown = (self._images, outcome)
        index = self._index.copy()
        final_observation = self._observe() if self.autoreset_mode is AutoresetMode.SAME_STEP else None
        if stale.any():
            self._next(stale)
        self._done = played.copy()
        paid = self._paid(index, outcome)
        infos = self._infos({name: value for name, value in paid.items() if name != "index"}, played)
        infos.update(self._infos({"played": index}, played))
        if final_observation is not None:
            self._next(self._everyone)
            self._done[:] = False
            infos.update(self._final(final_observation, self._infos(paid, played)))
        infos.update(self._infos({"index": self._index.copy()}, self._everyone))
        reward = outcome.reward if self.output == "torch" else outcome.reward.cpu().numpy().astype(np.float64)
        if stale.any():
            reward = reward * self._out(played)
        return self._observe(), reward, self._out(played), self._out(np.zeros(self.num_envs, bool)), infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Draw the last finished step of every sub-environment."""
        if self.render_mode is None or self._images is None:
            return None
        images, outcome = self._shown if self._shown is not None else (self._images, None)
        ones = [slice(i, i + 1) for i in range(self.num_envs)]
        return tuple(
            panel(self.task, images[one], outcome and Outcome(*(part[one] for part in outcome))) for one in ones
        )

    def _next(self, which: np.ndarray, options: dict[str, Any] | None = None) -> None:
        """Show the next image to the sub-environments `which`."""
        draws = self.streams.draw(which)
        index = np.where(which, pick(draws, len(self.task.images), options), self._index)
        if options is None or "index" not in options:
            index = index[np.arange(self.num_envs) // self.repeat * self.repeat]  # of each group, its first member's
        self._draws = np.where(which, draws, self._draws)
        self._index = np.where(which, index, self._index)
        self._done = self._done & ~which
        self._images = self.task.fetch(self._index)

    def _observe(self) -> Any:
        views = self.task.view(self._index)
        return views if self.output == "torch" else views.numpy(force=True)

    def _paid(self, index: np.ndarray, outcome: Outcome) -> dict[str, Any]:
        """What one step tells of the finished games, batched."""
        if self.output == "torch":
            paid = {"index": index, "mask": outcome.mask.to(torch.int8), "patch_reward": outcome.patch_reward}
            if self.task.device.type != "cpu":  # lesion cover would wait for the device: tell it on CPUs only
                return paid
        mask = outcome.mask.cpu().numpy()
        if self.output == "numpy":
            paid = {"index": index, "mask": mask.astype(np.int8), "patch_reward": outcome.patch_reward.cpu().numpy()}
        cover = self.task.lesion_cover(index, mask)
        if cover is not None:
            paid["lesion_cover"] = cover
        return paid

    def _infos(self, values: dict[str, Any], which: np.ndarray) -> dict[str, Any]:
        """Pair every entry with the array that says which sub-environments have it, as Gymnasium does."""
        infos = {}
        for name, value in values.items():
            has = which.copy()
            if name == "lesion_cover":
                has &= ~np.isnan(value)
                value = np.where(has, value, 0.0)
            infos[name], infos[f"_{name}"] = self._out(value), self._out(has)
        return infos

    def _final(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        if self.output == "numpy":
            final = np.empty(self.num_envs, object)
            final[:] = list(observation)
            observation = final
        return {
            "final_obs": observation,
            "_final_obs": self._out(self._everyone.copy()),
            "final_info": info,
            "_final_info": self._out(self._everyone.copy()),
        }

    def _out(self, value: Any) -> Any:
        """Give an array out in the form the user asked for."""
        if self.output == "torch" and isinstance(value, np.ndarray):
            return torch.from_numpy(value).to(self.task.device)
        return value

    def _reset_mask(self, mask: Any) -> np.ndarray:
        if mask is None:
            return self._everyone
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise BadInput(f"reset_mask must be {self.num_envs} booleans with at least one True, got {mask!r}")
        return mask
