"""Intervals of one target: published vectors, naive oracles, and the cases where the usual formula gives no width."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.intervals import (
    clopper_pearson,
    delong,
    ppv,
    tpr_at_fpr,
    tpr_at_true_fpr,
    widened_if_few,
)
from privassay.harness.types import Estimate
from scipy.special import expit, logit
from scipy.stats import binom, norm


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(5, 1000, 0.001625419518, 0.01162947056), (0, 100, 0.0, 0.03622), (100, 100, 0.96378, 1)],
)
def test_clopper_pearson_vectors(k, n, low, high):
    estimate = clopper_pearson(k, n, 0.95)
    assert estimate.low == pytest.approx(low, abs=1e-5)
    assert estimate.high == pytest.approx(high, abs=1e-5)


ONE_SIDED = [
    (0, 100, 0.05, 0.0, 0.02951304961),
    (5, 1000, 0.025, 0.001625419518, 0.01162947056),
    (100, 100, 0.05, 0.9704869504, 1.0),
    (30, 30000, 0.025, 0.0006747943317, 0.001427256965),
]


@pytest.mark.parametrize(("k", "n", "alpha", "low", "high"), ONE_SIDED)
def test_clopper_pearson_spends_half_of_alpha_on_each_side(k, n, alpha, low, high):
    found = clopper_pearson(k, n, 1 - 2 * alpha)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    if k < n:
        assert binom.cdf(k, n, found.high) == pytest.approx(alpha)


def naive_delong(scores, member):
    """Kernel of every pair; sample covariance of its row and column means (DeLong et al. 1988, equations 4 to 7)."""
    inside, outside = scores[member], scores[~member]
    kernel = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
    rows, columns = kernel.mean(axis=1), kernel.mean(axis=0)
    return kernel.mean(), rows.var(ddof=1) / len(rows) + columns.var(ddof=1) / len(columns)


@st.composite
def tied_scores(draw):
    n = draw(st.integers(60, 120))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    member = rng.permutation(n) < draw(st.integers(25, n - 25))
    return np.round((rng.normal(size=n) + member) * draw(st.sampled_from([0.5, 1, 4, 1e6]))), member


@given(tied_scores(), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
@settings(max_examples=150, deadline=None)
def test_delong_by_midranks_is_delong_by_pairs(data, level):
    scores, member = data
    auc, variance = naive_delong(scores, member)
    reach = norm.ppf((1 + level) / 2) * np.sqrt(variance) / (auc * (1 - auc))
    low, high = expit(logit(auc) + np.array([-reach, reach]))
    found, pairs = delong(scores, member, level), min(member.sum(), (~member).sum())
    assert found.value == pytest.approx(auc, abs=1e-12)
    assert (found.low, found.high) == pytest.approx(widened_if_few(auc, (low, high), pairs, level), abs=1e-12)
    assert found.method.startswith("DeLong on the logit scale")
    assert found.n == len(scores)


def test_order_alone_decides():
    rng = np.random.default_rng(0)
    scores, member = rng.normal(size=100), rng.random(100) < 0.5
    assert delong(np.exp(scores), member, 0.95) == delong(scores, member, 0.95)
    assert delong(np.where(scores > 1, np.inf, scores), member, 0.95).value > 0
    mirrored, plain = delong(-scores, member, 0.95), delong(scores, member, 0.95)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((plain.low, plain.high))


HALVES = np.arange(80) % 2 == 0


@pytest.mark.parametrize(
    ("scores", "value", "low", "high"),
    [
        (HALVES.astype(float), 1.0, 0.025 ** (1 / 40), 1.0),
        (-HALVES.astype(float), 0.0, 0.0, 1 - 0.025 ** (1 / 40)),
        (np.zeros(80), 0.5, 0.338, 0.662),
    ],
)
def test_no_variance_is_not_certainty(scores, value, low, high):
    found = delong(scores, HALVES, 0.95)
    assert found.value == value
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-3)
    assert "Clopper-Pearson of 40 disjoint pairs" in found.method


def test_one_pair_out_of_order_in_ten_thousand_is_not_certainty():
    scores = np.concatenate([np.arange(100) + 99.5, np.arange(100)])
    scores[0] = 98.5
    found = delong(scores, np.arange(200) < 100, 0.95)
    assert found.value == 0.9999
    assert found.low < 0.97
    assert "united with Clopper-Pearson" in found.method


def test_one_member_is_one_pair():
    found = delong(np.arange(30.0), np.arange(30) == 20, 0.95)
    assert found.value == pytest.approx(20 / 29)
    assert found.high - found.low > 0.9


def naive_threshold(scores, member, fpr):
    """Flag from the highest score down, whole blocks, as long as the FPR allows."""
    flagged = np.zeros(len(scores), bool)
    for value in np.unique(scores)[::-1]:
        if (scores[~member] >= value).mean() > fpr + 1e-12:
            break
        flagged = scores >= value
    return flagged


@given(tied_scores(), st.sampled_from([0.001, 0.05, 0.1, 0.5, 0.99]))
@settings(max_examples=150, deadline=None)
def test_rates_flag_whole_blocks_as_far_as_the_fpr_allows(data, fpr):
    scores, member = data
    found, flagged = tpr_at_fpr(scores, member, fpr, 0.9), naive_threshold(scores, member, fpr)
    assert np.array_equal(scores > found.threshold, flagged)
    assert found.tpr == clopper_pearson((flagged & member).sum(), member.sum(), 0.9)
    assert found.fpr == clopper_pearson((flagged & ~member).sum(), (~member).sum(), 0.9)


def test_two_level_scores_flag_nobody_rather_than_part_of_a_block():
    scores = (np.arange(100) < 60).astype(float)
    member = np.arange(100) % 2 == 0
    found = tpr_at_fpr(scores, member, 0.1, 0.95)
    assert found.tpr.value == found.fpr.value == 0
    assert found.tpr.high == pytest.approx(1 - 0.025 ** (1 / 50))


def test_the_true_fpr_is_counted_on_records_that_set_no_threshold():
    rng = np.random.default_rng(1)
    member = np.arange(300) < 100
    scores = rng.normal(size=300) + member
    found = tpr_at_true_fpr(scores, member, 0.1, 0.95, seed=3)
    assert (found.tpr.n, found.fpr.n) == (50, 100)
    assert found == tpr_at_true_fpr(scores, member, 0.1, 0.95, seed=3)
    assert len({tpr_at_true_fpr(scores, member, 0.1, 0.95, seed).fpr.value for seed in range(20)}) > 5
    # the threshold is a non-member's score that does not count: moved to -inf, it changes nothing but itself
    below = np.where(scores < found.threshold, scores - 1, scores)
    assert tpr_at_true_fpr(below, member, 0.1, 0.95, seed=3) == found


@pytest.mark.parametrize("rates", [tpr_at_fpr, lambda *a: tpr_at_true_fpr(*a, seed=0)])
def test_bad_input_is_one_line(rates):
    scores, member = np.arange(4.0), np.array([True, False, True, False])
    for arguments, words in [
        ((scores, ~member & member, 0.1, 0.95), "members=0"),
        ((scores, member | True, 0.1, 0.95), "non-members=0"),
        ((scores[:3], member, 0.1, 0.95), "scores.shape"),
        ((scores * np.nan, member, 0.1, 0.95), "NaN"),
        ((scores, member, 1.0, 0.95), "fpr=1.0"),
        ((scores, member, 0.1, 95), "level=95"),
    ]:
        with pytest.raises(UsageError, match=words):
            rates(*arguments)
    with pytest.raises(UsageError, match="non-members=1: must be at least 2"):
        tpr_at_true_fpr(scores, np.arange(4) > 0, 0.1, 0.95, seed=0)


def rate(value, low, high, level=0.95):
    return Estimate(value, low, high, level, "by hand", 100, "records")


@pytest.mark.parametrize(
    ("tpr", "fpr", "prior", "expected"),
    [(0.02, 0.001, 0.5, 0.9523809524), (0.6, 0.4, 0.5, 0.6), (0.1, 0.0001, 0.001, 0.5002501251)],
)
def test_ppv_vectors(tpr, fpr, prior, expected):
    found = ppv(rate(tpr, tpr / 2, 1.5 * tpr), rate(fpr, fpr / 2, 2 * fpr), prior)
    assert found.value == pytest.approx(expected, abs=1e-9)
    ends = [prior * t / (prior * t + (1 - prior) * f) for t, f in [(tpr / 2, 2 * fpr), (1.5 * tpr, fpr / 2)]]
    assert (found.low, found.high) == pytest.approx(ends)
    assert "conservative" in found.method


def test_ppv_where_nobody_is_flagged():
    nobody = clopper_pearson(0, 100, 0.95)
    assert ppv(clopper_pearson(3, 100, 0.95), nobody, 0.1).value == 1
    assert ppv(clopper_pearson(3, 100, 0.95), nobody, 0.1).low < 0.2
    assert ppv(nobody, clopper_pearson(3, 100, 0.95), 0.1).low == 0
    with pytest.raises(NotApplicable, match="nobody is flagged"):
        ppv(nobody, nobody, 0.1)
    with pytest.raises(UsageError, match="level"):
        ppv(nobody, clopper_pearson(3, 100, 0.9), 0.1)
