import pytest
import torch
from torch import nn

from maskgym.masking.layout import channels_last
from maskgym.networks.frozen import best_piece, freeze
from maskgym.networks.unet import UNet


def lived_in(dims: int) -> UNet:
    """A network whose norms have statistics of their own."""
    torch.manual_seed(0)
    network = UNet(1, dims, (8, 12, 16), 2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_()
    return network


@pytest.mark.parametrize("dims", [2, 3])
def test_a_frozen_network_gives_the_same_answer_to_1e_5_of_its_scale(dims):
    network = lived_in(dims).eval()
    images, mask = torch.randn(3, 1, *(16,) * dims), torch.rand(3, *(4,) * dims) < 0.5
    with torch.no_grad():
        answer, frozen = network(images, mask), freeze(network)(channels_last(images), mask)
    assert (answer - frozen).abs().max() < 1e-5 * answer.abs().max()


@pytest.mark.parametrize("dims", [2, 3])
def test_no_norm_is_left_and_nothing_can_learn(dims):
    frozen = freeze(lived_in(dims))
    assert not frozen.training
    assert not any(isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) for module in frozen.modules())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_freezing_leaves_the_original_as_it_was():
    network = lived_in(2).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    freeze(network)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_best_piece_is_the_one_with_the_least_time_for_an_image(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("maskgym.networks.frozen.time.perf_counter", lambda: clock[0])

    def forward(piece: int) -> None:
        clock[0] += 1 + piece * (1 if piece <= 16 else 3)

    assert best_piece(forward) == 16
