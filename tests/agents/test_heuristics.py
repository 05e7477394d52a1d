import pytest
import torch

from maskgym.agent import GameSpec
from maskgym.masking.patches import Patches
from maskgym.registry import make_agent

FLAT = GameSpec(Patches((32, 32), (8, 8)), ratio=0.25)


def scores(name: str, image: torch.Tensor, **settings: int) -> torch.Tensor:
    return make_agent(name, game_spec=FLAT, **settings).score(image)[0]


def test_random_hides_every_patch_equally_often() -> None:
    agent = make_agent("random", game_spec=FLAT)
    often = agent.to_mask(agent.score(torch.zeros(4000, 1, 32, 32))).float().mean(0)
    assert often.tolist() == pytest.approx([0.25] * 16, abs=0.03)


def test_variance_intensity_and_gradient_find_what_they_are_named_for() -> None:
    image = torch.zeros(1, 1, 32, 32)
    image[0, 0, 0:8, 8:16] = 2.0  # bright and flat, with edges
    image[0, 0, 16:24, 16:24] = torch.eye(8) * 2 - 0.25  # busy
    assert scores("intensity", image).argmax() == 1
    assert scores("variance", image).argmax() == 10
    assert scores("gradient", image).argmax() == 10
    assert scores("gradient", image)[3, 0] == 0


def test_center_hides_the_middle() -> None:
    agent = make_agent("center", game_spec=FLAT)
    mask = agent.to_mask(agent.score(torch.zeros(1, 1, 32, 32))).view(4, 4)
    assert bool(mask[1:3, 1:3].all())


def test_block_hides_neighbours() -> None:
    game_spec = GameSpec(Patches((128, 128), (8, 8)), ratio=0.25)
    images = torch.zeros(20, 1, 128, 128)

    def edges(name: str) -> float:
        agent = make_agent(name, game_spec=game_spec)
        mask = agent.to_mask(agent.score(images)).view(20, 16, 16).float()
        return float(mask.diff(dim=1).abs().mean() + mask.diff(dim=2).abs().mean())

    assert edges("block") < 0.5 * edges("random")
