"""Stable-Baselines3 on the native vector environment: the adapter, and every patch as an environment of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from maskgym.envs.episodes import OneShot
from maskgym.envs.patch_policy import PatchPolicy
from maskgym.envs.vector import MaskMIMVector
from maskgym.errors import BadInput

__all__ = ["PatchPolicy", "PatchVecEnv", "SB3VecEnv", "make_sb3"]

_GREY = 128  # what stands outside an image: its mean
_OTHERS = ("index", "played", "baseline", "final_obs", "final_info")  # of the next episode, or told otherwise


def make_sb3(
    env_id: str = "maskgym:MaskMIM-v0", num_envs: int = 64, arrays: bool = False, **keywords: Any
) -> SB3VecEnv:
    """Make the native vector environment of a registered id, ready for Stable-Baselines3."""
    return SB3VecEnv(_native(gym.make_vec(env_id, num_envs=num_envs, **keywords)), arrays)


class SB3VecEnv(VecEnv):
    """The native vector environment as Stable-Baselines3 wants it.

    Infos are those of `MaskMIM` without the arrays, which algorithms would only carry about, and with what SB3 adds:
    `terminal_observation`, `TimeLimit.truncated`, and `episode`, as its Monitor writes it.

    Args:
        env: made with `gymnasium.make_vec`, in SAME_STEP mode and with numpy output.
        arrays: put `mask` and `patch_reward` into the infos, too.
    """

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any], arrays: bool = False):
        self.env, self.arrays = _native(env), arrays
        self._actions: np.ndarray | None = None
        self._start = time.time()
        self._returns, self._lengths = np.zeros(self._count), np.zeros(self._count, int)  # of the running episodes
        super().__init__(self._count, self._view, self._choice)

    @property
    def _count(self) -> int:
        return self.env.num_envs

    @property
    def _view(self) -> spaces.Space[Any]:
        return self.env.single_observation_space

    @property
    def _choice(self) -> spaces.Space[Any]:
        return self.env.task.action_space

    def reset(self) -> Any:
        """Show an image to every sub-environment, with the seeds and options that were set before."""
        share = self.num_envs // self.env.num_envs  # sub-environments that look at one image
        seeds = self._seeds[: self.env.num_envs]
        options = self._options[::share]
        chosen = [option.get("index") for option in options]
        if any(index is None for index in chosen) and any(index is not None for index in chosen):
            raise BadInput("only some sub-environments have an index in their options: give one to each, or to none")
        observation, infos = self.env.reset(
            seed=None if all(seed is None for seed in seeds) else list(seeds),
            options=None if chosen[0] is None else {"index": chosen},
        )
        told = {name: value.repeat(share).tolist() for name, value in infos.items() if not name.startswith("_")}
        self.reset_infos = [dict(zip(told, row, strict=True)) for row in zip(*told.values(), strict=True)]
        self._returns[:], self._lengths[:] = 0, 0
        self._reset_seeds()
        self._reset_options()
        return self._seen(observation)

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Take a step in every sub-environment."""
        observation, reward, terminated, _, told = self.env.step(self._actions)
        reward = reward.astype(np.float32)
        infos = self._infos(reward, terminated, told["played"])
        scalars = [name for name in told if f"_{name}" in told and name not in _OTHERS and told[name].ndim == 1]
        arrays = ("mask", "patch_reward") if self.arrays else ()
        for i, info in enumerate(infos):
            info |= {name: told[name][i].item() for name in scalars if told[f"_{name}"][i]}
            info |= {name: told[name][i].copy() for name in arrays}
            if terminated[i]:
                info["terminal_observation"] = told["final_obs"][i]
        return self._seen(observation), reward, terminated.copy(), infos

    def _seen(self, observation: Any) -> Any:
        return observation

    def _infos(self, reward: np.ndarray, ended: np.ndarray, index: np.ndarray) -> list[dict[str, Any]]:
        """Say of every sub-environment its image and, where an episode has ended, what SB3 logs of it."""
        seconds = round(time.time() - self._start, 6)
        self._returns += reward
        self._lengths += 1
        infos: list[dict[str, Any]] = [{"index": image, "TimeLimit.truncated": False} for image in index.tolist()]
        for i in np.flatnonzero(ended):
            infos[i]["episode"] = {"r": float(self._returns[i]), "l": int(self._lengths[i]), "t": seconds}
        self._returns[ended], self._lengths[ended] = 0, 0
        return infos

    def close(self) -> None:
        """Let go of the vector environment."""
        self.env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Draw the last finished step of every game."""
        return self.env.render() or [None] * self.env.num_envs

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Read an attribute of the vector environment, the same for every index."""
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the vector environment, for all sub-environments at once."""
        if len(set(self._get_indices(indices))) != self.num_envs:
            raise BadInput(f"{attr_name!r} cannot be set for a part of the sub-environments: set it for all of them")
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of the vector environment, once; every index is given its result."""
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [result] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Any = None) -> list[bool]:
        """Say yes to Monitor, whose infos are here, and no to all others."""
        return [wrapper_class is Monitor] * len(list(self._get_indices(indices)))


