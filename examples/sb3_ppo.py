"""PPO with one shared head for all patches. Run: python examples/sb3_ppo.py [steps]"""

import sys

from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

from maskgym.envs.sb3 import PatchPolicy, make_sb3

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000

# The native vector environment plays 64 games in one batch; PPO("CnnPolicy", "maskgym:MaskMIM-v0") works, too, slowly.
env = make_sb3("maskgym:MaskMIMSmall-v0", num_envs=64, split="val")
test = make_sb3("maskgym:MaskMIMSmall-v0", num_envs=64, split="test")

# A game is one step, so nothing has to be carried back in time: short rollouts, no discount.
model = PPO(PatchPolicy, env, learning_rate=1e-3, n_steps=4, batch_size=64, n_epochs=4, gamma=0, seed=0, device="cpu")
before, _ = evaluate_policy(model, test, n_eval_episodes=128)
model.learn(steps)
after, _ = evaluate_policy(model, test, n_eval_episodes=128)
print(f"mean reward on the test split: {before:.4f} before, {after:.4f} after {model.num_timesteps} steps")
