import pytest
import torch

from maskgym.errors import BadInput
from maskgym.pretrain.losses import LOSSES, parse_loss


def naive(name, loss, mask):
    """The same by a double loop over images and patches."""
    totals, everything = [], []
    for costs, hidden in zip(loss.flatten(1).tolist(), mask.flatten(1).tolist(), strict=True):
        paid = [cost for cost, is_hidden in zip(costs, hidden, strict=True) if is_hidden]
        mean = sum(paid) / len(paid)
        everything += costs
        totals.append(
            {
                "hidden-mean": mean,
                "hidden-sum": sum(paid),
                "whole": sum(costs) / len(costs),
                "rrl": sum(cost / mean * cost for cost in paid) / len(paid),
                "rrl-literal": sum(cost / mean for cost in paid) / len(paid),
            }[name]
        )
    return sum(totals) / len(totals)


def paid(shape=(3, 4, 4)):
    generator = torch.Generator().manual_seed(0)
    loss = torch.rand(shape, generator=generator, dtype=torch.float64)
    mask = torch.rand(shape, generator=generator).flatten(1).argsort(1).argsort(1).view(shape) < 6
    return loss.requires_grad_(), mask


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", [(3, 4, 4), (2, 2, 3, 4)])
def test_a_loss_equals_the_double_loop(name, shape):
    loss, mask = paid(shape)
    assert LOSSES[name](loss, mask).item() == pytest.approx(naive(name, loss, mask))


@pytest.mark.parametrize("name", LOSSES)
def test_a_gradient_reaches_hidden_patches_and_only_where_it_should(name):
    loss, mask = paid()
    LOSSES[name](loss, mask).backward()
    visible, hidden = loss.grad[~mask].abs(), loss.grad[mask].abs()
    assert (visible.max() > 0) == (name == "whole")
    if name != "rrl-literal":
        assert hidden.min() > 0


def test_rrl_as_printed_is_one_whatever_the_loss_and_its_corrected_form_weighs_hard_patches_more():
    loss, mask = paid()
    assert LOSSES["rrl-literal"](loss, mask).item() == pytest.approx(1.0)
    assert LOSSES["rrl-literal"](5 * loss + 1, mask).item() == pytest.approx(1.0)
    LOSSES["rrl"](loss, mask).backward()
    first = mask[0].flatten()
    assert loss.grad[0].flatten()[first].argsort().tolist() == loss[0].flatten()[first].argsort().tolist()


def test_losses_add_up_with_weights():
    loss, mask = paid()
    both = LOSSES["hidden-mean"](loss, mask) + 0.5 * LOSSES["rrl"](loss, mask)
    assert torch.equal(parse_loss("hidden-mean + 0.5*rrl")(loss, mask), both)


@pytest.mark.parametrize(("text", "told"), [("hiden-mean", "did you mean 'hidden-mean'"), ("much*rrl", "0.5\\*rrl")])
def test_an_unknown_loss_is_told_in_one_line(text, told):
    with pytest.raises(BadInput, match=told):
        parse_loss(text)