class PatchVecEnv(SB3VecEnv):
    """Every patch of every image as a sub-environment of its own: a window around it, one bit, its own loss.

    Sub-environment i * N + j is patch j of image i. Any SB3 algorithm for Discrete actions and any CnnPolicy learn in
    it, and every bit is rewarded for what it did itself. Where hiding is rewarded every patch learns to ask for it, and
    asking no longer tells patches apart: read the probability of asking as a score, or set a price.

    Args:
        env: a vector environment of 2D images, as for `SB3VecEnv`, with action_type "mask".
        window: patches along a side of the window, odd; outside the image it is grey.
        price: what being hidden costs a patch; near the mean loss of hidden patches only the worthwhile ones ask.
    """

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any], window: int = 5, price: float = 0.0):
        native = _native(env)
        task = native.task
        if type(native.episodes) is not OneShot:
            raise BadInput("PatchVecEnv plays games of one step: use SB3VecEnv with PatchPolicy")
        self.patches, self.window, self.price = task.patches, window, price
        if self.patches.dims != 2:
            raise BadInput("PatchVecEnv shows windows of 2D images, this environment has volumes: use SB3VecEnv")
        if task.settings.action_type != "mask":
            raise BadInput(f"action_type {task.settings.action_type!r}: patches say 0 or 1, leave action_type out")
        smallest = -(-36 // min(self.patches.patch)) // 2 * 2 + 1
        if window % 2 == 0 or window * min(self.patches.patch) < 36:
            raise BadInput(f"window {window} must be odd and at least 36 pixels wide for CnnPolicy: take {smallest}")
        super().__init__(env)

    @property
    def _count(self) -> int:
        return self.env.num_envs * self.patches.count

    @property
    def _view(self) -> spaces.Space[Any]:
        size = [self.window * side for side in self.patches.patch]
        return spaces.Box(0, 255, (*size, self.env.task.channels), np.uint8)

    @property
    def _choice(self) -> spaces.Space[Any]:
        return spaces.Discrete(2)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Play one game with all patches of an image."""
        assert self._actions is not None
        observation, _, terminated, _, told = self.env.step(self._actions.reshape(self.env.num_envs, -1))
        reward = (told["patch_reward"] - self.price * told["mask"]).astype(np.float32).ravel()
        ended = terminated.repeat(self.patches.count)
        return (
            self._seen(observation),
            reward,
            ended,
            self._infos(reward, ended, told["played"].repeat(self.patches.count)),
        )

    def _seen(self, observation: np.ndarray) -> np.ndarray:
        """Cut (n, H, W, C) images into (n * N, window * h, window * w, C)."""
        (height, width), around = self.patches.patch, self.window // 2
        pad = ((0, 0), (around * height,) * 2, (around * width,) * 2, (0, 0))
        padded = np.pad(observation, pad, constant_values=_GREY)
        size = (self.window * height, self.window * width)
        windows = np.lib.stride_tricks.sliding_window_view(padded, size, (1, 2))[:, ::height, ::width]
        return np.moveaxis(windows, 3, -1).reshape(-1, *size, observation.shape[-1])


def _native(env: Any) -> MaskMIMVector:
    """Refuse what the adapters cannot adapt."""
    if not isinstance(env, MaskMIMVector):
        raise BadInput(f"{env} is no native vector environment: make it with gymnasium.make_vec, without wrappers")
    if env.autoreset_mode is not AutoresetMode.SAME_STEP:
        mode = env.autoreset_mode.value
        raise BadInput(f"autoreset_mode {mode}: SB3 resets in the same step, leave autoreset_mode out")
    if env.output != "numpy":
        raise BadInput(f"output {env.output!r}: SB3 works on numpy arrays, leave output out")
    return env
