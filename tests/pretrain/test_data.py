from dataclasses import replace

import numpy as np
import published
import pytest
import torch

from maskgym.data.images import Images
from maskgym.data.whole import Whole
from maskgym.errors import BadInput
from maskgym.pretrain.data import abnormal, flip, make_loader, open_split
from tests.pretrain.runs import tiny


def images(count=10, size=(8, 12)) -> Images:
    pixels = np.random.default_rng(0).normal(size=(count, 1, *size)).astype(np.float32)
    names = tuple(f"image {i}" for i in range(count))
    return Images(pixels, None, names, names, ("grey",), ())


def batches(tmp_path, count=3, **more):
    settings = tiny(tmp_path, **more)
    train = open_split(settings, "train")
    loader = make_loader(settings, train)
    return train, [loader.make(step) for step in range(count)]


def test_flips_are_told_and_taken_back(tmp_path):
    for flips, expected in (("all", (True, True)), ("last", (False, True)), ("none", (False, False))):
        train, told = batches(tmp_path, flips=flips)
        flipped = torch.cat([batch.flipped for batch in told])
        assert tuple(flipped.any(0).tolist()) == expected
        for batch in told:
            assert torch.equal(flip(batch.images, batch.flipped), train.middle(batch.which.numpy()))


def test_a_few_images_are_spread_over_the_whole_set(tmp_path):
    _, told = batches(tmp_path)
    which = torch.cat([batch.which for batch in told])
    assert len(which.unique()) == 24
    assert which.max() > 1000


def test_only_abnormal_images_are_those_with_a_label_on_them():
    labels = np.zeros((10, 8, 12), np.uint8)
    labels[[2, 7], 3, 4] = 1
    assert abnormal(Whole(replace(images(), labels=labels))) == [2, 7]
    with pytest.raises(BadInput, match="no labels"):
        abnormal(Whole(images()))


def test_crops_are_cut_from_the_native_volumes_and_not_from_resized_ones(tmp_path):
    data = f"msd:{published.msd(tmp_path / 'set', cases=8)}?body=0"
    train, told = batches(tmp_path / "run", 1, data=data, crop="4x4x4", patch_size="2", flips="none", batch=2, images=0)
    volumes = [train.source.view.whole(case).load(case) for case in train.source.cases]
    for image, number in zip(told[0].images.numpy(), told[0].which.tolist(), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(volumes[number][0], (4, 4, 4))
        assert (np.abs(windows - image[0]).max((3, 4, 5)) < 1e-6).any()


def test_a_batch_larger_than_the_split_is_refused(tmp_path):
    with pytest.raises(BadInput, match="more than the 4 images"):
        batches(tmp_path, images=4, batch=8)
