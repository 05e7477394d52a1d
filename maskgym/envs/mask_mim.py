"""The single environment, `MaskMIM-v0` and its sisters: the game with a batch of one."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from torch import Tensor

from maskgym.envs.actions import requested
from maskgym.envs.episodes import OneShot
from maskgym.envs.face import Face
from maskgym.envs.task import Task
from maskgym.errors import BadInput
from maskgym.game import Outcome


class MaskMIM(Face, gym.Env[Any, Any]):
    """Hide the patches of a medical image that a frozen network cannot rebuild.

    ## Description
    An image, or a volume, is cut into a regular grid of patches. The agent says which patches to hide; the environment
    hides exactly K = floor(ratio * N) of them, lets a frozen reconstruction network fill them in, and rewards the mean
    squared error. Every patch is an agent of its own: the reward of each patch is in `info["patch_reward"]`.

    ## Action Space
    `MultiBinary(N)`: 1 hides a patch, row by row. `step` also takes the shape of the grid, booleans and floats, but no
    other numbers than 0 and 1. Too many requested, some are dropped at random; too few, some are added at random. With
    `action_type="score"` it is `Box(-1, 1, (N,))` and the environment hides the K highest scores; any finite scores
    will do.

    ## Observation Space
    The image, `Box(0, 255, (H, W, C), uint8)`; a volume is `(D, H, W, C)`. It is a view: the game itself is played on
    z-scored floats, grey 128 is their mean and 32 greys are one standard deviation.

    ## Rewards
    The mean over all patches of the patch reward. With `reward="loss"` that is the patch's mean squared error after
    reconstruction, in units of the image's variance; docs/rewards.md has the others. Hidden pixels are filled with the
    image's mean before the network sees them.

    ## Starting State
    An image drawn from the split with `np_random`, or the one named by `reset(options={"index": 7})`.

    ## Episode End
    After one step: `terminated=True`, never truncated. Another step needs a reset first.

    ## Information
    `index` (int); after a step also `mask` (grid, int8, what was really hidden), `patch_reward` (grid, float32),
    `requested` (int, how many patches were asked for), `queries` (int, forwards of this image that the agent asked of
    the network it is lent, a backward counting two more) and, where the image has labels, `lesion_cover` (share of its
    lesion patches that were hidden). `env.unwrapped` has `budget`, `ratio` and `grid`.

    ## Arguments
    The fields of the settings, by keyword.

    ## Vectorized environment
    `gym.make_vec("maskgym:MaskMIM-v0", num_envs=64)` plays all games in one batch; see docs/environments/wrappers.md
    for its autoreset modes.

    ## Version History
    * v0: first release
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 2}  # noqa: RUF012 (Gymnasium's name and form)
    episodes_type: ClassVar[type[OneShot]] = OneShot

    def __init__(self, render_mode: str | None = None, **keywords: Any):
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise BadInput(f"unknown render_mode {render_mode!r}: choose rgb_array or none")
        self.task = Task(self.episodes_type.settings_type.of(keywords))
        self.episodes = self.episodes_type(self.task, 1)
        self.render_mode = render_mode
        self.observation_space = self.episodes.observation_space
        self.action_space = self.task.action_space
        self._index: np.ndarray | None = None  # (1,) int64: which image is shown
        self._draw: np.ndarray | None = None  # (1,) int64: from which all that is random in this episode grows
        self._over = False
        self._shown: Outcome | None = None  # the last step of this episode, for render

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Show another image."""
        super().reset(seed=seed)
        self._draw = np.array([self.np_random.integers(2**63, dtype=np.int64)])
        self._index = pick(self._draw, len(self.task.images), options)
        self._over, self._shown = False, None
        self.task.meter.per_image(1)  # what was asked before this image does not count
        told = self.episodes.begin(np.ones(1, bool), self._index)
        return self._observe(), {"index": int(self._index[0]), **_first(told)}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hide, rebuild, reward."""
        if self._index is None or self._draw is None:
            raise ResetNeeded("call reset before the first step")
        if self._over:
            raise ResetNeeded("the episode is over: call reset before the next step")
        asked = self.task.read([action] if isinstance(action, list | tuple) else np.asarray(action)[None], 1)
        outcome = self.task.play(self._index, asked, self.episodes.draws(self._draw))
        reward, ended, more = self.episodes.take(outcome, np.ones(1, bool), self.task.meter.per_image(1))
        self._shown, self._over = outcome, bool(ended[0])
        mask = outcome.mask.cpu().numpy()
        told = {
            "index": self._index,
            "mask": mask.astype(np.int8),
            "patch_reward": outcome.patch_reward,
            "requested": requested(asked, self.budget),
        }
        cover = self.task.lesion_cover(self._index, mask)
        if cover is not None and not np.isnan(cover[0]):
            told["lesion_cover"] = cover
        return self._observe(), float(reward[0]), self._over, False, _first(told | more)

    def _observe(self) -> Any:
        assert self._index is not None
        shown = self.episodes.observe(self._index)
        if isinstance(shown, dict):
            return {name: part[0].numpy(force=True) for name, part in shown.items()}
        return shown[0].numpy(force=True)

    def render(self) -> np.ndarray | None:
        """Draw image, mask, reconstruction and error of the last step side by side, (H, W, 3) uint8.

        After a reset, only the new image.
        """
        if self.render_mode is None:
            return None
        if self._index is None:
            raise ResetNeeded("call reset before render")
        return self.episodes.draw(0, self.task.fetch(self._index), self._shown)


def _first(told: dict[str, Any]) -> dict[str, Any]:
    """Take what the first of a batch is told, numbers as Python's and arrays as copies."""
    info = {}
    for name, value in told.items():
        one = np.array(value[0].numpy(force=True) if isinstance(value, Tensor) else value[0])
        info[name] = one if one.ndim else one.item()
    return info


def pick(draws: np.ndarray, count: int, options: dict[str, Any] | None) -> np.ndarray:
    """Say which images (n,) the draws (n,) mean, unless `options["index"]` names one, or one for each."""
    if options is None or "index" not in options:
        return draws % count
    try:
        index = np.broadcast_to(np.asarray(options["index"]), draws.shape)
    except ValueError:
        raise BadInput(f"index {options['index']} must be one number, or {len(draws)} of them") from None
    if index.dtype.kind not in "iu" or not ((index >= 0) & (index < count)).all():
        raise BadInput(f"index {options['index']} is out of range: the split has images 0 to {count - 1}")
    return index.astype(np.int64)
