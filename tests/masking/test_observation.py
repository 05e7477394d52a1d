import pytest
import torch

from maskgym.masking.observation import from_observation, to_observation


@pytest.mark.parametrize("size", [(8, 6), (4, 6, 8)], ids=str)
def test_the_way_there_and_back_is_exact_to_half_a_grey(size):
    images = torch.randn(3, 2, *size).clamp(-3.9, 3.9)
    views = to_observation(images)
    assert views.shape == (3, *size, 2)
    assert views.dtype == torch.uint8
    torch.testing.assert_close(from_observation(views), images, atol=0.5 / 32 + 1e-6, rtol=0)


def test_the_mean_is_grey_128_and_what_lies_outside_is_clipped():
    view = to_observation(torch.tensor([0.0, 1.0, -1.0, 100.0, -100.0]).reshape(1, 1, 1, 5))
    assert view.flatten().tolist() == [128, 160, 96, 255, 0]


def test_neither_way_writes_into_what_it_was_given():
    images = torch.randn(1, 1, 4, 4)
    before = images.clone()
    to_observation(images)
    assert torch.equal(images, before)
    views = torch.full((1, 4, 4, 1), 200.0)
    from_observation(views)
    assert (views == 200).all()
