"""TorchRL's PPO with one shared head for all patches. Run: python examples/torchrl_ppo.py --steps 50_000"""

import argparse

import gymnasium as gym
import numpy as np
import torch
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent
from torchrl.collectors import Collector
from torchrl.envs import GymWrapper
from torchrl.modules import ActorValueOperator, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from maskgym.masking.observation import from_observation
from maskgym.masking.patches import Patches
from maskgym.patchnet import ResidualPatchNet

ENV, IMAGE, PATCH = "maskgym:MaskMIMSmall-v0", (64, 64), (8, 8)
GAMES, ROLLOUT, EPOCHS, MINIBATCHES, REWARD_SCALE = 64, 256, 4, 4, 10.0


class Bits(Independent):
    """One independent bit a patch."""

    def __init__(self, logits: Tensor):
        super().__init__(Bernoulli(logits=logits, validate_args=False), 1, validate_args=False)


class Trunk(ResidualPatchNet):
    """One feature vector a patch, from views (B, H, W, 1) uint8."""

    def forward(self, views: Tensor) -> Tensor:
        return super().forward(from_observation(views))


class Logits(nn.Conv2d):
    """One logit a patch; at first three quarters ask to be hidden, as many as are."""

    def __init__(self, width: int):
        super().__init__(width, 1, 1)
        nn.init.zeros_(self.weight)
        nn.init.constant_(self.bias, 1.1)

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features).flatten(1)


class Value(nn.Linear):
    """The value of an image, from the mean over its patches."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.mean((2, 3)))


def reward_on_test(logits: TensorDictModule) -> float:
    """Play the test split once; the highest logits are hidden."""
    env = gym.make_vec(ENV, num_envs=128, split="test", action_type="score", autoreset_mode="Disabled")
    images, _ = env.reset(seed=0, options={"index": np.arange(128)})
    with torch.no_grad():
        scores = logits(torch.from_numpy(images)).sigmoid()
    return float(env.step(scores.numpy())[1].mean())


def main(steps: int, seed: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    env = GymWrapper(gym.make_vec(ENV, num_envs=GAMES, autoreset_mode="Disabled"))  # TorchRL resets what is over
    env.set_seed(seed)
    trunk = Trunk(1, Patches(IMAGE, PATCH))
    head = Logits(trunk.width)
    model = ActorValueOperator(
        TensorDictModule(trunk, in_keys=["observation"], out_keys=["features"]),
        ProbabilisticActor(
            TensorDictModule(head, in_keys=["features"], out_keys=["logits"]),
            in_keys=["logits"],
            distribution_class=Bits,
            return_log_prob=True,
        ),
        ValueOperator(Value(trunk.width, 1), in_keys=["features"]),
    )
    actor, critic = model.get_policy_operator(), model.get_value_operator()
    # A game is one step, so nothing has to be carried back in time: no discount.
    advantage = GAE(gamma=0.0, lmbda=1.0, value_network=critic, average_gae=True)
    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.0, critic_coeff=0.5)
    optimiser = torch.optim.Adam(loss.parameters(), lr=1e-3)
    collector = Collector(
        env, actor, frames_per_batch=ROLLOUT, total_frames=steps, auto_register_policy_transforms=False
    )
    before, played = reward_on_test(nn.Sequential(trunk, head)), 0
    for batch in collector:
        batch = batch.reshape(-1)  # every game is over after one step: which came first does not matter
        played += len(batch)
        batch["next", "reward"] *= REWARD_SCALE
        with torch.no_grad():
            advantage(batch)
        for _ in range(EPOCHS):
            for part in batch[torch.randperm(len(batch))].chunk(MINIBATCHES):
                losses = loss(part)
                optimiser.zero_grad()
                (losses["loss_objective"] + losses["loss_critic"]).backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                optimiser.step()
    collector.shutdown()
    after = reward_on_test(nn.Sequential(trunk, head))
    print(f"mean reward on the test split: {before:.4f} before, {after:.4f} after {played} steps")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50_000, help="masks to be paid for in all")
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
