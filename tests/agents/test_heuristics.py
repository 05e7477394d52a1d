import pytest
import torch

from maskgym.agent import GameSpec
from maskgym.errors import BadInput
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


@pytest.mark.parametrize("size", [(64, 64), (32, 32, 32)])
def test_smooth_hides_neighbours_together_the_more_the_wider_its_field_and_every_patch_as_often(size) -> None:
    patches = Patches(size, (8,) * len(size))
    images = torch.zeros(400, 1, *size)

    def masks(name: str, **settings: float) -> torch.Tensor:
        agent = make_agent(name, game_spec=GameSpec(patches, ratio=0.5), **settings)
        mask = agent.to_mask(agent.score(images))
        assert mask.sum(1).tolist() == [patches.count // 2] * 400
        return mask.view(400, *patches.grid)

    def agreement(mask: torch.Tensor) -> float:
        """How often a patch and its neighbour are alike."""
        return 1 - float(torch.stack([mask.float().diff(dim=i).abs().mean() for i in range(1, mask.dim())]).mean())

    by_scale = [agreement(masks("smooth", scale=scale)) for scale in (0.1, 0.5, 1.0, 2.0)]
    chance = agreement(masks("random"))
    assert by_scale == sorted(by_scale)
    assert by_scale[0] == pytest.approx(chance, abs=0.02)
    assert by_scale[2] > chance + 0.2
    often = masks("smooth").float().mean(0)
    assert float((often - 0.5).abs().max()) < 0.1


def test_smooth_refuses_a_field_of_no_width() -> None:
    for scale in (0.0, -1.0, 9.0, float("nan")):
        with pytest.raises(BadInput, match="scale"):
            make_agent("smooth", game_spec=FLAT, scale=scale)
