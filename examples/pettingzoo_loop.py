"""Every patch decides for itself: hide where the image is bright. Run: python examples/pettingzoo_loop.py"""

import numpy as np

import maskgym

env = maskgym.parallel_env("maskgym:MaskMIMSmall-v0", split="val")
for game in range(3):
    observations, infos = env.reset(seed=game)
    actions = {}
    for number, agent in enumerate(env.agents):
        row, column = divmod(number, 8)
        patch = observations[agent][row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
        actions[agent] = int(patch.mean() > 110)
    _, rewards, _, _, infos = env.step(actions)
    worst = max(rewards, key=rewards.get)
    print(f"image {infos[worst]['index']}: mean reward {np.mean(list(rewards.values())):.3f}, hardest patch {worst}")
env.close()
