"""Play some games at random: the whole interface in one loop. Run: python examples/random_agent.py [games]"""

import sys

import gymnasium as gym

env = gym.make("maskgym:MaskMIMSmall-v0", split="val")
env.action_space.seed(0)
for game in range(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
    image, info = env.reset(seed=game)  # image: (64, 64, 1) uint8
    requested = env.action_space.sample()  # 64 bits, 1 hides a patch
    _, reward, terminated, _, info = env.step(requested)
    hidden, cover = info["mask"].sum(), info.get("lesion_cover", 0)
    print(f"image {info['index']:3d}: reward {reward:.3f}, {hidden} patches hidden, {cover:.0%} of the lesion")
env.close()
