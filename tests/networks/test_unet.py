import pytest
import torch

from maskgym.networks.unet import UNet

SHAPES = [((32, 32), (4, 4), 1, 4), ((24, 40), (3, 5), 3, 2), ((16, 16, 16), (2, 2, 2), 2, 2), ((20, 36), (5, 9), 1, 1)]


@pytest.mark.parametrize(("size", "grid", "channels", "fold"), SHAPES, ids=str)
def test_images_come_out_as_they_went_in(size, grid, channels, fold):
    network = UNet(channels, len(size), (6, 8, 10), fold).eval()
    images, mask = torch.randn(2, channels, *size), torch.rand(2, *grid) < 0.5
    assert network(images, mask).shape == images.shape


def test_the_output_depends_on_the_mask_and_not_only_on_the_pixels():
    torch.manual_seed(0)
    network = UNet(1, 2, (6, 8), 2).eval()
    images = torch.zeros(1, 1, 16, 16)
    nothing, all_hidden = torch.zeros(1, 2, 2, dtype=torch.bool), torch.ones(1, 2, 2, dtype=torch.bool)
    assert not torch.allclose(network(images, nothing), network(images, all_hidden))


def test_folding_only_moves_pixels():
    network = UNet(2, 2, (6, 8), 4).eval()
    torch.nn.init.zeros_(network.head.weight)
    torch.nn.init.zeros_(network.head.bias)
    images = torch.randn(2, 2, 16, 32)
    assert torch.equal(network(images, torch.zeros(2, 2, 4, dtype=torch.bool)), images)
    from maskgym.networks.unet import _folded, _unfolded

    for shape in ((2, 3, 8, 12), (2, 3, 8, 12, 4)):
        x = torch.randn(shape)
        assert torch.equal(_unfolded(_folded(x, 4), 4), x)
        assert _folded(x, 2).shape == (2, 3 * 2 ** (x.dim() - 2), *(side // 2 for side in shape[2:]))


def test_it_learns_to_fill_in_a_constant_image():
    torch.manual_seed(0)
    network = UNet(1, 2, (8, 12), 2)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        images = torch.randn(16, 1, 1, 1).expand(16, 1, 16, 16)
        mask = torch.rand(16, 4, 4) < 0.5
        seen = torch.where(mask.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None], 0, images)
        loss = (network(seen, mask) - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.3 * sum(losses[:3]) / 3 * 10
