import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from maskgym.agent import GameSpec
from maskgym.errors import BadInput
from maskgym.masking.patches import Patches
from maskgym.registry import agent_class, make_agent
from maskgym.training.update import train

SPEC = GameSpec(Patches((64, 64), (16, 16)), ratio=0.5)


@pytest.mark.parametrize("name", ["sb3-ppo", "sb3-a2c"])
@pytest.mark.parametrize("policy", ["patch", "cnn"])
def test_scores_are_the_policys_logits(name: str, policy: str) -> None:
    agent = make_agent(name, game_spec=SPEC, policy=policy)
    observation = torch.randint(0, 256, (3, 64, 64, 1), dtype=torch.uint8)
    from maskgym.masking.observation import from_observation

    with torch.no_grad():
        seen = observation.movedim(-1, 1)  # SB3's VecTransposeImage
        logits = agent.policy.get_distribution(seen).distribution.logits
    assert torch.equal(agent.score(from_observation(observation)).flatten(1), logits)


def test_sampling_draws_every_bit_by_its_probability() -> None:
    agent = make_agent("sb3-a2c", game_spec=SPEC)
    images = torch.randn(1, 1, 64, 64)
    asked = agent.sample(images.expand(500, -1, -1, -1))
    assert asked.unique().tolist() == [0.0, 1.0]
    torch.testing.assert_close(asked.mean(0), agent.score(images)[0].sigmoid(), atol=0.1, rtol=0)


@pytest.mark.slow
def test_learning_pays() -> None:
    env = gym.make_vec(
        "maskgym:MaskMIMSmall-v0", num_envs=16, split="test", image_size=32, ratio=0.5, piece=16, output="torch"
    )
    images = env.task.fetch(np.arange(128))

    def reward(name: str, steps: int = 0) -> float:
        agent = make_agent(name, env)
        if steps:
            train(agent, env, steps)  # type: ignore[arg-type]
        mask = agent.to_mask(agent.score(images)).view(-1, *env.task.patches.grid)
        with torch.no_grad():
            return float(env.task.game.evaluate(images, mask).reward.mean())

    random, policy, best = reward("random"), reward("sb3-a2c?lr=0.003&rollout=16", 1600), reward("loss-map")
    assert policy - random > 0.3 * (best - random)


def test_who_listens_while_it_learns_meets_the_agent_as_it_is_then() -> None:
    env = gym.make_vec("maskgym:MaskMIMSmall-v0", num_envs=8, split="test", image_size=32, piece=8)
    agent = make_agent("sb3-a2c?rollout=8", env)
    weights: list[torch.Tensor] = []
    agent.learn(env, 24, lambda done, metrics: weights.append(agent.policy.action_net.head.weight.clone()))
    assert len(weights) == 3
    assert not torch.equal(weights[1], weights[0])
    assert not torch.equal(weights[2], weights[1])


def test_cnn_policy_is_refused_where_it_cannot_look() -> None:
    for size in ((32, 32), (64, 64, 64)):
        game_spec = GameSpec(Patches(size, (16,) * len(size)))
        with pytest.raises(BadInput, match="policy 'cnn' sees 2D images of at least 36 pixels"):
            make_agent("sb3-ppo?policy=cnn", game_spec=game_spec)


def test_a_saved_policy_is_tensors_and_json(tmp_path: Path) -> None:
    make_agent("sb3-ppo", game_spec=SPEC, entropy=0.01).save(tmp_path)
    assert any(name.startswith("policy.") for name in load_file(tmp_path / "agent.safetensors"))
    assert json.loads((tmp_path / "agent.json").read_text())["settings"]["entropy"] == 0.01
    assert agent_class("sb3-ppo").load(tmp_path, SPEC).settings.entropy == 0.01
