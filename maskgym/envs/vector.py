"""The native vector environment: many games in one batch, on any device."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from maskgym.envs.actions import requested
from maskgym.envs.episodes import OneShot
from maskgym.envs.face import Face
from maskgym.envs.mask_mim import MaskMIM, pick
from maskgym.envs.streams import Streams
from maskgym.envs.task import Task
from maskgym.errors import BadInput
from maskgym.game import Outcome

OUTPUTS = ("numpy", "torch")


class MaskMIMVector(Face, VectorEnv[Any, Any, Any]):
    """`MaskMIM` many times over, one forward of the network a step.

    Sub-environment i is seeded with `seed + i` and then meets the same images and the same random numbers as a lone
    environment.

    Args:
        num_envs: how many games are played at once.
        autoreset_mode: when a finished game is followed by the next. SAME_STEP (default) wastes nothing: the step
            returns the next image, the finished game is in `infos["final_info"]`. NEXT_STEP and DISABLED are
            Gymnasium's.
        output: "numpy", or "torch" to keep observations, rewards and infos as tensors on the device.
        repeat: show each image to so many neighbouring sub-environments, so that masks of one image can be compared. A
            part of such a group that is reset alone is shown the group's image again.
        render_mode: "rgb_array" or none.
        keywords: those of `MaskMIM`.

    Whatever the mode, what the step came to (`patch_reward`, `mask`, `requested`, `queries`) and `played`, the index of
    the image it was played on, stand at the top level of infos.
    """

    episodes_type: ClassVar[type[OneShot]] = OneShot

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
        self.task = Task(self.episodes_type.settings_type.of(keywords))
        self.episodes = self.episodes_type(self.task, num_envs)
        self.num_envs, self.output, self.repeat, self.render_mode = num_envs, output, repeat, render_mode
        self.metadata = {**MaskMIM.metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = self.episodes.observation_space
        self.single_action_space = self.task.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.streams = Streams(num_envs)
        self._everyone = np.ones(num_envs, bool)
        self._done = np.zeros(num_envs, bool)  # finished and not yet reset
        self._index = np.zeros(num_envs, np.int64)
        self._draws = np.zeros(num_envs, np.int64)
        self._begun = False
        self._shown: tuple[np.ndarray, Outcome] | None = None  # images (n,) and what came of the last step, for render
        self._fresh = np.ones(num_envs, bool)  # reset since the last step: rendered as the image alone

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
        told = self._next(which, options)
        self._fresh = self._fresh | which
        self.task.meter.per_image(self.num_envs)  # what was asked before does not count
        return self._observe(), self._infos({"index": self._index.copy(), **told}, which)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take a step in every sub-environment (in NEXT_STEP mode: reset those that finished in the step before)."""
        if not self._begun:
            raise ResetNeeded("call reset before the first step")
        stale = self._done.copy()
        if stale.any() and self.autoreset_mode is AutoresetMode.DISABLED:
            raise ResetNeeded("autoreset is disabled: reset finished sub-environments before the next step")
        if stale.all():  # NEXT_STEP: every game is over, this step only shows the next images
            told = self._next(stale)
            self._fresh = stale
            zeros, over = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
            infos = self._infos({"index": self._index.copy(), **told}, stale)
            return self._observe(), self._out(zeros), self._out(over), self._out(over.copy()), infos
        live = ~stale
        read = self.task.read(actions, self.num_envs)
        outcome = self.task.play(self._index, read, self.episodes.draws(self._draws))
        reward, ended, more = self.episodes.take(outcome, live, self.task.meter.per_image(int(live.sum())))
        self._shown, self._fresh = (self._index, outcome), stale
        told = self._told(outcome, read) | more
        index = {"index": self._index.copy()}
        infos = self._infos(told | {"played": index["index"]}, live)
        following, news = stale, {}  # whose next image this step shows, and what their infos are told
        if self.autoreset_mode is AutoresetMode.SAME_STEP and ended.any():
            infos |= self._final(self._observe(), self._infos(index | told, ended), ended)
            following = ended
        else:
            self._done = ended.copy()
        if following.any():
            news = self._next(following)
        infos |= self._infos({"index": self._index.copy()}, self._everyone) | self._infos(news, following)
        rewards: Any = reward if self.output == "torch" else reward.cpu().numpy().astype(np.float64)
        if stale.any():
            rewards = rewards * self._out(live)
        return self._observe(), rewards, self._out(ended.copy()), self._out(np.zeros(self.num_envs, bool)), infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Draw the last step of every sub-environment; of those reset by hand since then, the new image."""
        if self.render_mode is None or not self._begun:
            return None
        pictures = []
        for i in range(self.num_envs):
            index, outcome = (self._index, None) if self._shown is None or self._fresh[i] else self._shown
            one = None if outcome is None else Outcome(*(part[i : i + 1] for part in outcome))
            pictures.append(self.episodes.draw(i, self.task.fetch(index[i : i + 1]), one))
        return tuple(pictures)

    def _next(self, which: np.ndarray, options: dict[str, Any] | None = None) -> dict[str, Any]:
        """Show the next image to the sub-environments `which`; gives what their infos are told."""
        draws = self.streams.draw(which)
        index = np.where(which, pick(draws, len(self.task.images), options), self._index)
        if options is None or "index" not in options:
            index = index[self._leaders(which)]
        self._draws = np.where(which, draws, self._draws)
        self._index = np.where(which, index, self._index)
        self._done = self._done & ~which
        self._begun = True
        return self.episodes.begin(which, self._index)

    def _leaders(self, which: np.ndarray) -> np.ndarray:
        """Say whose image each sub-environment shows: of its group, the first that is not reset, else the first."""
        groups = which.reshape(-1, self.repeat)
        first = groups.argmin(1)  # 0 where all are reset
        return (np.arange(len(groups)) * self.repeat + first).repeat(self.repeat)

    def _observe(self) -> Any:
        views = self.episodes.observe(self._index)
        if self.output == "torch":
            return views
        if isinstance(views, dict):
            return {name: view.numpy(force=True) for name, view in views.items()}
        return views.numpy(force=True)

    def _told(self, outcome: Outcome, read: Tensor) -> dict[str, Any]:
        """What one step tells of the games played, batched."""
        told: dict[str, Any] = {"mask": outcome.mask.to(torch.int8), "patch_reward": outcome.patch_reward}
        told["requested"] = requested(read, self.budget)
        if self.output == "numpy":
            told = {name: value.cpu().numpy() for name, value in told.items()}
        elif self.task.device.type != "cpu":  # lesion cover would wait for the device: tell it on CPUs only
            return told
        cover = self.task.lesion_cover(self._index, outcome.mask.cpu().numpy())
        if cover is not None:
            told["lesion_cover"] = cover
        return told

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

    def _final(self, observation: Any, info: dict[str, Any], ended: np.ndarray) -> dict[str, Any]:
        if self.output == "numpy":
            final = np.empty(self.num_envs, object)
            for i in np.flatnonzero(ended):
                final[i] = (
                    {k: v[i] for k, v in observation.items()} if isinstance(observation, dict) else observation[i]
                )
            observation = final
        return {
            "final_obs": observation,
            "_final_obs": self._out(ended.copy()),
            "final_info": info,
            "_final_info": self._out(ended.copy()),
        }

    def _out(self, value: Any) -> Any:
        """Give an array out in the form the user asked for."""
        if isinstance(value, Tensor):
            return value if self.output == "torch" else value.cpu().numpy()
        return torch.from_numpy(value).to(self.task.device) if self.output == "torch" else value

    def _reset_mask(self, mask: Any) -> np.ndarray:
        if mask is None:
            return self._everyone
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise BadInput(f"reset_mask must be {self.num_envs} booleans with at least one True, got {mask!r}")
        return mask
