import numpy as np
import pytest
import torch

from maskgym.data.source import Images
from maskgym.errors import BadInput
from maskgym.pretrain.data import Feed, flip


def images(count=10, size=(8, 12)) -> Images:
    pixels = np.random.default_rng(0).normal(size=(count, 1, *size)).astype(np.float32)
    names = tuple(f"image {i}" for i in range(count))
    return Images(pixels, None, names, names, ("grey",), ())


def test_an_epoch_shows_every_image_once_in_a_new_order():
    feed = Feed(images(), 5, (8, 12))
    epochs = [torch.cat([feed.make(step).which for step in steps]).tolist() for steps in ((0, 1), (2, 3))]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("workers", [0, 3])
def test_a_feed_that_begins_later_gives_the_same_batches(workers):
    feed = Feed(images(), 3, (4, 8), workers=workers, seed=3)
    whole = list(feed.batches(0, 9))
    late = list(feed.batches(5, 9))
    assert len(whole) == 9
    for a, b in zip(whole[5:], late, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_flips_are_told_and_taken_back():
    split = images(64)
    batch = Feed(split, 64, (8, 12)).make(0)
    assert {tuple(row) for row in batch.flipped.tolist()} == {(a, b) for a in (False, True) for b in (False, True)}
    assert torch.equal(flip(batch.images, batch.flipped), torch.from_numpy(split.images[batch.which]))
    still = Feed(split, 64, (8, 12), flips=False).make(0)
    assert not still.flipped.any()


def test_crops_are_parts_of_their_images():
    split = images(4)
    batch = Feed(split, 4, (3, 5), flips=False).make(0)
    assert batch.images.shape == (4, 1, 3, 5)
    for crop, which in zip(batch.images.numpy(), batch.which.tolist(), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(split.images[which, 0], (3, 5))
        assert (windows == crop[0]).all((2, 3)).any()


def test_a_batch_larger_than_the_split_is_refused():
    with pytest.raises(BadInput, match="more than the 4 images"):
        Feed(images(), 5, (8, 12), count=4)
