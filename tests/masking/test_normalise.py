import torch

from maskgym.masking.patches import Patches


def test_normalised_patches_have_mean_zero_and_variance_one_over_pixels_and_channels():
    patches = Patches((8, 12, 8), (4, 4, 4))
    images = 5 + 3 * torch.randn(2, 2, 8, 12, 8)
    pieces = patches.split(patches.normalise(images))
    assert torch.allclose(pieces.mean(-1), torch.zeros(2, patches.count), atol=1e-5)
    assert torch.allclose(pieces.var(-1, unbiased=False), torch.ones(2, patches.count), atol=1e-4)


def test_a_flat_patch_is_normalised_to_zero_and_not_to_nan():
    patches = Patches((4, 4), (2, 2))
    assert torch.equal(patches.normalise(torch.full((1, 1, 4, 4), 7.0)), torch.zeros(1, 1, 4, 4))
