"""Statistics against their formulas, written out naively, and their intervals against a simulated truth."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.coverage import CASES, Case, Coverage
from maskgym.benchmark.statistics import (
    Interval,
    difference,
    interquartile_mean,
    mean,
    probability_of_improvement,
)


def drawn(seed=0, runs=5, images=40, shift=0.0):
    rng = np.random.default_rng(seed)
    hard = np.random.default_rng(99).normal(size=images)
    return shift + rng.normal(0, 0.5, (runs, 1)) + hard + rng.normal(0, 0.5, (runs, images))


@pytest.mark.parametrize(("name", "runs"), [(name, 3) for name in CASES] + [("runs and images alike", 5)])
@pytest.mark.slow
def test_nineteen_of_twenty_intervals_hold_the_truth(name, runs):
    shares = Coverage(images=32, studies=400).shares(Case(*CASES[name]), runs)
    assert shares.pop("bootstrap") < 0.95 or name == "images differ most"
    assert {figure: share for figure, share in shares.items() if not 0.92 <= share <= 0.99} == {}


def test_an_interval_is_students_over_runs_where_there_is_one_image():
    scores = np.array([[1.0], [2.0], [4.0], [5.0]])
    found, theirs = mean(scores), stats.ttest_1samp(scores[:, 0], 0)
    low, high = theirs.confidence_interval(0.95)
    assert found[:3] == pytest.approx((3.0, low, high))
    assert found.p() == pytest.approx(theirs.pvalue)


def test_an_interval_is_students_over_images_where_runs_are_equal():
    scores = np.random.default_rng(2).normal(10, 3, (1, 200)).repeat(5, 0)
    low, high = stats.ttest_1samp(scores[0], 0).confidence_interval(0.95)
    assert mean(scores)[:3] == pytest.approx((scores.mean(), low, high), rel=1e-3)


def test_one_or_two_runs_are_told_as_their_range():
    assert mean(np.full((1, 9), 70.25)).text() == "70.2 (1 run)"
    two = mean(np.array([[1.0, 3.0], [5.0, 7.0]]))
    assert (two.kind, two.text()) == ("range", "4.0 (range 2.0 to 6.0)")
    assert not two.leaves_out(0.0)
    assert np.isnan(two.p())
    apart = difference(drawn(runs=1, shift=9), drawn(runs=5))
    assert (apart.kind, apart.runs) == ("range", 1)
    assert probability_of_improvement(drawn(runs=2), drawn(1, runs=5)).kind == "range"


def test_points_are_a_ratio_of_means_whose_denominator_is_uncertain_too():
    rewards, gap = 1 + drawn(), np.abs(drawn(7, runs=1)[0]) + 0.5
    found = mean(rewards, gap)
    assert found.value == pytest.approx(rewards.mean() / gap.mean())
    fixed = mean(rewards / gap.mean())
    assert found.value == pytest.approx(fixed.value)
    assert abs(found.error / fixed.error - 1) > 0.05
    assert np.isnan(mean(rewards, np.zeros(40)).value)


def test_a_difference_is_paired_by_image_and_by_seed_only_when_told():
    ours, theirs = drawn(shift=0.5), drawn(1)
    assert difference(ours, theirs).value == pytest.approx(ours.mean() - theirs.mean())
    assert difference(ours, theirs).error < np.hypot(mean(ours).error, mean(theirs).error)  # the images are the same
    twin = ours + 0.01 + np.random.default_rng(3).normal(0, 0.01, ours.shape)
    assert difference(twin, ours, paired_seeds=True).error < 0.1 * difference(twin, ours).error
    gap = np.full(40, 2.0)
    assert difference(ours, theirs, gap)[:3] == pytest.approx(tuple(np.array(difference(ours, theirs)[:3]) / 2))
    with pytest.raises(ValueError, match="5 seeds against 4"):
        difference(ours, theirs[:4], paired_seeds=True)
    with pytest.raises(ValueError, match="40 and 39 images"):
        difference(ours, theirs[:, :39])


def test_a_difference_keeps_its_sign():
    better, worse = drawn(shift=1.5), drawn(1)
    assert difference(better, worse).low > 0 > difference(worse, better).high
    assert difference(better, worse, np.ones(40)).low > 0
    assert probability_of_improvement(better, worse).value > 0.8 > 0.2 > probability_of_improvement(worse, better).value


def test_the_interquartile_mean_is_the_mean_of_the_middle_half():
    scores = np.random.default_rng(0).normal(size=(5, 8))
    assert interquartile_mean(scores).value == pytest.approx(np.sort(scores.ravel())[10:30].mean())
    assert interquartile_mean(np.array([[1.0, 2.0, np.nan, 3.0, 4.0]])).value == 2.5
    assert np.isnan(interquartile_mean(np.full((3, 2), np.nan)).value)
    wild = drawn()
    wild[0, 0] = 1e6
    assert interquartile_mean(wild).high < 2 < mean(wild).high


def test_the_probability_of_improvement_is_mann_whitneys_u_over_all_pairs():
    rng = np.random.default_rng(1)
    ours, theirs = rng.integers(0, 6, (4, 7)), rng.integers(0, 5, (3, 7))  # whole numbers, so that there are ties
    by_scipy = [
        stats.mannwhitneyu(a, b, method="asymptotic").statistic / 12 for a, b in zip(ours.T, theirs.T, strict=False)
    ]
    assert probability_of_improvement(ours, theirs).value == pytest.approx(np.mean(by_scipy))
    assert probability_of_improvement(ours, ours).value == pytest.approx(0.5)
    row_by_row = np.mean((ours[:3] > theirs) + 0.5 * (ours[:3] == theirs))
    assert probability_of_improvement(ours[:3], theirs, paired_seeds=True).value == pytest.approx(row_by_row)


def test_three_runs_that_win_everywhere_prove_less_than_twenty():
    few, many = (probability_of_improvement(drawn(runs=n, shift=99), drawn(1, runs=n)) for n in (3, 20))
    assert few.value == many.value == few.high == 1.0
    assert few.low < 0.5 < many.low < 1.0  # three against three win everything once in ten times by chance


def test_scores_that_are_not_defined_are_left_out():
    scores = drawn()
    holes = scores.copy()
    holes[0, :30], holes[4] = np.nan, np.nan
    by_hand = np.mean([np.nanmean(row) for row in holes[:4]])
    found = mean(holes)
    assert (found.value, found.runs) == (pytest.approx(by_hand), 4)
    assert np.isfinite(found.error)
    assert difference(holes, scores, paired_seeds=True).value == pytest.approx(0.0)
    assert np.isnan(mean(np.full((3, 4), np.nan)).value)
    assert np.isfinite(probability_of_improvement(holes, scores).low)


def test_an_interval_is_written_with_its_digits():
    found = Interval(0.7071, 0.61, 0.8, "interval", 5, 0.05, 8.0)
    assert str(found._replace(value=70.71, low=69.44, high=71.77)) == "70.7 [69.4, 71.8]"
    assert found.text(3) == "0.707 [0.610, 0.800]"
    assert Interval(float("nan"), float("nan"), float("nan")).text() == "n/a"
