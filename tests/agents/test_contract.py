"""What every agent must do, whoever wrote it; a new agent is met by its entry point."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from maskgym.agent import Agent, GameSpec
from maskgym.game import Game
from maskgym.learner import Learner, OwnLoop
from maskgym.pretrain_hooks import PretrainHooks
from maskgym.registry import agent_class, make_agent, names
from maskgym.training.update import KEYS_A_MASK, train

NAMES = names()
LEARNERS = [name for name in NAMES if issubclass(agent_class(name), Learner)]

Make = Callable[..., Agent]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_every_agent_introduces_itself() -> None:
    for name in NAMES:
        cls = agent_class(name)
        assert (cls.name, is_dataclass(cls.Settings)) == (name, True)
        assert cls.paper, name
        assert cls.__doc__, name


def test_takes_every_setting_as_the_string_it_prints_as(name: str, make: Make) -> None:
    defaults = agent_class(name).Settings()
    plain = [field.name for field in fields(defaults) if isinstance(getattr(defaults, field.name), int | float | str)]
    assert make(name, **{key: str(getattr(defaults, key)) for key in plain}).settings == defaults


def test_scores_are_finite_and_random_by_the_agents_seed_alone(
    name: str, make: Make, game_spec: GameSpec, images: Tensor
) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, other = make(name, seed=3), make(name, seed=3)
    for told in (lambda agent: agent.score(images), lambda agent: agent.sample(images, torch.arange(6))):
        scores = told(one)
        assert scores.shape == (6, *game_spec.patches.grid)
        assert scores.is_floating_point()
        assert bool(scores.isfinite().all())
        assert not scores.requires_grad
        assert torch.equal(scores, told(other))
        assert torch.equal(one.to_mask(scores), other.to_mask(scores))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()
    torch.manual_seed(99)  # of nobody's concern
    assert torch.equal(make(name, seed=3).sample(images), make(name, seed=3).sample(images))


def test_hides_exactly_k(name: str, make: Make, game_spec: GameSpec, images: Tensor) -> None:
    for ratio in (0.25, 0.75):
        game_spec = replace(game_spec, ratio=ratio)
        agent = make(name, game=game_spec)
        assert agent.to_mask(agent.score(images)).sum(1).tolist() == [game_spec.budget] * 6


def test_scores_one_image_as_it_does_among_many(name: str, make: Make, images: Tensor) -> None:
    many, one = make(name), make(name)
    torch.testing.assert_close(
        torch.cat([one.score(image) for image in images.split(1)]), many.score(images), rtol=1e-3, atol=1e-4
    )


def test_is_the_same_after_saving_and_loading(
    name: str, make: Make, game_spec: GameSpec, student: torch.nn.Module, images: Tensor, tmp_path: Path
) -> None:
    agent = make(name, seed=5)
    play(agent, student, images)
    agent.save(tmp_path / "agent")
    assert sorted(path.name for path in (tmp_path / "agent").iterdir()) == ["agent.json", "agent.safetensors"]
    loaded = make_agent(f"{name}:{tmp_path / 'agent'}", game_spec=game_spec)
    loaded.attach(student)
    assert loaded.settings == agent.settings
    assert torch.equal(loaded.score(images), agent.score(images))
    index = torch.arange(6)
    assert torch.equal(loaded.sample(images, index), agent.sample(images, index))


def test_leaves_a_learning_network_as_it_was(name: str, make: Make, student: torch.nn.Module, images: Tensor) -> None:
    student.deep[0].eval()  # a part that its owner has frozen
    modes = [module.training for module in student.modules()]
    state = {key: value.clone() for key, value in student.state_dict().items()}
    agent = make(name)
    hooks(agent).start_epoch(1, 2)
    agent.score(images)
    agent.sample(images, torch.arange(6))
    assert [module.training for module in student.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in student.state_dict().items())
    assert all(parameter.grad is None for parameter in student.parameters())


def test_plays_along_while_the_network_learns(name: str, make: Make, student: torch.nn.Module, images: Tensor) -> None:
    agent = make(name)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    for epoch in (1, 2):
        hooks(agent).start_epoch(epoch, 2)
        index = torch.arange(6)
        mask = agent.to_mask(agent.sample(images, index)).view(-1, *agent.patches.grid)
        loss = Game(student, agent.patches, agent.game_spec.ratio).evaluate(images, mask).patch_loss
        extra = hooks(agent).auxiliary_loss(images, mask, loss, index)
        optimizer.zero_grad()
        (loss.mean() if extra is None else loss.mean() + extra).backward()
        before = [parameter.grad.clone() for parameter in student.parameters()]
        metrics = hooks(agent).observe(images, mask, loss.detach(), index)
        assert all(isinstance(value, float) for value in metrics.values())
        assert all(torch.equal(a, b.grad) for a, b in zip(before, student.parameters(), strict=True))
        optimizer.step()


def test_prefers_the_teacher_to_the_student(make: Make, student: torch.nn.Module, images: Tensor) -> None:
    asking = [name for name in NAMES if "reconstructor" in agent_class(name).needs]
    assert {"loss-map", "anatomask", "search"} <= set(asking)
    for name in asking:
        alone, taught = make(name), make(name)
        taught.attach(torch.nn.Identity(), student)
        assert torch.equal(alone.score(images), taught.score(images))


def test_plays_single_and_vector_environments(name: str, dims: str, envs: Callable[..., Any], player: Make) -> None:
    env = envs(dims, "single")
    agent = player(name, env)
    observation, _ = env.reset(seed=0)
    for sample in (False, True):
        action = agent.act(observation, sample)
        assert env.action_space.contains(action)
        assert (env.step(action)[4]["mask"].ravel() == action).all()
        observation, _ = env.reset()
    output, kind = ("numpy", np.ndarray) if dims == "2D" else ("torch", Tensor)
    env = envs(dims, "vector", num_envs=4, output=output)
    mask = player(name, env).act(env.reset(seed=0)[0])
    assert isinstance(mask, kind)
    assert (env.step(mask)[4]["mask"].reshape(mask.shape) == mask).all()


def test_plays_for_all_patches_of_the_parallel_environment(name: str, envs: Callable[..., Any], player: Make) -> None:
    env = envs("2D", "parallel")
    agent = player(name, env)
    observations, _ = env.reset(seed=0)
    actions = agent.act(observations)
    assert set(actions) == set(env.agents)
    infos = env.step(actions)[4]
    assert all(infos[patch]["hidden"] == bool(asked) for patch, asked in actions.items())
    assert agent.act({}) == {}


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.slow
def test_learns_from_an_environment_the_same_way_twice(
    name: str, dims: str, envs: Callable[..., Any], player: Make
) -> None:
    env = envs(dims, "vector", num_envs=8, output="torch")
    reports: list[int] = []
    states = []
    for _ in range(2):
        agent = player(name, env)
        before = {key: value.clone() for key, value in agent.state_dict().items() if key != "drawn"}
        assert train(agent, env, 64, lambda done, metrics: reports.append(done)) is agent
        states.append(agent.state_dict())
        assert any(not torch.equal(value, states[-1][key]) for key, value in before.items())
    assert reports[-1] >= 64
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize("name", [name for name in LEARNERS if not issubclass(agent_class(name), OwnLoop)])
def test_a_proposal_draws_no_random_keys_that_the_next_update_draws(
    name: str, make: Make, game_spec: GameSpec, images: Tensor
) -> None:
    agent: Any = make(name)
    agent.train()
    proposal = agent.propose(images, agent.settings.masks)
    assert proposal.mask.shape == (6, agent.settings.masks, game_spec.patches.count)
    torch.testing.assert_close(
        proposal.mask.float().sum(2), torch.full_like(proposal.mask[:, :, 0].float(), game_spec.budget)
    )
    assert int(agent.drawn.max()) <= KEYS_A_MASK * 6 * agent.settings.masks


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_scores_the_same_on_a_gpu(
    name: str, make: Make, game_spec: GameSpec, student: torch.nn.Module, images: Tensor
) -> None:
    scores = []
    for device in ("cpu", "cuda"):
        agent = make(name, game=replace(game_spec, device=device))
        agent.attach(student.to(device))
        scores.append(agent.score(images.to(device)))
        assert agent.to_mask(agent.sample(images.to(device), torch.arange(6, device=device))).device.type == device
    torch.testing.assert_close(scores[1].cpu(), scores[0], rtol=1e-2, atol=1e-3)


def play(agent: Agent, network: torch.nn.Module, images: Tensor, rounds: int = 2) -> None:
    """A short life: sample, play, observe."""
    index = torch.arange(len(images))
    for _ in range(rounds):
        mask = agent.to_mask(agent.sample(images, index)).view(-1, *agent.patches.grid)
        with torch.no_grad():
            loss = Game(network, agent.patches, agent.game_spec.ratio).evaluate(images, mask).patch_loss
        hooks(agent).observe(images, mask, loss, index)


def hooks(agent: Agent) -> PretrainHooks:
    """What pre-training tells an agent, if it wants to be told."""
    return agent if isinstance(agent, PretrainHooks) else PretrainHooks()
