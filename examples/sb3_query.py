"""PPO in the game of several queries, beside PPO in the game of one. Run: python examples/sb3_query.py [steps] [seed]

Both learn for so many env steps, one query each, and then play the test split with 16 queries an image: their
likeliest mask first, then draws from the policy. The first sees what its masks came to, the second the image only.
"""

import sys

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from maskgym.benchmark.par import find
from maskgym.benchmark.points import points
from maskgym.envs.sb3 import PatchPolicy, make_sb3

QUERIES = 16
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 40_000
seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0

several = {"env_id": "maskgym:MaskMIMQuerySmall-v0", "observation": "channels", "queries": QUERIES}
test = make_sb3(**several, num_envs=128, split="test")
par = find(test.env.task, ratio=0.75, images=128).table


def play(model, image_only):
    """Best reward of every test image after each query: (16, 128)."""
    test.set_options([{"index": image} for image in range(128)])
    view, best = test.reset(), []
    for query in range(QUERIES):
        action, _ = model.predict(view[..., :1] if image_only else view, deterministic=query == 0)
        view, _, _, infos = test.step(action)
        best.append([info["best"] for info in infos])
    return np.array(best)


class Curve(BaseCallback):
    """Prints points against env steps, five times in a training."""

    def __init__(self, name, image_only):
        super().__init__()
        self.name, self.image_only, self.due = name, image_only, 0

    def _on_step(self):
        if self.num_timesteps >= self.due:
            self.due += max(steps // 5, 1024)
            best = play(self.model, self.image_only)
            reached = [points(best[query], par.random, par.reward) for query in (0, 3, QUERIES - 1)]
            print(self.name, self.num_timesteps, *(f"{value:.1f}" for value in reached), sep=",", flush=True)
        return True


print("game,env steps,points after 1 query,after 4,after 16 (mean best reward of the test images, 100 = par)")
for name, image_only, game, discount in (
    ("several queries", False, several, 1.0),
    ("one query", True, {"env_id": "maskgym:MaskMIMSmall-v0"}, 0.0),
):
    env = VecNormalize(make_sb3(**game, num_envs=64), norm_obs=False, gamma=discount)
    model = PPO(
        PatchPolicy, env, learning_rate=1e-3, n_steps=QUERIES, batch_size=256, n_epochs=2, gamma=discount, seed=seed
    )
    model.learn(steps, Curve(name, image_only))
