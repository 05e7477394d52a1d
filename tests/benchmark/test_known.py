"""Intervals of scores of which some are not defined, against their formulas written out naively."""

import numpy as np
import pytest
from scipy import stats

from maskgym.benchmark.known import improvement_known, mean_known
from maskgym.benchmark.statistics import bootstrap, probability_of_improvement
from maskgym.report.compare import rank_correlation

GAPS = np.array([[1.0, 2.0, np.nan, 4.0], [5.0, np.nan, np.nan, 7.0]])


def test_the_mean_is_that_of_the_seeds_means():
    assert mean_known(GAPS).value == pytest.approx(((1 + 2 + 4) / 3 + (5 + 7) / 2) / 2)
    assert np.isnan(mean_known(np.full((2, 3), np.nan)).value)


def test_a_seed_without_any_score_does_not_count():
    assert mean_known(np.array([[1.0, 2.0], [np.nan, np.nan]])).value == 1.5


def test_without_gaps_the_interval_is_that_of_the_loop():
    scores = np.random.default_rng(0).normal(size=(4, 30))
    ours, theirs = mean_known(scores, resamples=8000), bootstrap(lambda one: float(one.mean()), scores, resamples=8000)
    assert ours == pytest.approx(theirs, abs=0.02)


def test_with_gaps_the_interval_is_that_of_a_naive_loop():
    rng = np.random.default_rng(1)
    scores = np.where(rng.random((3, 20)) < 0.3, np.nan, rng.normal(size=(3, 20)))
    values = []
    for _ in range(8000):
        drawn = scores[rng.integers(3, size=3)][:, rng.integers(20, size=20)]
        values.append(np.mean([row[~np.isnan(row)].mean() for row in drawn]))
    ours = mean_known(scores, resamples=8000)
    assert (ours.low, ours.high) == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.03)


def test_the_probability_of_improvement_by_hand():
    """Patient 1: 3 beats 1 and ties 3; 2 beats 1 and loses to 3: 2.5 of 4. Patient 2: one pair is known, and lost."""
    ours, theirs = np.array([[3.0, 1.0], [2.0, np.nan]]), np.array([[1.0, 2.0], [3.0, np.nan]])
    assert improvement_known(ours, theirs).value == pytest.approx((2.5 / 4 + 0) / 2)


def test_without_gaps_the_probability_is_the_known_one_and_turns_around():
    rng = np.random.default_rng(2)
    ours, theirs = rng.integers(0, 5, (3, 9)), rng.integers(0, 5, (3, 9))
    found = improvement_known(ours, theirs)
    assert found.value == pytest.approx(probability_of_improvement(ours, theirs))
    assert found.value == pytest.approx(1 - improvement_known(theirs, ours).value)
    expected = bootstrap(probability_of_improvement, ours, theirs, resamples=4000)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.03)


def test_other_runs_are_refused():
    with pytest.raises(ValueError, match="same runs"):
        improvement_known(np.zeros((2, 3)), np.zeros((3, 3)))


def test_ranks_correlate_as_spearman_says():
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 6, 6), rng.normal(size=6)
    interval, chance = rank_correlation(a, b)
    assert interval.value == pytest.approx(stats.spearmanr(a, b).statistic)
    assert interval.low <= interval.value <= interval.high
    exact = stats.permutation_test((a,), lambda x: stats.spearmanr(x, b).statistic, permutation_type="pairings")
    assert chance == pytest.approx(exact.pvalue, abs=0.02)


def test_ranks_without_any_order_say_nothing():
    interval, _ = rank_correlation(np.ones(6), np.arange(6))
    assert np.isnan(interval.value)


def test_agreement_of_many_is_not_chance():
    interval, chance = rank_correlation(np.arange(12), np.arange(12))
    assert interval.value == 1
    assert chance < 0.001
