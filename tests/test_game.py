import numpy as np
import pytest
import torch
from torch import nn

from maskgym.errors import BadInput
from maskgym.game import Game
from maskgym.masking import rng
from maskgym.masking.patches import Patches
from maskgym.networks.unet import UNet

GRIDS = [((32, 48), (8, 8)), ((16, 16, 32), (8, 8, 16))]
grids = pytest.mark.parametrize(("size", "patch"), GRIDS, ids=["2D", "3D"])


class Shift(nn.Module):
    """Adds what it has learned; keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(0.3))

    def forward(self, images, mask):
        self.shown = images
        return images + self.by


def round_of(size, patch, channels=1, count=6):
    torch.manual_seed(0)
    patches = Patches(size, patch)
    images = torch.randn(count, channels, *size)
    return patches, images, torch.rand(count, patches.count), rng.keys(torch.arange(count), patches.count)


@grids
@torch.no_grad()
def test_the_patch_loss_is_the_mean_squared_error_of_a_naive_double_loop(size, patch):
    patches, images, scores, keys = round_of(size, patch, channels=3)
    game = Game(Shift(), patches, 0.5)
    outcome = game.play(images, scores, keys)
    rebuilt = game.rebuild(images, outcome.mask)
    cells = list(np.ndindex(patches.grid))
    for image in range(len(images)):
        losses = []
        for cell in cells:
            own = tuple(slice(i * side, (i + 1) * side) for i, side in zip(cell, patch, strict=True))
            error = images[image, :, *own] - rebuilt[image, :, *own]
            losses.append(float((error**2).sum() / error.numel()))
            assert float(outcome.patch_loss[image][cell]) == pytest.approx(losses[-1], rel=1e-4)
        assert float(outcome.reward[image]) == pytest.approx(np.mean(losses), rel=1e-4)


@grids
def test_hidden_pixels_are_filled_with_the_mean_of_their_own_image_and_channel(size, patch):
    patches, images, scores, keys = round_of(size, patch, channels=2)
    network = Shift()
    outcome = Game(network, patches, 0.5).play(images, scores, keys)
    hidden = patches.spread(outcome.mask).expand_as(images)
    means = images.mean(tuple(range(2, images.dim())), keepdim=True).expand_as(images)
    torch.testing.assert_close(network.shown[hidden], means[hidden])
    assert torch.equal(network.shown[~hidden], images[~hidden])


@grids
@pytest.mark.parametrize("hint_share", [0.0, 0.5, 1.0])
def test_exactly_the_budget_is_hidden(size, patch, hint_share):
    patches, images, scores, keys = round_of(size, patch)
    for ratio in (0.25, 0.5, 0.75):
        outcome = Game(Shift(), patches, ratio, hint_share).play(images, scores > 0.9, keys)
        assert outcome.mask.shape == (6, *patches.grid)
        assert (outcome.mask.flatten(1).sum(1) == int(ratio * patches.count)).all()


@grids
def test_an_image_earns_the_same_alone_in_a_batch_and_in_pieces(size, patch):
    patches, images, scores, keys = round_of(size, patch)
    network = UNet(1, len(size), (8, 12), 2).eval()
    with torch.no_grad():
        game = Game(network, patches)
        whole = game.play(images, scores, keys)
        rebuilt = game.rebuild(images, whole.mask)
        for piece in (1, 4, 6, 64):
            game = Game(network, patches, piece=piece)
            parts = game.play(images, scores, keys)
            assert torch.equal(parts.mask, whole.mask)
            torch.testing.assert_close(parts.patch_loss, whole.patch_loss, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(game.rebuild(images, parts.mask), rebuilt, atol=1e-5, rtol=1e-5)
        for i in range(len(images)):
            alone = Game(network, patches).play(images[i : i + 1], scores[i : i + 1], keys[i : i + 1])
            torch.testing.assert_close(alone.reward[0], whole.reward[i], atol=1e-6, rtol=1e-5)


@grids
def test_a_learning_network_gets_gradients(size, patch):
    patches, images, scores, keys = round_of(size, patch)
    network = UNet(1, len(size), (8, 12), 2).train()
    Game(network, patches, piece=4).play(images, scores, keys).reward.mean().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().max() > 0 for gradient in gradients)


@grids
def test_half_precision_plays_the_same_game(size, patch):
    patches, images, scores, keys = round_of(size, patch)
    game = Game(UNet(1, len(size), (8, 12), 2).eval(), patches)
    with torch.no_grad():
        full = game.play(images, scores, keys)
        with torch.autocast("cpu", torch.bfloat16):
            half = game.play(images, scores, keys)
    assert half.patch_loss.dtype == half.reward.dtype == torch.float32
    assert torch.equal(half.mask, full.mask)
    torch.testing.assert_close(half.patch_loss, full.patch_loss, atol=0.05, rtol=0.05)


def test_a_compiled_game_is_the_same_game():
    patches, images, scores, keys = round_of((32, 48), (8, 8))
    game = Game(UNet(1, 2, (8, 12), 2).eval(), patches)
    with torch.no_grad():
        plain = game.play(images, scores, keys)
        compiled = torch.compile(game.play, backend="eager", fullgraph=True)(images, scores, keys)
    assert torch.equal(compiled.mask, plain.mask)
    torch.testing.assert_close(compiled.patch_loss, plain.patch_loss)


def test_a_requested_mask_and_the_score_that_means_it_play_the_same_round():
    patches, _, scores, keys = round_of((32, 48), (8, 8))
    game = Game(Shift(), patches)
    asked = scores > 0.5
    assert torch.equal(game.select(asked, keys), game.select(asked.float(), keys))
    assert torch.equal(game.select(asked.view(-1, *patches.grid), keys), game.select(asked, keys))


@grids
@torch.no_grad()
def test_many_masks_of_each_image_are_evaluated_in_one_call(size, patch):
    patches, images, _, _ = round_of(size, patch)
    masks = torch.rand(len(images), 5, patches.count) < 0.5
    network = UNet(1, len(size), (8, 12), 2).eval()
    many = Game(network, patches, piece=4).evaluate(images, masks)
    assert many.mask.shape == many.patch_reward.shape == (6, 5, *patches.grid)
    for number in range(5):
        once = Game(network, patches).evaluate(images, masks[:, number].view(-1, *patches.grid))
        for together, alone in zip(many, once, strict=True):
            torch.testing.assert_close(together[:, number], alone, atol=1e-5, rtol=1e-5)


@grids
def test_a_relaxed_mask_is_the_mask_at_zero_and_one_and_has_a_gradient_in_between(size, patch):
    patches, images, scores, keys = round_of(size, patch)
    game = Game(UNet(1, len(size), (8, 12), 2).eval().requires_grad_(False), patches, piece=4)
    hard = game.play(images, scores, keys)
    mask = hard.mask.flatten(1).float()
    torch.testing.assert_close(game.soft_patch_reward(images, mask), hard.patch_reward, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(game.soft_reward(images, mask), hard.reward, atol=1e-6, rtol=1e-5)
    both = torch.stack([mask, 1 - mask], 1)
    torch.testing.assert_close(game.soft_reward(images, both)[:, 0], hard.reward, atol=1e-6, rtol=1e-5)
    relaxed = (0.1 + 0.8 * scores).requires_grad_()
    (slope,) = torch.autograd.grad(game.soft_reward(images, relaxed).sum(), relaxed)
    step = torch.zeros_like(relaxed)
    step[:, 3] = 1e-2
    with torch.no_grad():
        rise = (game.soft_reward(images, relaxed + step) - game.soft_reward(images, relaxed - step)) / 2e-2
    torch.testing.assert_close(rise, slope[:, 3], atol=1e-4, rtol=0.1)


def test_a_network_that_drops_hidden_patches_has_no_relaxed_reward():
    patches, images, scores, _ = round_of((32, 48), (8, 8))
    with pytest.raises(BadInput, match="Shift has no gradients for masks, it drops hidden patches: take a UNet"):
        Game(Shift(), patches).soft_reward(images, scores)


def test_masks_of_another_shape_are_refused():
    patches, images, _, _ = round_of((32, 48), (8, 8))
    with pytest.raises(BadInput, match=r"masks of shape \(6, 4\) do not fit: give \(B, 4, 6\) or \(B, M, 24\)"):
        Game(Shift(), patches).evaluate(images, torch.zeros(6, 4, dtype=torch.bool))


@pytest.mark.parametrize("hint_share", [-0.1, 1.1, float("nan")])
def test_a_hint_share_outside_its_range_is_refused(hint_share):
    with pytest.raises(BadInput, match=f"hint_share {hint_share} is outside"):
        Game(Shift(), Patches((16, 16), (8, 8)), hint_share=hint_share)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@grids
def test_a_gpu_plays_the_same_game(size, patch):
    patches, images, scores, keys = round_of(size, patch)
    network = UNet(1, len(size), (8, 12), 2).eval()
    with torch.no_grad():
        here = Game(network, patches).play(images, scores, keys)
        there = Game(network.cuda(), patches).play(images.cuda(), scores.cuda(), keys.cuda())
    assert torch.equal(there.mask.cpu(), here.mask)
    torch.testing.assert_close(there.patch_loss.cpu(), here.patch_loss, atol=1e-2, rtol=1e-2)
