"""RLlib's asynchronous PPO with one shared head for all patches. Run: python examples/rllib_appo.py --steps 50_000"""

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchDistribution
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import TARGET_NETWORK_ACTION_DIST_INPUTS, TargetNetworkAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent

from maskgym.masking.observation import from_observation
from maskgym.masking.patches import Patches
from maskgym.patchnet import ResidualPatchNet

ENV, IMAGE, PATCH = "maskgym:MaskMIMSmall-v0", (64, 64), (8, 8)


class Bits(TorchDistribution):
    """One independent bit a patch; RLlib's catalogue knows no MultiBinary."""

    def _get_torch_distribution(self, logits: Tensor) -> Independent:
        return Independent(Bernoulli(logits=logits, validate_args=False), 1)

    def to_deterministic(self) -> "Bits":
        return Bits(self._dist.base_dist.logits * 1e6)

    @staticmethod
    def required_input_dim(space: gym.Space, **_: Any) -> int:
        return space.n


class PatchModule(TorchRLModule, ValueFunctionAPI, TargetNetworkAPI):
    """One trunk for all patches, a logit for each, and a value pooled over them."""

    def setup(self) -> None:
        self.action_dist_cls = Bits
        self.trunk = ResidualPatchNet(1, Patches(IMAGE, PATCH))
        self.policy, self.value = nn.Conv2d(self.trunk.width, 1, 1), nn.Linear(self.trunk.width, 1)
        nn.init.zeros_(self.policy.weight)

    def logits(self, features: Tensor) -> Tensor:
        return self.policy(features).flatten(1) + 1.1  # at first three quarters ask to be hidden, as many as are

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        features = self.trunk(from_observation(batch[Columns.OBS]))
        return {Columns.ACTION_DIST_INPUTS: self.logits(features), Columns.EMBEDDINGS: features}

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        features = self.trunk(from_observation(batch[Columns.OBS])) if embeddings is None else embeddings
        return self.value(features.mean((2, 3)))[:, 0]

    def make_target_networks(self) -> None:
        self.old_trunk, self.old_policy = make_target_network(self.trunk), make_target_network(self.policy)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.trunk, self.old_trunk), (self.policy, self.old_policy)]

    def forward_target(self, batch: dict[str, Any]) -> dict[str, Any]:
        features = self.old_trunk(from_observation(batch[Columns.OBS]))
        return {TARGET_NETWORK_ACTION_DIST_INPUTS: self.old_policy(features).flatten(1) + 1.1}


def reward_on_test(algorithm: Algorithm) -> float:
    """Play the test split once by the learner's weights; the highest logits are hidden."""
    module = algorithm.get_module()
    module.set_state(algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID])
    env = gym.make_vec(ENV, num_envs=128, split="test", action_type="score", autoreset_mode="Disabled")
    images, _ = env.reset(seed=0, options={"index": np.arange(128)})
    with torch.no_grad():
        logits = module.forward_inference({Columns.OBS: torch.from_numpy(images)})[Columns.ACTION_DIST_INPUTS]
    return float(env.step(logits.sigmoid().numpy())[1].mean())


def main(steps: int, runners: int, seed: int) -> None:
    torch.set_num_threads(1)
    ray.init("local", num_cpus=runners + 1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    config = (
        APPOConfig()
        # The native vector environment plays a runner's games in one batch. RLlib wants resets in a step of their own.
        .environment(ENV, env_config={"autoreset_mode": "NextStep"})
        .env_runners(
            num_env_runners=runners,
            num_envs_per_env_runner=64,
            gym_env_vectorize_mode="vector_entry_point",
            rollout_fragment_length=4,
        )
        .learners(num_learners=0)  # a thread of this process
        .rl_module(rl_module_spec=RLModuleSpec(module_class=PatchModule))
        # A game is one step, so nothing has to be carried back in time: no discount.
        .training(lr=1e-3, gamma=0.0, train_batch_size_per_learner=256, entropy_coeff=0.0, grad_clip=1.0)
        .training(timeout_s_sampler_manager=0.05)  # wait for the runners, do not ask them all the time
        .reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=min(steps, 1000))
        .debugging(seed=seed, log_level="ERROR")
    )
    algorithm = config.build_algo()
    try:
        before, played = reward_on_test(algorithm), 0
        while played < steps:
            played = int(algorithm.train()["num_env_steps_sampled_lifetime"])
        after = reward_on_test(algorithm)
    finally:
        algorithm.stop()
        ray.shutdown()
    print(f"mean reward on the test split: {before:.4f} before, {after:.4f} after {played} steps")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50_000, help="masks to be paid for in all")
    parser.add_argument("--runners", type=int, default=2, help="processes that play")
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
