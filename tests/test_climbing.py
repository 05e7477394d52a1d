import pytest
import torch
from torch import nn

from maskgym.climbing import climb, credit, far_apart
from maskgym.game import Game
from maskgym.masking.patches import Patches

PATCHES = Patches((24, 24), (4, 4))


def of(count: int = 8) -> tuple[Game, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    worth = torch.rand(count, PATCHES.count)
    images = PATCHES.spread(worth.view(-1, *PATCHES.grid)) * (-1) ** torch.arange(24)  # mean 0: the fill says nothing
    return Game(Additive(worth), PATCHES, 0.5), images, worth


class Additive(nn.Module):
    """Each hidden patch costs what it is worth, whatever else is hidden."""

    def __init__(self, worth: torch.Tensor):
        super().__init__()
        self.worth = worth

    def forward(self, images, mask):
        error = (self.worth.view(-1, *PATCHES.grid)[: len(images)] * mask).sqrt()
        return self.shown + PATCHES.spread(error)


def test_credits_add_up_to_the_change_and_stay_near_the_flip():
    change = torch.zeros(1, 36)
    change[0, 7], change[0, 28] = 2.0, -1.0
    flipped = torch.zeros(1, 36, dtype=torch.bool)
    flipped[0, [7, 27]] = True
    far = torch.cdist(*[torch.cartesian_prod(torch.arange(6.0), torch.arange(6.0))] * 2)
    got = credit(change, flipped, torch.exp(-far.square() / (2 * 0.6**2)) + 1e-6)
    assert got.sum() == pytest.approx(1.0, abs=1e-5)
    assert got[0, 7] == pytest.approx(2.0, abs=1e-3)
    assert got[0, 27] == pytest.approx(-1.0, abs=1e-3)
    assert (got[~flipped] == 0).all()


@pytest.mark.parametrize(
    ("grid", "most", "groups"), [((6, 6), 9, 4), ((4, 4, 4), 8, 8), ((6, 6), 3, 2), ((6, 6), 1, 0)]
)
def test_groups_part_the_grid_into_patches_that_do_not_touch(grid, most, groups):
    found = far_apart(grid, most, torch.device("cpu"))
    assert len(found) == groups
    if found:
        assert (torch.stack(found).sum(0) == 1).all()
        for group in found:
            cells = group.view(grid)
            for axis in range(len(grid)):
                assert not (cells & cells.roll(1, axis)).any()


def test_where_patches_do_not_interact_a_survey_and_some_swaps_find_the_best_mask():
    game, images, worth = of()
    game.reconstructor.shown = images
    best = worth.topk(18, 1).values.sum(1) / 36
    found = list(climb(game, images, torch.rand(8, 36), 24, torch.arange(8), trusted=False))
    assert [one.queries for one in found] == list(range(1, 25))
    assert all((one.mask.sum(1) == 18).all() for one in found)
    rewards = torch.stack([one.reward for one in found])
    assert (rewards.diff(dim=0) >= 0).all()
    assert (rewards[-1] / best).min() > 0.97 > (rewards[0] / best).max()
