"""ROC points and intervals against naive oracles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from privassay.harness.stats import (
    CrossedStatistic,
    Curve,
    Resampling,
    RocOrder,
    clopper_pearson,
    crossed_fpr,
    crossed_mean,
    model_weights,
    percentile_interval,
    share_interval,
)
from privassay.harness.types import ScoreTable
from sklearn.metrics import roc_auc_score


def naive_at_fpr(scores, member, fpr):
    """Try every threshold; no interpolation, ties flagged together."""
    best = (0.0, 0.0)
    for threshold in np.unique(scores):
        flagged = scores >= threshold
        realised = (flagged & ~member).sum() / (~member).sum()
        if realised <= fpr + 1e-12:
            best = max(best, ((flagged & member).sum() / member.sum(), realised))
    return best


@st.composite
def tied_scores(draw):
    n = draw(st.integers(4, 40))
    levels = draw(st.integers(1, 6))
    scores = np.array(draw(st.lists(st.integers(0, levels), min_size=n, max_size=n)), dtype=float)
    member = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    member[0], member[1] = True, False
    return scores, member


@given(tied_scores(), st.floats(0.01, 0.99))
@settings(max_examples=200, deadline=None)
def test_roc_points_on_ties_equal_naive_search(data, fpr):
    scores, member = data
    curve = Curve.of(RocOrder.of(scores, member, np.ones(len(scores), bool)), np.ones((len(scores), 1)))
    assert curve.tpr_at(fpr)[0] == pytest.approx(naive_at_fpr(scores, member, fpr)[0])
    assert curve.auc()[0] == pytest.approx(roc_auc_score(member, scores))


def test_two_level_scores_have_the_auc_of_mann_whitney():
    # A peer that keeps the first index of each tied block reports 0.132 here instead of about one half.
    rng = np.random.default_rng(3)
    scores, member = rng.integers(0, 2, 1000).astype(float), np.arange(1000) % 2 == 0
    curve = Curve.of(RocOrder.of(scores, member, np.ones(1000, bool)), np.ones((1000, 1)))
    assert curve.auc()[0] == pytest.approx(roc_auc_score(member, scores), abs=1e-12)


def test_weights_act_as_repetition():
    rng = np.random.default_rng(0)
    scores, member = rng.integers(0, 5, 30).astype(float), rng.random(30) < 0.5
    times = rng.integers(0, 4, 30)
    weighted = Curve.of(RocOrder.of(scores, member, np.ones(30, bool)), times[:, None].astype(float))
    repeated_scores, repeated_member = np.repeat(scores, times), np.repeat(member, times)
    order = RocOrder.of(repeated_scores, repeated_member, np.ones(len(repeated_scores), bool))
    plain = Curve.of(order, np.ones((len(repeated_scores), 1)))
    assert weighted.auc()[0] == pytest.approx(plain.auc()[0])
    assert weighted.tpr_at(0.3)[0] == pytest.approx(plain.tpr_at(0.3)[0])


def test_records_that_were_not_scored_do_not_count():
    scores = np.array([5.0, 1.0, 9.0, 0.0])
    member = np.array([True, False, False, True])
    order = RocOrder.of(scores, member, np.array([True, True, False, False]))
    assert Curve.of(order, np.ones((4, 1))).auc()[0] == 1.0


def table(targets, n, shift, seed):
    rng = np.random.default_rng(seed)
    member = np.empty((targets, n), bool)
    for pair in range(targets // 2):
        member[2 * pair] = rng.permutation(n) < n // 2
        member[2 * pair + 1] = ~member[2 * pair]
    hardness = rng.normal(size=n)
    scores = hardness + rng.normal(size=(targets, n)) + shift * member
    return ScoreTable(np.arange(targets), scores, member, np.ones((targets, n), bool))


def test_point_values_are_means_of_per_target_values():
    scored = table(4, 300, 0.5, seed=1)
    points, draws = CrossedStatistic(scored, Resampling(resamples=100)).draws([0.1])
    aucs = [roc_auc_score(m, s) for m, s in zip(scored.member, scored.scores, strict=True)]
    tprs = [naive_at_fpr(s, m, 0.1)[0] for m, s in zip(scored.member, scored.scores, strict=True)]
    assert points["auc"] == pytest.approx(np.mean(aucs))
    assert points["tpr_at_fpr_0.1"] == pytest.approx(np.mean(tprs))
    assert draws["auc"].shape == (100,)


def test_chunks_do_not_change_the_draws(monkeypatch):
    scored = table(4, 100, 0.5, seed=2)
    whole = CrossedStatistic(scored, Resampling(resamples=50)).draws([0.1])[0]
    monkeypatch.setattr("privassay.harness.stats._CELLS_PER_CHUNK", 700)
    chunked = CrossedStatistic(scored, Resampling(resamples=50)).draws([0.1])[0]
    assert whole == chunked


def test_complements_are_resampled_together():
    weights = model_weights(np.random.default_rng(0), 500, np.arange(6))
    assert np.array_equal(weights[:, 0::2], weights[:, 1::2])
    assert weights.sum(axis=1) == pytest.approx(np.ones(500))
    assert weights.std() > 0


def test_advantage_of_noise_is_not_biased_upwards():
    values = [
        CrossedStatistic(table(2, 200, 0.0, s), Resampling(resamples=1)).draws([])[0]["advantage"] for s in range(60)
    ]
    standard_error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * standard_error  # the maximum over thresholds would average about +0.09


def test_curve_is_monotone_and_ends_at_one():
    mean, low, high = CrossedStatistic(table(4, 200, 1.0, 5), Resampling(resamples=50)).roc(np.logspace(-2, 0, 10))
    assert (np.diff(mean) >= 0).all()
    assert mean[-1] == low[-1] == high[-1] == 1.0
    assert ((low <= mean) & (mean <= high)).all()


def test_crossed_mean_weighs_units():
    values = np.array([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    weights = np.array([[True, True, False, False], [False, False, True, True]])
    estimate = crossed_mean(values, weights, np.array([0, 1]), Resampling(resamples=100))
    assert estimate.value == pytest.approx(0.25)
    assert estimate.low <= 0.25 <= estimate.high
    assert estimate.over == "records"


@pytest.mark.parametrize(
    ("k", "n", "low", "high"), [(5, 1000, 0.001625419518, 0.01163), (0, 100, 0.0, 0.03622), (100, 100, 0.96378, 1.0)]
)
def test_clopper_pearson_vectors(k, n, low, high):
    estimate = clopper_pearson(k, n, 0.95)
    assert estimate.low == pytest.approx(low, abs=1e-5)
    assert estimate.high == pytest.approx(high, abs=2e-5)


def naive_crossed_fpr(scores, member, half, fpr):
    """Set the threshold on one half's non-members, count on the other's, both ways."""

    def counted(setter, counter):
        rates = []
        for threshold in [np.inf, *np.unique(scores)]:
            flagged = scores >= threshold
            if (flagged & setter & ~member).sum() / (setter & ~member).sum() <= fpr + 1e-12:
                rates.append((flagged & counter & ~member).sum() / (counter & ~member).sum())
        return max(rates)

    return (counted(half, ~half) + counted(~half, half)) / 2


def test_realised_fpr_equals_naive_search():
    rng = np.random.default_rng(4)
    scores, member, half = rng.integers(0, 30, 200).astype(float), rng.random(200) < 0.5, rng.random(200) < 0.5
    order = RocOrder.of(scores, member, np.ones(200, bool))
    first, second = (Curve.of(order, chosen[:, None].astype(float)) for chosen in (half, ~half))
    for fpr in (0.01, 0.05, 0.2):
        assert crossed_fpr(first, second, fpr)[0] == pytest.approx(naive_crossed_fpr(scores, member, half, fpr))


def test_realised_fpr_of_noise_exceeds_the_nominal_one():
    # A threshold that lets k of m non-members pass lets (k + 1) / (m + 1) of others pass; in-sample it never shows.
    found = [CrossedStatistic(table(2, 400, 0.0, s), Resampling(resamples=1)).draws([0.05])[0] for s in range(40)]
    rates = [points["realised_fpr_at_fpr_0.05"] for points in found]
    assert np.mean(rates) == pytest.approx(6 / 101, abs=0.006)
    assert max(rates) > 0.05


def test_one_pair_of_models_says_nothing_of_models():
    values, weights = np.ones((2, 50)), np.ones((2, 50))
    assert crossed_mean(values, weights, np.array([0, 1]), Resampling(resamples=10)).over == "records"
    assert crossed_mean(values, weights, np.array([0, 2]), Resampling(resamples=10)).over == "models and records"


def test_nobody_flagged_is_not_certainty():
    low, high = share_interval(0.0, np.zeros(100), 0.95, 1200)
    assert low == 0.0
    assert high == pytest.approx(0.00307, abs=1e-5)
    assert share_interval(1.0, np.ones(100), 0.95, 1200)[0] == pytest.approx(1 - 0.00307, abs=1e-5)
    spread = np.linspace(0.1, 0.2, 101)
    assert share_interval(0.15, spread, 0.9, 1200) == percentile_interval(0.15, spread, 0.9)


def test_percentile_interval_contains_the_value():
    assert percentile_interval(0.9, np.linspace(0, 0.5, 101), 0.9) == (pytest.approx(0.025), 0.9)
