"""Intervals of one target must hold the truth as often as they say, and near misses must be seen not to."""

import numpy as np
import pytest
from privassay.harness.intervals import clopper_pearson, delong, ppv, tpr_at_fpr, tpr_at_true_fpr
from privassay.harness.metrics import membership_metrics
from privassay.harness.stats import CrossedStatistic, Resampling, percentile_interval
from privassay.harness.types import ScoreTable
from scipy.special import expit, logit
from scipy.stats import binom, norm

REPETITIONS = 1000
LEVEL = 0.95


def at_nominal(covered, repetitions=REPETITIONS):
    """Neither too few nor too many by more than chance explains once in 1000."""
    return binom.ppf(0.001, repetitions, LEVEL) <= covered <= binom.ppf(0.999, repetitions, LEVEL)


def at_least_nominal(covered, repetitions=REPETITIONS):
    return covered >= binom.ppf(0.001, repetitions, LEVEL)


def draw(rng, members, others, shift):
    """Normal scores; members lie higher by `shift`."""
    member = np.arange(members + others) < members
    return rng.normal(size=len(member)) + shift * member, member


def tied(scores):
    """Three levels: below 0, from 0 to 1.1, above."""
    return np.digitize(scores, [0.0, 1.1]).astype(float)


def true_auc(shift):
    return norm.cdf(shift / np.sqrt(2))


def tied_auc(shift):
    inside, outside = (np.diff(norm.cdf([-np.inf, 0.0, 1.1, np.inf], at)) for at in (shift, 0.0))
    return float(inside @ (np.cumsum(outside) - outside / 2))


def intervals(make, shift, sizes, shape=lambda scores: scores, repetitions=REPETITIONS):
    rng = np.random.default_rng(7)
    for _ in range(repetitions):
        scores, member = draw(rng, *sizes, shift)
        yield make(shape(scores), member)


def held(ends, truth):
    return sum(low <= truth <= high for low, high in ends)


def by_delong(scores, member):
    found = delong(scores, member, LEVEL)
    return found.low, found.high


