from dataclasses import replace

import numpy as np
import pytest
import torch

from maskgym.data.source import Images
from maskgym.errors import BadInput
from maskgym.pretrain.data import Feed, choose, flip


def images(count=10, size=(8, 12)) -> Images:
    pixels = np.random.default_rng(0).normal(size=(count, 1, *size)).astype(np.float32)
    names = tuple(f"image {i}" for i in range(count))
    return Images(pixels, None, names, names, ("grey",), ())


def test_an_epoch_shows_every_image_once_in_a_new_order():
    feed = Feed(images(), 5, (8, 12))
    epochs = [torch.cat([feed.make(step).which for step in steps]).tolist() for steps in ((0, 1), (2, 3))]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]


def test_a_step_has_the_same_batch_whenever_it_is_made():
    first, second = (Feed(images(), 3, (4, 8), seed=3) for _ in range(2))
    whole = [first.make(step) for step in range(9)]
    for step in (8, 5):
        for a, b in zip(whole[step], second.make(step), strict=True):
            assert torch.equal(a, b)


def test_a_few_images_are_drawn_over_the_whole_set_and_lie_within_more():
    split = images(100)
    few, more = choose(split, 10), choose(split, 40)
    assert (len(few), len(more)) == (10, 40)
    assert set(few) < set(more)
    assert few.max() > 60
    assert np.array_equal(choose(split), np.arange(100))
    feed = Feed(split, 5, (8, 12), rows=few)
    assert sorted(torch.cat([feed.make(0).which, feed.make(1).which]).tolist()) == few.tolist()


def test_only_abnormal_images_are_those_with_a_label_on_them():
    labels = np.zeros((10, 8, 12), np.uint8)
    labels[[2, 7], 3, 4] = 1
    assert choose(replace(images(), labels=labels), abnormal=True).tolist() == [2, 7]
    with pytest.raises(BadInput, match="no labels"):
        choose(images(), abnormal=True)


def test_flips_are_told_and_taken_back():
    split = images(64)
    batch = Feed(split, 64, (8, 12)).make(0)
    assert {tuple(row) for row in batch.flipped.tolist()} == {(a, b) for a in (False, True) for b in (False, True)}
    assert torch.equal(flip(batch.images, batch.flipped), torch.from_numpy(split.images[batch.which]))
    sideways = Feed(split, 64, (8, 12), flips="last").make(0)
    assert not sideways.flipped[:, 0].any()
    assert set(sideways.flipped[:, 1].tolist()) == {False, True}
    still = Feed(split, 64, (8, 12), flips="none").make(0)
    assert not still.flipped.any()


def test_crops_are_parts_of_their_images():
    split = images(4)
    batch = Feed(split, 4, (3, 5), flips="none").make(0)
    assert batch.images.shape == (4, 1, 3, 5)
    for crop, which in zip(batch.images.numpy(), batch.which.tolist(), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(split.images[which, 0], (3, 5))
        assert (windows == crop[0]).all((2, 3)).any()


def test_a_batch_larger_than_the_split_is_refused():
    with pytest.raises(BadInput, match="more than the 4 images"):
        Feed(images(), 5, (8, 12), rows=np.arange(4))
