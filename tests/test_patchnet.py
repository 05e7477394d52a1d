import pytest
import torch

from maskgym.masking.patches import Patches
from maskgym.patchnet import FoldedPatchNet, PatchNet, ResidualPatchNet

GRIDS = [
    ((64, 64), (8, 8)),
    ((48, 24), (6, 3)),
    ((30, 30), (5, 5)),
    ((16, 16), (1, 1)),
    ((64, 64), (32, 32)),
    ((24, 16), (12, 4)),
    ((32, 32, 32), (8, 8, 8)),
    ((6, 16, 16), (1, 8, 4)),
    ((9, 16, 12), (3, 4, 12)),
]


@pytest.mark.parametrize("kind", [PatchNet, FoldedPatchNet])
@pytest.mark.parametrize(("size", "patch"), GRIDS, ids=str)
def test_every_patch_gets_one_feature_vector(size, patch, kind):
    patches = Patches(size, patch)
    net = kind(2, patches, width=12)
    assert net(torch.randn(3, 2, *size)).shape == (3, 12, *patches.grid)


@pytest.mark.parametrize("kind", [PatchNet, FoldedPatchNet])
@pytest.mark.parametrize(("size", "patch"), GRIDS, ids=str)
def test_the_feature_of_a_patch_depends_on_every_pixel_of_it(size, patch, kind):
    torch.manual_seed(0)
    patches = Patches(size, patch)
    net = kind(1, patches, width=16, dilations=())
    images = torch.randn(1, 1, *size, requires_grad=True)
    middle = tuple(cells // 2 for cells in patches.grid)
    net(images)[0, :, *middle].sum().backward()
    assert patches.mean((images.grad[0] != 0).float())[0, *middle] == 1


def test_dilated_convolutions_let_a_patch_see_eight_patches_far():
    patches = Patches((80, 80), (4, 4))
    net = PatchNet(1, patches, width=8)
    images = torch.randn(1, 1, 80, 80, requires_grad=True)
    net(images)[0, :, 10, 10].sum().backward()
    seen = patches.mean(images.grad[0].abs())[0] > 0
    assert seen[2, 10] or seen[18, 10]
    assert not seen[0].any()


def test_activations_keep_their_scale_without_any_norm():
    torch.manual_seed(0)
    net = PatchNet(1, Patches((64, 64), (8, 8)))
    assert 0.08 < net(torch.randn(16, 1, 64, 64)).square().mean() < 0.4
    assert not any("Norm" in type(module).__name__ for module in net.modules())


def test_an_image_is_seen_the_same_alone_and_in_a_batch_acting_and_learning():
    net = PatchNet(1, Patches((32, 32), (8, 8)), width=8)
    images = torch.randn(5, 1, 32, 32)
    whole = net.train()(images)
    torch.testing.assert_close(net.eval()(images[2:3])[0], whole[2])


@pytest.mark.parametrize("dims", [2, 3])
def test_every_step_of_the_residual_trunk_adds_to_what_it_was_given(dims):
    torch.manual_seed(0)
    patches = Patches((16,) * dims, (4,) * dims)
    net = ResidualPatchNet(2, patches, width=12)
    images = torch.randn(3, 2, *patches.size)
    with torch.no_grad():
        kept = net.stem(images)
        assert net(images).shape == (3, 12, *patches.grid)
        assert not torch.equal(net(images), kept)
        for step in net.steps:
            step[-1].weight.zero_()
            step[-1].bias.zero_()
        torch.testing.assert_close(net(images), kept)


def test_the_folded_trunk_keeps_where_things_are_and_adds_every_step_to_what_it_was_given():
    torch.manual_seed(0)
    patches = Patches((24, 16), (8, 8))
    net = FoldedPatchNet(1, patches, width=16, fine=0, dilations=())
    images = torch.zeros(1, 1, 24, 16)
    images[0, 0, 19, 3] = 5.0  # in the patch of the third row, first column
    with torch.no_grad():
        told = net.stem(net.blocks.split(images).transpose(1, 2).unflatten(2, net.blocks.grid))[0]
        empty = net.stem(torch.zeros(1, 16, *net.blocks.grid))[0]
        assert ((told - empty).abs().amax(0) > 0).nonzero().amin(0).tolist() == [3, 0]  # its block and those around it
        net = FoldedPatchNet(1, patches, width=16, fine=1, dilations=(1, 2))
        kept = net(images)
        for step in (*net.fine, *net.steps):
            step[-1].weight.zero_()
            step[-1].bias.zero_()
            assert not torch.equal(net(images), kept)
            kept = net(images)
        features = net.down(net.stem(net.blocks.split(images).transpose(1, 2).unflatten(2, net.blocks.grid)))
        torch.testing.assert_close(kept, net.last(features))


@pytest.mark.parametrize("kind", [FoldedPatchNet, ResidualPatchNet])
def test_the_residual_trunks_see_an_image_the_same_alone_and_in_a_batch(kind):
    net = kind(1, Patches((32, 32), (8, 8)), width=8)
    images = torch.randn(5, 1, 32, 32)
    torch.testing.assert_close(net.eval()(images[2:3])[0], net.train()(images)[2], rtol=1e-4, atol=1e-5)
