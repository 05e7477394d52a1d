import numpy as np
import pytest
import torch

from maskgym.errors import BadInput
from maskgym.masking.patches import Patches

GRIDS = [((32, 32), (8, 8)), ((12, 30), (4, 5)), ((8, 12, 16), (4, 4, 4)), ((6, 8, 10), (3, 2, 5)), ((5, 7), (1, 7))]
grids = pytest.mark.parametrize(("size", "patch"), GRIDS, ids=str)


def cells(patches: Patches) -> list[tuple[slice, ...]]:
    """The pixels of each patch, row by row, the naive way."""
    return [
        tuple(slice(i * side, (i + 1) * side) for i, side in zip(cell, patches.patch, strict=True))
        for cell in np.ndindex(patches.grid)
    ]


@grids
def test_split_cuts_row_by_row_and_join_undoes_it(size, patch):
    patches = Patches(size, patch)
    images = torch.randn(2, 3, *size)
    pieces = patches.split(images)
    assert pieces.shape == (2, patches.count, 3 * int(np.prod(patch)))
    for number, cell in enumerate(cells(patches)):
        assert torch.equal(pieces[:, number], images[:, :, *cell].flatten(1))
    assert torch.equal(patches.join(pieces), images)


@grids
def test_mean_and_any_agree_with_the_naive_loop(size, patch):
    patches = Patches(size, patch)
    pixels = torch.randn(2, *size)
    mean, some = patches.mean(pixels).flatten(1), patches.any(pixels > 1.5).flatten(1)
    for number, cell in enumerate(cells(patches)):
        torch.testing.assert_close(mean[:, number], pixels[:, *cell].flatten(1).mean(1))
        assert torch.equal(some[:, number], (pixels[:, *cell] > 1.5).flatten(1).any(1))


@grids
def test_spread_fills_exactly_the_pixels_of_hidden_patches(size, patch):
    patches = Patches(size, patch)
    mask = torch.rand(3, *patches.grid) < 0.5
    spread = patches.spread(mask)
    assert spread.shape == (3, 1, *size)
    assert spread.dtype == torch.bool
    for number, cell in enumerate(cells(patches)):
        hidden = mask.flatten(1)[:, number]
        assert torch.equal(spread[:, 0, *cell].flatten(1).all(1), hidden)
        assert torch.equal(spread[:, 0, *cell].flatten(1).any(1), hidden)


@pytest.mark.parametrize(
    ("size", "patch", "said"),
    [((32, 32), (7, 8), "does not divide"), ((32, 32), (0, 8), "does not divide"), ((32,), (8,), "2 or both 3 axes"),
     ((32, 32), (8, 8, 8), "2 or both 3 axes")],
)  # fmt: skip
def test_a_grid_that_does_not_fit_is_refused(size, patch, said):
    with pytest.raises(BadInput, match=said):
        Patches(size, patch)
