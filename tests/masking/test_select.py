import pytest
import torch

from maskgym.errors import BadInput
from maskgym.masking import rng
from maskgym.masking.select import budget, select, soften


def keys(samples: int, count: int, first: int = 0) -> torch.Tensor:
    return rng.keys(torch.arange(first, first + samples), count)


@pytest.mark.parametrize("count", [2, 16, 30, 64, 100, 256])
@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.3, 0.5, 0.6, 0.75, 0.9, 0.99])
def test_exactly_the_budget_is_hidden_whatever_is_asked(count, ratio):
    if not 0 < int(ratio * count + 1e-9) < count:
        with pytest.raises(BadInput, match="at least one"):
            budget(ratio, count)
        return
    hidden = budget(ratio, count)
    nobody, everybody = torch.zeros(8, count, dtype=torch.bool), torch.ones(8, count, dtype=torch.bool)
    some, scores, same = torch.rand(8, count) < 0.5, torch.randn(8, count), torch.full((8, count), 0.3)
    for hard_share in (0.0, 0.01, 0.25, 0.5, 0.99, 1.0):
        for asked in (nobody, everybody, some, scores, same, (scores * 10).long(), -scores.double()):
            mask = select(asked, hidden, keys(8, count), hard_share)
            assert mask.dtype == torch.bool
            assert (mask.sum(1) == hidden).all()


@pytest.mark.parametrize(
    ("ratio", "count", "hidden"),
    [(0.75, 256, 192), (0.1, 30, 3), (0.7, 10, 7), (0.29, 100, 29), (0.58, 100, 58), (0.75, 9, 6), (0.999, 64, 63)],
)
def test_the_budget_is_the_floor_of_the_product_as_a_person_would_write_it(ratio, count, hidden):
    assert budget(ratio, count) == hidden


@pytest.mark.parametrize("ratio", [0, 1, -0.5, 1.5, float("nan")])
def test_a_ratio_outside_the_open_interval_is_refused(ratio):
    with pytest.raises(BadInput, match=f"ratio {ratio} is outside"):
        budget(ratio, 64)


def test_the_highest_scores_are_hidden_first():
    scores = torch.rand(20, 50)
    mask = select(scores, 17, keys(20, 50))
    assert torch.equal(mask, torch.zeros_like(mask).scatter_(1, scores.topk(17).indices, True))
    half = select(scores, 17, keys(20, 50), hard_share=0.5)
    assert half.gather(1, scores.topk(round(17 / 2)).indices).all()


def test_requests_are_granted_where_they_fit():
    few = torch.zeros(30, 40, dtype=torch.bool)
    few[:, 5:9] = True
    assert select(few, 10, keys(30, 40))[:, 5:9].all()
    many = torch.zeros(30, 40, dtype=torch.bool)
    many[:, :25] = True
    assert not select(many, 10, keys(30, 40))[:, 25:].any()


# Frequencies over 40,000 samples: a share p has a standard error of sqrt(p (1 - p) / n) < 0.0025; five of them is luck
# of one in a million.
SAMPLES, WITHIN = 40_000, 0.0125


def share(asked: list[int], hidden: int, count: int, hard_share: float) -> torch.Tensor:
    requested = torch.zeros(SAMPLES, count, dtype=torch.bool)
    requested[:, asked] = True
    return select(requested, hidden, keys(SAMPLES, count), hard_share).float().mean(0)


def test_a_random_mask_hides_every_patch_equally_often():
    assert (share([], 6, 20, 0.0) - 6 / 20).abs().max() < WITHIN
    assert (share([1, 2, 3], 6, 20, 0.0) - 6 / 20).abs().max() < WITHIN


def test_equal_scores_are_taken_equally_often():
    assert (share([], 6, 20, 1.0) - 6 / 20).abs().max() < WITHIN
    asked = share(list(range(10)), 6, 20, 1.0)
    assert (asked[:10] - 6 / 10).abs().max() < WITHIN
    assert asked[10:].max() == 0


def test_what_too_few_requests_leave_is_filled_up_evenly():
    asked = share([0, 1, 2], 7, 20, 1.0)
    assert asked[:3].min() == 1
    assert (asked[3:] - 4 / 17).abs().max() < WITHIN


def test_the_hint_share_falls_on_all_others_alike_even_on_requests_that_just_missed():
    asked = share(list(range(10)), 10, 20, 0.5)  # 5 of the 10 asked for, then 5 of the 15 patches left
    assert (asked[:10] - (1 / 2 + 1 / 2 * 1 / 3)).abs().max() < WITHIN
    assert (asked[10:] - 1 / 3).abs().max() < WITHIN


def test_pairs_of_patches_are_hidden_together_as_often_as_independent_draws_would():
    mask = select(torch.zeros(SAMPLES, 8), 4, keys(SAMPLES, 8)).float()
    together = mask.T @ mask / SAMPLES
    expected = torch.full((8, 8), 4 / 8 * 3 / 7).fill_diagonal_(4 / 8)
    assert (together - expected).abs().max() < WITHIN


def test_a_sample_is_treated_the_same_in_every_batch():
    scores = (torch.rand(12, 30) * 4).long()  # with ties
    whole = select(scores, 11, keys(12, 30), 0.6)
    for i in range(12):
        assert torch.equal(select(scores[i : i + 1], 11, keys(1, 30, first=i), 0.6)[0], whole[i])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_hides_the_same_patches():
    scores = (torch.rand(12, 30) * 4).long()
    there = select(scores.cuda(), 11, rng.keys(torch.arange(12).cuda(), 30), 0.6)
    assert torch.equal(there.cpu(), select(scores, 11, keys(12, 30), 0.6))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_softened_scores_draw_patches_without_replacement_by_exp_of_score_over_temperature(temperature):
    scores = torch.tensor([3.0, 1.0, -2.0, 5.0])
    drawn = soften(7 + 2 * scores.expand(40_000, 4), temperature, keys(40_000, 4)).argsort(1, descending=True)
    chance = ((scores - scores.mean()) / scores.std() / temperature).softmax(0)
    first = torch.bincount(drawn[:, 0], minlength=4) / 40_000
    assert torch.allclose(first, chance, atol=0.01)
    for patch in (0, 3):  # the second among those that the first left
        left = chance.index_fill(0, torch.tensor(patch), 0) / (1 - chance[patch])
        second = drawn[drawn[:, 0] == patch, 1]
        assert torch.allclose(torch.bincount(second, minlength=4) / len(second), left, atol=0.02)


def test_at_temperature_0_scores_keep_their_order_and_equal_ones_leave_it_to_chance():
    scores = torch.rand(50, 20)
    assert torch.equal(soften(scores, 0.0, keys(50, 20)).argsort(1), scores.argsort(1))
    same = soften(torch.full((500, 20), 0.3), 1.0, keys(500, 20))
    assert same.isfinite().all()
    assert len(same.argmax(1).unique()) == 20
