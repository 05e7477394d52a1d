"""Statistics against their formulas, written out naively."""

import numpy as np
import pytest
from scipy import stats

from maskgym.benchmark.statistics import bootstrap, interquartile_mean, paired_difference, probability_of_improvement


def mean(scores):
    return float(np.mean(scores))


def test_the_interquartile_mean_is_the_mean_of_the_middle_half():
    scores = np.random.default_rng(0).normal(size=(5, 8))
    middle = np.sort(scores.ravel())[10:30]
    assert interquartile_mean(scores) == pytest.approx(middle.mean())
    assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))


def test_the_interquartile_mean_leaves_unknown_scores_out():
    assert interquartile_mean(np.array([1.0, 2.0, np.nan, 3.0, 4.0])) == 2.5
    assert np.isnan(interquartile_mean(np.array([np.nan])))


def test_the_probability_of_improvement_is_mann_whitneys_u_over_all_pairs():
    rng = np.random.default_rng(1)
    ours, theirs = rng.integers(0, 6, (4, 7)), rng.integers(0, 5, (3, 7))  # whole numbers, so that there are ties
    by_scipy = [
        stats.mannwhitneyu(a, b, method="asymptotic").statistic / 12 for a, b in zip(ours.T, theirs.T, strict=False)
    ]
    by_loops = np.mean([[[(a > b) + 0.5 * (a == b) for b in theirs[:, i]] for a in ours[:, i]] for i in range(7)])
    assert probability_of_improvement(ours, theirs) == pytest.approx(np.mean(by_scipy))
    assert probability_of_improvement(ours, theirs) == pytest.approx(by_loops)
    assert probability_of_improvement(ours, ours) == pytest.approx(0.5)


def test_an_interval_over_images_is_as_wide_as_the_theory_of_the_mean_says():
    scores = np.random.default_rng(2).normal(10, 3, (1, 200))
    interval = bootstrap(mean, scores)
    wide = 1.96 * scores.std() / np.sqrt(200)
    assert interval.value == pytest.approx(scores.mean())
    assert (interval.high - interval.low) / 2 == pytest.approx(wide, rel=0.1)


def test_a_difference_between_seeds_widens_the_crossed_interval_and_not_the_stratified_one():
    images = np.random.default_rng(3).normal(0, 0.1, (1, 100))
    scores = images + np.array([[-1.0], [0.0], [1.0], [2.0]])  # four runs, each as good on every image
    crossed, stratified = bootstrap(mean, scores), bootstrap(mean, scores, crossed=False)
    by_hand = 1.96 * np.std([-1, 0, 1, 2]) / np.sqrt(4)
    assert (crossed.high - crossed.low) / 2 == pytest.approx(by_hand, rel=0.2)
    assert stratified.high - stratified.low < (crossed.high - crossed.low) / 5


def test_the_stratified_interval_is_rliables():
    """Every image (its task) draws its own runs; the images stay."""
    scores = np.random.default_rng(4).normal(size=(6, 9))
    rng, values = np.random.default_rng(5), []
    for _ in range(4000):
        drawn = np.stack([rng.choice(column, size=6) for column in scores.T], 1)
        values.append(stats.trim_mean(drawn, 0.25, axis=None))
    low, high = np.quantile(values, [0.025, 0.975])
    ours = bootstrap(interquartile_mean, scores, crossed=False, resamples=4000)
    assert (ours.low, ours.high) == (pytest.approx(low, abs=0.05), pytest.approx(high, abs=0.05))


def test_pairing_takes_the_difference_between_images_out():
    rng = np.random.default_rng(6)
    hard = rng.normal(0, 10, 60)  # images differ far more than agents do
    ours, theirs = hard + rng.normal(1, 0.2, (3, 60)), hard + rng.normal(0, 0.2, (2, 60))
    paired = paired_difference(mean, ours, theirs)
    assert paired.low > 0.8
    assert paired.high < 1.2
    assert paired.value == pytest.approx(ours.mean() - theirs.mean())


def test_intervals_are_seeded_and_print_themselves():
    scores = np.arange(12.0).reshape(2, 6)
    assert bootstrap(mean, scores) == bootstrap(mean, scores)
    assert bootstrap(mean, scores) != bootstrap(mean, scores, seed=1)
    assert str(bootstrap(mean, np.full((2, 6), 3.0))) == "3.0 [3.0, 3.0]"


def test_scores_of_different_images_are_refused():
    with pytest.raises(ValueError, match="same"):
        paired_difference(mean, np.zeros((2, 5)), np.zeros((2, 6)))
