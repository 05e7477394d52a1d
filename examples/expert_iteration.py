"""Expert iteration without gradients of the frozen network: search from a policy's masks, and learn what was found.

Run: python examples/expert_iteration.py --start pathwise:runs/pathwise-0 --out runs/expert-0

Every batch is masked by the policy, each mask improved by a climb of a few queries, and the policy trained towards the
better masks by cross-entropy. What is saved is an agent of the same kind: score it as pathwise:runs/expert-0.
"""

import argparse
import time

import gymnasium as gym
import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from maskgym.climbing import climb
from maskgym.registry import make_agent

parser = argparse.ArgumentParser()
parser.add_argument("--start", default="pathwise", help="a3c or pathwise, saved as in a3c:runs/a3c or untrained")
parser.add_argument("--env", default="maskgym:MaskMIMSmall-v0")
parser.add_argument("--images", type=int, default=9600, help="how many images are searched, some more than once")
parser.add_argument("--queries", type=int, default=12, help="queries an image")
parser.add_argument("--lr", type=float, default=3e-4)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", help="a folder to save the policy in")
told = parser.parse_args()

torch.set_num_threads(1)
torch.manual_seed(told.seed)
BATCH = 64
train = gym.make(told.env, dataset="phantoms?count=8192").unwrapped
val = gym.make(told.env, split="val").unwrapped
agent = make_agent(told.start, train, seed=told.seed)
if not hasattr(agent, "policy"):
    parser.error(f"{told.start} has no policy to train: give a3c or pathwise, saved as in a3c:runs/a3c or untrained")
game = train.task.game_at(train.ratio)
images = val.task.fetch(np.arange(len(val.task.images)))


def scores_of(batch):
    """The policy's scores (B, N), with gradients; an actor-critic gives values as well."""
    given = agent.policy(batch)
    return given[0] if isinstance(given, tuple) else given


def reward():
    """Mean reward of the policy's own masks on the val split, no query asked."""
    with torch.no_grad():
        scores = scores_of(images)
        mask = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, scores.topk(game.budget).indices, True)
        return game.evaluate(images, mask.view(-1, *train.task.patches.grid)).reward.mean().item()


print(f"at first: reward {reward():.4f} on val")
optimizer = torch.optim.Adam(agent.policy.parameters(), told.lr)
updates = max(1, told.images // BATCH)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
draws, began = np.random.default_rng(told.seed), time.process_time()
for update in range(1, updates + 1):
    batch = train.task.fetch(draws.integers(0, len(train.task.images), BATCH))
    scores = scores_of(batch)
    seeds = torch.from_numpy(draws.integers(0, 2**40, BATCH))
    *_, found = climb(game, batch, scores.detach(), told.queries, seeds)
    ends = scores.detach().topk(game.budget + 1).values[:, -2:].mean(1, keepdim=True)  # between hidden and visible
    loss = binary_cross_entropy_with_logits(2 * (scores - ends), found.mask.float())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    if update % max(1, updates // 3) == 0:
        spent = time.process_time() - began
        print(f"{update * BATCH} images, {spent:.0f} s of the processor: reward {reward():.4f} on val", flush=True)
if told.out:
    agent.save(told.out)
    print(f"wrote {told.out}: `maskgym score {agent.name}:{told.out}`")
