"""Stable-Baselines3's PPO and A2C as agents: trained through the native adapter, saved without pickle."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from maskgym.agent import GameSpec
from maskgym.errors import BadInput
from maskgym.learner import OwnLoop, Report
from maskgym.masking.observation import to_observation
from maskgym.seeding import seeded

_NATURE_CNN = 36  # pixels a side that the three convolutions of CnnPolicy need


@dataclass(frozen=True)
class A2CSettings:
    """Settings of `sb3-a2c`."""

    policy: Literal["patch", "cnn"] = "patch"
    """"patch": one head shared by all patches. "cnn": SB3's CnnPolicy, in 2D only."""
    lr: float = 1e-3
    """Learning rate."""
    rollout: int = 64
    """Env steps between two updates; at least one from each sub-environment."""
    entropy: float = 0.0
    """Weight of the entropy bonus."""
    reward_scale: float = 10.0
    """Rewards are multiplied by it; they should come to about one."""


@dataclass(frozen=True)
class PPOSettings(A2CSettings):
    """Settings of `sb3-ppo`."""

    rollout: int = 256
    """Env steps between two updates; at least one from each sub-environment."""
    minibatches: int = 4
    """Parts that a rollout is cut into."""
    epochs: int = 4
    """Times that a rollout is gone through."""


class _Sb3(OwnLoop):
    """A policy of Stable-Baselines3; its logits are the scores."""

    paper = "Stable-Baselines3"
    algorithm: ClassVar[str] = ""  # the class in stable_baselines3

    def __init__(self, game_spec: GameSpec, settings: Any = None, seed: int = 0):
        super().__init__(game_spec, settings, seed)
        size = game_spec.patches.size
        if self.settings.policy == "cnn" and (len(size) == 3 or min(size) < _NATURE_CNN):
            raise BadInput(
                f"policy 'cnn' sees 2D images of at least {_NATURE_CNN} pixels a side, not {size}: take 'patch'"
            )
        policy, keywords = self._policy()
        image = spaces.Box(0, 255, self._layout(torch.zeros(1, game_spec.channels, *size)).shape[1:], np.uint8)
        with seeded(seed):
            self.policy = policy(
                image, spaces.MultiBinary(game_spec.patches.count), lambda _: self.settings.lr, **keywords
            )
        self.policy.to(game_spec.device)

    def score(self, images: Tensor) -> Tensor:
        """Score by the logits."""
        with torch.no_grad():
            logits = self.policy.get_distribution(self._layout(images)).distribution.logits
        return logits.view(-1, *self.patches.grid)

    def sample(self, images: Tensor, index: Tensor | None = None) -> Tensor:
        """Draw every patch's bit by its own probability, as the policy does while it learns."""
        uniform = self.draw_keys(len(images)).view(-1, *self.patches.grid) / 2**63
        return (uniform < self.score(images).sigmoid()).float()

    def learn(self, env: Any, steps: int, report: Report | None = None) -> None:
        """Train for so many env steps against a native vector environment, whatever its output."""
        import stable_baselines3
        from stable_baselines3.common.callbacks import BaseCallback
        from stable_baselines3.common.vec_env import VecEnvWrapper

        from maskgym.envs.sb3 import SB3VecEnv

        ours, scale = self.policy, self.settings.reward_scale

        class Scaled(VecEnvWrapper):
            def reset(self) -> Any:
                return self.venv.reset()

            def step_wait(self) -> Any:
                observation, reward, done, infos = self.venv.step_wait()
                return observation, reward * scale, done, infos

        class Reporting(BaseCallback):
            def _on_step(self) -> bool:
                return True

            def _on_rollout_end(self) -> None:
                if report is not None:
                    rewards = [episode["r"] for episode in self.model.ep_info_buffer or ()]
                    ours.load_state_dict(self.model.policy.state_dict())  # who listens may play or save the agent
                    report(self.num_timesteps, {"reward": float(np.mean(rewards))})

        games = copy(env)  # the same games behind a face that speaks numpy
        games.output = "numpy"
        policy, keywords = self._policy()
        with seeded(self.seed):
            model = getattr(stable_baselines3, self.algorithm)(
                policy,
                Scaled(SB3VecEnv(games)),
                learning_rate=self.settings.lr,
                n_steps=max(1, self.settings.rollout // games.num_envs),
                gamma=0.0,  # one step an image: nothing to discount or to bootstrap
                gae_lambda=1.0,
                ent_coef=self.settings.entropy,
                policy_kwargs=keywords,
                seed=self.seed,
                device=self.game_spec.device,
                **self._algorithm_settings(games.num_envs),
            )
            model.policy.load_state_dict(ours.state_dict())
            model.learn(steps, Reporting())
        ours.load_state_dict(model.policy.state_dict())

    def _algorithm_settings(self, games: int) -> dict[str, Any]:
        return {}

    def _policy(self) -> tuple[Any, dict[str, Any]]:
        """Name the policy's class and its keywords."""
        if self.settings.policy == "cnn":
            from stable_baselines3.common.policies import ActorCriticCnnPolicy

            return ActorCriticCnnPolicy, {}
        from maskgym.envs.patch_policy import PatchPolicy

        return PatchPolicy, {"patch_size": "x".join(map(str, self.patches.patch)), "ratio": self.game_spec.ratio}

    def _layout(self, images: Tensor) -> Tensor:
        """View z-scored images as SB3 hands them to a policy: uint8, pictures channels first, volumes channels last."""
        views = to_observation(images)
        return views.movedim(-1, 1) if self.patches.dims == 2 else views


class PPO(_Sb3):
    """PPO, with one head shared by all patches or with CnnPolicy.

    Its ratio is a product over all bits of the mask, so most samples are clipped; A2C has no such ratio.
    """

    name = "sb3-ppo"
    algorithm = "PPO"

    Settings = PPOSettings

    def _algorithm_settings(self, games: int) -> dict[str, Any]:
        rollout = max(1, self.settings.rollout // games) * games
        parts = self.settings.minibatches if rollout % self.settings.minibatches == 0 else 1
        return {"batch_size": rollout // parts, "n_epochs": self.settings.epochs}


class A2C(_Sb3):
    """A2C, with one head shared by all patches or with CnnPolicy."""

    name = "sb3-a2c"
    algorithm = "A2C"

    Settings = A2CSettings