SIZES = [(100, 100), (100, 300), (1000, 300)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("shift", [0.0, 0.5, 1.2])
def test_delong_covers_as_often_as_it_says(sizes, shift):
    assert at_nominal(held(intervals(by_delong, shift, sizes), true_auc(shift)))


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_delong_covers_with_ties(shift):
    assert at_nominal(held(intervals(by_delong, shift, (100, 150), tied), tied_auc(shift)))


@pytest.mark.parametrize("shift", [2.0, 3.0, 4.5])
@pytest.mark.parametrize("sizes", [(20, 20), (30, 300)])
def test_delong_is_not_too_sure_near_one(sizes, shift):
    assert at_least_nominal(held(intervals(by_delong, shift, sizes), true_auc(shift)))


def test_delong_is_not_too_sure_when_a_few_members_stand_out():
    # 2 % of the members lie far below everybody, all others far above: an AUC of 0.98 that few records decide
    rng = np.random.default_rng(3)
    member = np.arange(200) < 100
    scores = (rng.normal(size=200) + np.where(rng.random(200) < 0.02, -30, 30) * member for _ in range(REPETITIONS))
    assert at_least_nominal(held((by_delong(s, member) for s in scores), 0.98))


def wrong_delong(divisors):
    """DeLong with the variances of both classes' placements divided by something else."""

    def make(scores, member):
        inside, outside = scores[member], scores[~member]
        kernel = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
        auc = kernel.mean()
        variance = sum(
            kernel.mean(axis=axis).var(ddof=1) / by(member) for axis, by in zip((1, 0), divisors, strict=True)
        )
        reach = 1.96 * np.sqrt(variance) / (auc * (1 - auc))
        return expit(logit(auc) - reach), expit(logit(auc) + reach)

    return make


def members(member):
    return member.sum()


def others(member):
    return (~member).sum()


NEAR_MISSES = {
    "not divided": (lambda member: 1, lambda member: 1),
    "by all records": (np.size, np.size),
    "members only": (members, lambda member: np.inf),
}


def test_the_right_divisors_pass():
    assert at_nominal(held(intervals(wrong_delong((members, others)), 0.5, (100, 100)), true_auc(0.5)))


@pytest.mark.parametrize("near_miss", NEAR_MISSES)
def test_delong_with_a_wrong_variance_is_rejected(near_miss):
    made = intervals(wrong_delong(NEAR_MISSES[near_miss]), 0.5, (100, 100))
    assert not at_nominal(held(made, true_auc(0.5)))


def split(shape=lambda scores: scores):
    rng = np.random.default_rng(5)
    for seed in range(REPETITIONS):
        scores, member = draw(rng, 400, 800, 1.5)
        yield tpr_at_true_fpr(shape(scores), member, 0.03, LEVEL, seed)


def test_both_rates_are_covered_at_the_true_fpr():
    found = list(split())
    assert at_least_nominal(sum(f.tpr.low <= norm.sf(f.threshold - 1.5) <= f.tpr.high for f in found))
    assert at_least_nominal(sum(f.fpr.low <= norm.sf(f.threshold) <= f.fpr.high for f in found))
    assert np.mean([f.fpr.value for f in found]) == pytest.approx(13 / 401, abs=0.002)  # (k + 1) / (m + 1)


def test_both_rates_are_covered_with_ties():
    rounded = list(split(lambda scores: np.round(2 * scores)))
    above = [(f, (f.threshold + 0.5) / 2) for f in rounded]
    assert at_least_nominal(sum(f.tpr.low <= norm.sf(cut - 1.5) <= f.tpr.high for f, cut in above))
    assert at_least_nominal(sum(f.fpr.low <= norm.sf(cut) <= f.fpr.high for f, cut in above))


def in_sample():
    rng = np.random.default_rng(6)
    return [tpr_at_fpr(*draw(rng, 400, 800, 1.5), 0.03, LEVEL) for _ in range(REPETITIONS)]


def test_the_threshold_of_the_same_records_has_these_rates_too():
    found = in_sample()
    assert at_least_nominal(sum(f.tpr.low <= norm.sf(f.threshold - 1.5) <= f.tpr.high for f in found))
    assert at_least_nominal(sum(f.fpr.low <= norm.sf(f.threshold) <= f.fpr.high for f in found))


def test_reading_it_as_the_tpr_at_the_nominal_fpr_is_rejected():
    # The near miss: forget that the threshold varies as well.
    nominal = norm.sf(norm.isf(0.03) - 1.5)
    assert not at_least_nominal(sum(f.tpr.low <= nominal <= f.tpr.high for f in in_sample()))


@pytest.mark.parametrize("prior", [0.5, 0.01])
def test_ppv_is_covered(prior):
    covered = 0
    for f in split():
        tpr, fpr, found = norm.sf(f.threshold - 1.5), norm.sf(f.threshold), ppv(f.tpr, f.fpr, prior)
        covered += found.low <= prior * tpr / (prior * tpr + (1 - prior) * fpr) <= found.high
    assert at_least_nominal(covered)


def test_the_realised_fpr_of_one_target_holds_that_of_the_threshold():
    rng, right, near_miss = np.random.default_rng(8), 0, 0
    for seed in range(REPETITIONS):
        scores, member = draw(rng, 20, 600, 0.0)
        one = ScoreTable(np.arange(1), scores[None], member[None], np.ones((1, len(scores)), bool))
        found = membership_metrics(one, (0.02,), Resampling(LEVEL, 1, seed))["realised_fpr_at_fpr_0.02"]
        true = norm.sf(tpr_at_fpr(scores, member, 0.02, LEVEL).threshold)
        right += found.low <= true <= found.high
        # as if each non-member had been counted against one threshold that others chose
        all_of_them = clopper_pearson(round(600 * found.value), 600, LEVEL)
        near_miss += all_of_them.low <= true <= all_of_them.high
    assert at_least_nominal(right)
    assert not at_least_nominal(near_miss)


def crossed(shift, seed, targets=6, n=60):
    rng = np.random.default_rng(seed)
    firsts = [rng.permutation(n) < n // 2 for _ in range(targets // 2)]
    member = np.stack([side for first in firsts for side in (first, ~first)])
    scores = rng.normal(size=n) + rng.normal(size=member.shape) + shift * member
    table = ScoreTable(np.arange(targets), scores, member, np.ones_like(member))
    point, draws = CrossedStatistic(table, Resampling(LEVEL, 200)).auc()  # the same resamples of different scores
    return percentile_interval(point, draws, LEVEL)


def test_the_crossed_bootstrap_covers_the_auc():
    assert at_least_nominal(held((crossed(1.0, seed) for seed in range(REPETITIONS)), norm.cdf(0.5)))


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("sizes", [(100, 100), (300, 1000)])
def test_delong_over_many_repetitions(sizes, shift):
    found = held(intervals(by_delong, shift, sizes, repetitions=20_000), true_auc(shift))
    assert abs(found / 20_000 - LEVEL) < 0.006


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_crossed_bootstrap_over_many_repetitions(shift):
    truth = norm.cdf(shift / 2)
    assert at_least_nominal(held((crossed(shift, seed) for seed in range(5000)), truth), 5000)
