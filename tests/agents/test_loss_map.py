import pytest
import torch
from torch import Tensor, nn

from maskgym.agent import GameSpec
from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking.patches import Patches
from maskgym.meter import Meter
from maskgym.networks.store import save
from maskgym.networks.unet import UNet
from maskgym.registry import make_agent

PATCHES = Patches((32, 32), (8, 8))
SPEC = GameSpec(PATCHES, ratio=0.5)


class Nothing(nn.Module):
    """Rebuilds nothing: hidden patches keep the image's mean."""

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        return images


def test_the_score_is_the_mean_loss_of_the_masks_that_hid_the_patch() -> None:
    images = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    agent = make_agent("loss-map", game_spec=SPEC, masks=64)
    agent.attach(Nothing())
    centred = images - images.mean((2, 3), keepdim=True)
    torch.testing.assert_close(agent.score(images), PATCHES.mean(centred[:, 0].square()), rtol=1e-4, atol=1e-5)


def test_pieces_do_not_change_the_score() -> None:
    torch.manual_seed(0)
    network, images = UNet(widths=(8, 8)).eval(), torch.randn(5, 1, 32, 32)
    scores = []
    for piece in (0, 1, 3, 100):
        agent = make_agent("loss-map", game_spec=SPEC, masks=4, piece=piece)
        agent.attach(network)
        scores.append(agent.score(images))
    for other in scores[1:]:
        torch.testing.assert_close(other, scores[0], rtol=1e-4, atol=1e-5)


def test_one_mask_gives_the_patches_it_left_out_the_mean_of_the_others() -> None:
    agent = make_agent("loss-map", game_spec=SPEC, masks=1)
    agent.attach(Nothing())
    scores = agent.score(torch.randn(1, 1, 32, 32)).flatten()
    seen, times = scores.unique(return_counts=True)
    assert times.max() == 16 - SPEC.budget
    assert seen[times.argmax()].item() == pytest.approx(seen[times == 1].mean().item(), rel=1e-4)


def test_it_pays_more_than_random() -> None:
    torch.manual_seed(0)
    network = UNet(widths=(8, 8)).eval()
    images = torch.randn(32, 1, 32, 32) * torch.rand(32, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3) * 3
    reward = {}
    for name in ("random", "loss-map"):
        agent = make_agent(name, game_spec=SPEC)
        agent.attach(network)
        mask = agent.to_mask(agent.score(images)).view(-1, 4, 4)
        with torch.no_grad():
            reward[name] = float(Game(network, PATCHES, 0.5).evaluate(images, mask).reward.mean())
    assert reward["loss-map"] > reward["random"]


def test_without_a_network_it_says_how_to_get_one() -> None:
    with pytest.raises(BadInput, match="needs a reconstructor: make it with an environment, or call attach"):
        make_agent("loss-map", game_spec=SPEC).score(torch.zeros(1, 1, 32, 32))


def test_no_masks_are_refused() -> None:
    with pytest.raises(BadInput, match="masks=0"):
        make_agent("loss-map?masks=0", game_spec=SPEC)


def test_it_asks_the_frozen_networks_it_names_in_pre_training_and_in_an_environment_and_is_metered(tmp_path) -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 1, 32, 32)
    networks = [UNet(widths=(8, 8)).eval() for _ in range(2)]
    for name, network in zip(("early", "late"), networks, strict=True):
        save(network, tmp_path / f"{name}.safetensors", {})
    named = {"network": str(tmp_path / "early.safetensors"), "reference": str(tmp_path / "late.safetensors")}
    agent = make_agent("loss-map", game_spec=SPEC, masks=4, reward="reducible", **named)
    agent.attach(Nothing())
    told = agent.score(images)
    asked = make_agent("loss-map", game_spec=SPEC, masks=4)
    asked.lend(Game(networks[0], PATCHES, 0.5, reward="reducible", reference=networks[1]))
    torch.testing.assert_close(told, asked.score(images), rtol=1e-3, atol=1e-4)
    assert not [key for key in agent.state_dict() if key != "drawn"], "they are not saved as its own"
    meter = Meter()
    agent.lend(Game(Nothing(), PATCHES, 0.5).metered(meter))
    agent.drawn.zero_()
    torch.testing.assert_close(agent.score(images), told)
    assert meter.total == 2 * 4 * len(images), "both networks under four masks"
    with pytest.raises(BadInput, match="name the first by network="):
        make_agent("loss-map", game_spec=SPEC, reward="relative")
