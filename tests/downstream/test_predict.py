import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskgym.downstream.predict import segment


class Threshold(nn.Module):
    """Says class 1 where a pixel is above zero; remembers the sizes it was shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape))
        assert not self.training
        return torch.cat([-images[:, :1], images[:, :1]], 1)


@pytest.mark.parametrize("size", [(24, 32), (12, 16, 20)])
def test_windows_that_slide_give_what_the_whole_image_gives(size):
    images = np.random.default_rng(0).standard_normal((3, 1, *size)).astype(np.float32)
    whole, sliding = Threshold(), Threshold()
    expected = (images[:, 0] > 0).astype(np.uint8)
    assert np.array_equal(segment(whole, images, batch=2), expected)
    assert np.array_equal(segment(sliding, images, window=(8,) * len(size), batch=2), expected)
    assert [shape[0] for shape in whole.seen] == [2, 1]
    assert {shape[2:] for shape in sliding.seen} == {(8,) * len(size)}


def test_the_network_is_left_as_it_was():
    network = Threshold().train()
    segment(network, np.zeros((1, 1, 8, 8), np.float32))
    assert network.training
