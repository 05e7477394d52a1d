import pytest
import torch
from torch.nn import functional as F

from maskgym.networks.stunet import STUNetSegmenter, VisibleNorm, _at_every_stage
from tests.networks.small import GRIDS, disturbed, shown, small

BOTH = pytest.mark.parametrize("dims", [2, 3])


def norm() -> VisibleNorm:
    torch.manual_seed(0)
    layer = VisibleNorm(3)
    layer.weight.data.normal_()
    layer.bias.data.normal_()
    return layer


@BOTH
def test_the_masked_norm_is_torchs_instance_norm_of_each_samples_visible_voxels(dims):
    layer, patches = norm(), GRIDS[dims]
    _, mask = shown(dims)
    mask[1, 0] = True  # the two hide differently many
    x = 5 + 2 * torch.randn(2, 3, *patches.size)
    visible = (~patches.spread(mask)).float()
    normed = layer(x, visible)
    for i in range(2):
        seen = visible[i, 0].bool()
        expected = F.instance_norm(x[i : i + 1, :, seen], weight=layer.weight, bias=layer.bias)
        assert torch.allclose(normed[i][:, seen], expected[0], atol=1e-5)
        assert (normed[i][:, ~seen] == 0).all()


def test_without_a_mask_it_is_instance_norm():
    layer, x = norm(), torch.randn(2, 3, 8, 8)
    expected = F.instance_norm(x, weight=layer.weight, bias=layer.bias)
    assert torch.equal(layer(x), expected)
    assert torch.allclose(layer(x, torch.ones(2, 1, 8, 8)), expected, atol=1e-5)


def test_a_sample_with_nothing_to_see_gives_zeros_and_no_nan():
    layer, x = norm(), torch.randn(1, 3, 4, 4, requires_grad=True)
    answer = layer(x, torch.zeros(1, 1, 4, 4))
    assert (answer == 0).all()
    answer.sum().backward()
    assert (x.grad == 0).all()


@BOTH
def test_hidden_voxels_do_not_leak_and_features_are_zero_where_hidden(dims):
    student, (images, mask) = small("stunet-s", dims), shown(dims)
    others = disturbed(images, mask, dims)
    assert torch.equal(student(images, mask), student(others, mask))
    visible = _at_every_stage(mask, tuple(images.shape[2:]), 3, images.dtype)
    features = student.encoder(images, visible)
    assert [one.shape[1] for one in features] == [4, 6, 8]
    for one, seen in zip(features, visible, strict=True):
        assert (one * (1 - seen) == 0).all()
        assert one.abs().sum() > 0


@BOTH
def test_samples_do_not_mix(dims):
    """What is in one sample changes nothing in another."""
    student, (images, mask) = small("stunet-s", dims), shown(dims)
    before = student(images, mask)
    images[1] = 100 * torch.randn_like(images[1])
    after = student(images, mask)
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1], atol=1e-2)


@BOTH
def test_with_everything_visible_the_encoder_is_the_dense_one(dims):
    student, (images, mask) = small("stunet-s", dims), shown(dims)
    segmenter = STUNetSegmenter(2, 3, dims, (4, 6, 8))
    segmenter.encoder.load_state_dict(student.encoder.state_dict())
    size = tuple(images.shape[2:])
    sparse = student.encoder(images, _at_every_stage(torch.zeros_like(mask), size, 3, images.dtype))
    dense = segmenter.encoder(images)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(sparse, dense, strict=True))
    assert segmenter(images).shape == (2, 3, *size)


def test_the_mask_of_every_stage_is_the_mask():
    patches, (_, mask) = GRIDS[2], shown()
    stages = _at_every_stage(mask, patches.size, 4, torch.float32)
    assert [tuple(one.shape[2:]) for one in stages] == [(32, 48), (16, 24), (8, 12), (4, 6)]
    assert torch.equal(stages[0].bool(), ~patches.spread(mask))
    assert torch.equal(stages[3].bool()[:, 0], ~mask)
    assert torch.equal(stages[1], F.max_pool2d(stages[0], 2))


def test_hidden_places_are_filled_with_a_learned_token_at_every_scale():
    student, (images, mask) = small("stunet-s"), shown()
    student(images, mask).square().mean().backward()
    assert len(student.hidden) == 3
    assert all(token.grad.abs().sum() > 0 for token in student.hidden)
    for token in student.hidden:
        before = student(images, mask)
        token.data += 1
        assert not torch.allclose(student(images, mask), before, atol=1e-3)


def test_bf16_norms_in_full_precision():
    """A mean over many voxels would be lost in eight bits."""
    layer = norm()
    x = 100 + torch.randn(1, 3, 64, 64)
    visible = torch.ones(1, 1, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        answer = layer(x.bfloat16(), visible)
    assert torch.allclose(answer, layer(x.bfloat16().float(), visible), atol=1e-4)
