"""The game as a PettingZoo parallel environment: every patch is an agent that says whether to hide it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np

from maskgym.envs.face import Face
from maskgym.envs.mask_mim import MaskMIM
from maskgym.errors import BadInput

try:
    from pettingzoo import ParallelEnv
except ImportError:  # an extra; `parallel_env` says how to get it
    ParallelEnv = None

_Base: Any = object if ParallelEnv is None else ParallelEnv
REWARDS = ("team", "own")


def parallel_env(
    env_id: str = "maskgym:MaskMIM-v0", render_mode: str | None = None, rewards: str = "team", **keywords: Any
) -> MaskMIMParallel:
    """Make the game of one registered id with every patch as an agent.

    Args:
        env_id: a registered id, as for `gymnasium.make`.
        render_mode: "rgb_array" or none.
        rewards: "team": every patch gets the reward of the image. "own": every patch gets its own patch reward, a
            hidden one less the price of being hidden, the mean patch reward of the hidden ones: without the price to
            ask would always be best, everybody would ask, and the mask would be random.
        keywords: those of the environment, except `action_type`.
    """
    if ParallelEnv is None:
        raise BadInput("parallel_env needs PettingZoo: pip install maskgym[pettingzoo]")
    if rewards not in REWARDS:
        raise BadInput(f"unknown rewards {rewards!r}: choose one of {', '.join(REWARDS)}")
    if keywords.get("action_type", "mask") != "mask":
        raise BadInput(f"action_type {keywords['action_type']!r}: patch agents say 0 or 1, leave action_type out")
    env = gym.make(env_id, render_mode=render_mode, disable_env_checker=True, **keywords).unwrapped
    if not isinstance(env, MaskMIM):
        raise BadInput(f"{env_id!r} is no masking game: `maskgym envs` lists them")
    return MaskMIMParallel(env, rewards)


class MaskMIMParallel(Face, _Base):
    """Patches as agents, over one `MaskMIM`, which plays the game.

    Agents are `patch_0 ... patch_N-1`, row by row. Each observes the whole image (one array serves all: do not write
    into it), says 1 to be hidden or 0, and when the episode ends all are done. As in every face of the game exactly K
    patches are hidden: too many ask, some are dropped at random; too few, some are added. `infos` tell each patch the
    `index` of the image and, after the step, whether it was `hidden`.
    """

    metadata = {"name": "mask_mim_v0", "render_modes": ["rgb_array"], "render_fps": 2, "is_parallelizable": True}  # noqa: RUF012

    def __init__(self, env: MaskMIM, rewards: str = "team"):
        self.env, self.task, self.rewards, self.render_mode = env, env.task, rewards, env.render_mode
        self.possible_agents = [f"patch_{number}" for number in range(env.task.patches.count)]
        self.agents: list[str] = []
        # One space object serves all agents: 256 of them would be slow to make, to seed and to compare.
        self.observation_spaces = dict.fromkeys(self.possible_agents, env.observation_space)
        self.action_spaces = dict.fromkeys(self.possible_agents, gym.spaces.Discrete(2))
        self._observation: np.ndarray | None = None

    def observation_space(self, agent: str) -> gym.spaces.Space[Any]:
        """Give the space that all agents share."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gym.spaces.Space[Any]:
        """Give the space that all agents share."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Show another image to all patches."""
        self._observation, info = self.env.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        return dict.fromkeys(self.agents, self._observation), {agent: dict(info) for agent in self.agents}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Count who asks to be hidden, hide, rebuild, reward every patch."""
        if not self.agents:
            raise gym.error.ResetNeeded("no agent is left: call reset before the next step")
        if actions.keys() != self.action_spaces.keys():
            wrong = sorted(actions.keys() ^ self.action_spaces.keys())
            raise BadInput(f"{len(wrong)} agents such as {wrong[0]!r} are missing or unknown: give each one action")
        asked = np.array([actions[agent] for agent in self.possible_agents])
        self._observation, reward, over, _, info = self.env.step(asked)
        mask = info["mask"].ravel().astype(bool)
        each = [reward] * len(mask)
        if self.rewards == "own":
            own = info["patch_reward"].ravel()
            each = np.where(mask, own - own[mask].mean(), own).tolist()
        hidden = mask.tolist()
        agents = self.agents
        self.agents = [] if over else agents
        return (
            dict.fromkeys(agents, self._observation),
            dict(zip(agents, each, strict=True)),
            dict.fromkeys(agents, over),
            dict.fromkeys(agents, False),
            {agent: {"index": info["index"], "hidden": was} for agent, was in zip(agents, hidden, strict=True)},
        )

    def state(self) -> Any:
        """Give a copy of the observation: here the state of the world is what everybody sees."""
        if self._observation is None:
            raise gym.error.ResetNeeded("call reset before state")
        return deepcopy(self._observation)

    def render(self) -> np.ndarray | None:
        """Draw the last finished step."""
        return self.env.render()

    def close(self) -> None:
        """Let go of the environment."""
        self.env.close()
