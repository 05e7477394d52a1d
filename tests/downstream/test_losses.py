import pytest
import torch
from torch.nn import functional as F

from maskgym.downstream.losses import dice_ce, dice_loss


def test_the_loss_is_cross_entropy_and_one_minus_the_mean_dice_computed_pixel_by_pixel():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    shares, dice = logits.softmax(1), []
    for value in range(3):
        both = given = there = 0.0
        for image, row, column in torch.cartesian_prod(torch.arange(2), torch.arange(4), torch.arange(5)).tolist():
            share, truth = float(shares[image, value, row, column]), float(labels[image, row, column] == value)
            both, given, there = both + share * truth, given + share, there + truth
        dice.append((2 * both + 1) / (given + there + 1))
    expected = float(F.cross_entropy(logits, labels)) + 1 - sum(dice) / 3
    assert float(dice_ce(logits, labels)) == pytest.approx(expected, rel=1e-5)


def test_a_rare_class_weighs_as_much_as_a_common_one():
    """What cross-entropy alone would forget: a lesion of one pixel in a hundred that nobody finds."""
    labels = torch.zeros(1, 10, 10, dtype=torch.long)
    labels[0, 3, 3:6] = 1
    nothing = torch.stack([torch.ones(1, 10, 10), torch.zeros(1, 10, 10)], 1)
    assert float(dice_loss(nothing, labels)) > 0.3
    exact = F.one_hot(labels, 2).movedim(-1, 1).float()
    assert float(dice_loss(exact, labels)) == pytest.approx(0.0, abs=1e-6)


def test_a_class_in_no_label_costs_nothing_where_it_is_not_named():
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    shares = F.one_hot(labels, 3).movedim(-1, 1).float()
    assert float(dice_loss(shares, labels)) == pytest.approx(0.0, abs=1e-6)
