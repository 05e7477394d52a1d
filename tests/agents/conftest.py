from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
import torch

from maskgym.agent import Agent, GameSpec
from maskgym.masking.patches import Patches
from maskgym.networks.unet import UNet
from maskgym.registry import make_agent

KEYWORDS: dict[str, dict[str, Any]] = {
    "2D": {"id": "maskgym:MaskMIMSmall-v0", "image_size": "32x32", "patch_size": 8, "split": "test", "piece": 8},
    "3D": {"id": "maskgym:MaskMIM3D-v0", "image_size": "16x16x16", "patch_size": 4, "split": "test", "piece": 8},
}


QUICK: dict[str, dict[str, Any]] = {"search": {"queries": 8}}  # settings under which a slow agent is quick


@pytest.fixture(params=["2D", "3D"])
def dims(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def game_spec(dims: str) -> GameSpec:
    sides = 2 if dims == "2D" else 3
    return GameSpec(Patches((16,) * sides, (4,) * sides), ratio=0.5)


@pytest.fixture
def student(game_spec: GameSpec) -> torch.nn.Module:
    """A network that is learning, with batch norms, none of which may be touched."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(game_spec.channels, game_spec.patches.dims, widths=(8, 8)).train()


@pytest.fixture
def make(game_spec: GameSpec, student: torch.nn.Module) -> Callable[..., Agent]:
    def made(name: str, seed: int = 0, game: GameSpec = game_spec, **settings: Any) -> Agent:
        agent = make_agent(name, game_spec=game, seed=seed, **QUICK.get(name, {}) | settings)
        agent.attach(student)
        return agent

    return made


@pytest.fixture
def images(game_spec: GameSpec) -> torch.Tensor:
    """Noise with a bright corner, so that there is something to find: (6, 1, *size)."""
    pixels = torch.randn(6, 1, *game_spec.patches.size, generator=torch.Generator().manual_seed(1))
    pixels[(..., *[slice(0, 6)] * game_spec.patches.dims)] += 3
    return (pixels - pixels.mean()) / pixels.std()


@pytest.fixture
def player() -> Callable[..., Agent]:
    """Make an agent for an environment."""
    return lambda name, env: make_agent(name, env, seed=1, **QUICK.get(name, {}))


@pytest.fixture(scope="session")
def envs() -> Callable[..., Any]:
    """Make environments by dimension once a session; tests seed them by reset."""
    kept: dict[Any, Any] = {}

    def get(dims: str, kind: str, **more: Any) -> Any:
        key = (dims, kind, *sorted(more.items()))
        if key not in kept:
            from maskgym import parallel_env

            keywords = {**KEYWORDS[dims], **more}
            name = keywords.pop("id")
            maker = {"single": gym.make, "vector": gym.make_vec, "parallel": parallel_env}[kind]
            kept[key] = maker(name, **keywords)
        return kept[key]

    return get
