"""The single environment, `MaskMIM-v0` and its sisters: the game with a batch of one."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded

from maskgym.envs.rendering import panel
from maskgym.envs.task import Settings, Task
from maskgym.errors import BadInput
from maskgym.game import Outcome


class MaskMIM(gym.Env[np.ndarray, Any]):
    """Hide the patches of a medical image that a frozen network cannot rebuild.

    ## Description
    An image, or a volume, is cut into a regular grid of patches. The agent says which patches to hide; the environment
    hides exactly K = floor(ratio * N) of them, lets a frozen reconstruction network fill them in, and pays the mean
    squared error. Every patch is an agent of its own: the error of each patch is in `info["patch_reward"]`.

    ## Action Space
    `MultiBinary(N)`: 1 hides a patch, row by row. `step` also takes the shape of the grid, booleans and floats. Too
    many wanted, some are dropped at random; too few, some are added at random. With `action_type="score"` it is
    `Box(0, 1, (N,))` and the environment hides the K highest scores.

    ## Observation Space
    The image, `Box(0, 255, (H, W, C), uint8)`; a volume is `(D, H, W, C)`. It is a view: the game itself is played on
    z-scored floats, grey 128 is their mean and 32 greys are one standard deviation.

    ## Rewards
    The mean over all patches of the patch's mean squared error after reconstruction, in units of the image's variance.
    Hidden pixels are filled with the image's mean before the network sees them.

    ## Starting State
    An image drawn from the split with `np_random`, or the one named by `reset(options={"index": 7})`.

    ## Episode End
    After one step: `terminated=True`, never truncated.

    ## Information
    `index` (int); after a step also `mask` (grid, int8, what was really hidden), `patch_reward` (grid, float32) and,
    where the image has labels, `lesion_cover` (share of its lesion patches that were hidden).

    ## Arguments
    The fields of `maskgym.envs.task.Settings`, by keyword.

    ## Vectorized environment
    `gym.make_vec("maskgym:MaskMIM-v0", num_envs=64)` plays all games in one batch; see `maskgym.envs.vector`.

    ## Version History
    * v0: first release
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 2}  # noqa: RUF012 (Gymnasium's name and form)

    def __init__(self, render_mode: str | None = None, **keywords: Any):
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise BadInput(f"unknown render_mode {render_mode!r}: choose rgb_array or none")
        self.task = Task(Settings.of(keywords))
        self.render_mode = render_mode
        self.observation_space = self.task.observation_space
        self.action_space = self.task.action_space
        self._index: np.ndarray | None = None  # (1,) int64: which image is shown
        self._draw: np.ndarray | None = None  # (1,) int64: from which the chance of this episode grows
        self._shown: tuple[np.ndarray, Outcome] | None = None  # the last finished step, for render

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Show another image."""
        super().reset(seed=seed)
        self._draw = np.array([self.np_random.integers(2**63, dtype=np.int64)])
        self._index = pick(self._draw, len(self.task.images), options)
        return self._observe(), {"index": int(self._index[0])}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hide, rebuild, pay."""
        if self._index is None or self._draw is None:
            raise ResetNeeded("call reset before the first step")
        images = self.task.fetch(self._index)
        actions = [action] if isinstance(action, list | tuple) else np.asarray(action)[None]
        outcome = self.task.play(images, actions, self._draw)
        mask = outcome.mask.cpu().numpy()
        info = {
            "index": int(self._index[0]),
            "mask": mask[0].astype(np.int8),
            "patch_reward": outcome.patch_reward[0].cpu().numpy().copy(),
        }
        cover = self.task.lesion_cover(self._index, mask)
        if cover is not None and not np.isnan(cover[0]):
            info["lesion_cover"] = float(cover[0])
        self._shown = (self._index, outcome)
        return self._observe(), float(outcome.reward[0]), True, False, info

    def _observe(self) -> np.ndarray:
        assert self._index is not None
        return self.task.view(self._index)[0].numpy(force=True)

    def render(self) -> np.ndarray | None:
        """Draw image, mask, reconstruction and error of the last finished step side by side: (H, W, 3) uint8."""
        if self.render_mode is None:
            return None
        if self._shown is None and self._index is None:
            raise ResetNeeded("call reset before render")
        if self._shown is None:
            assert self._index is not None
            return panel(self.task, self.task.fetch(self._index))
        index, outcome = self._shown
        return panel(self.task, self.task.fetch(index), outcome)


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
