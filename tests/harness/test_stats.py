"""ROC points and intervals against naive oracles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from privassay.harness.roc import Blocks, Curve, Halves, RocOrder, crossed_fpr, split_advantage
from privassay.harness.seeds import generator
from privassay.harness.stats import (
    CrossedStatistic,
    Resampling,
    crossed_mean,
    model_weights,
    percentile_interval,
    record_weights,
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


def naive_tnr(scores, member, fnr):
    """Try every threshold: clear those under it, tied scores together."""
    best = 0.0
    for threshold in [*np.unique(scores), np.inf]:
        cleared = scores < threshold
        if (cleared & member).sum() / member.sum() <= fnr + 1e-12:
            best = max(best, (cleared & ~member).sum() / (~member).sum())
    return best


@given(tied_scores(), st.floats(0.01, 0.99))
@settings(max_examples=200, deadline=None)
def test_tnr_on_ties_equals_naive_search(data, fnr):
    scores, member = data
    curve = Curve.of(RocOrder.of(scores, member, np.ones(len(scores), bool)), np.ones((len(scores), 1)))
    assert curve.tnr_at(fnr)[0] == pytest.approx(naive_tnr(scores, member, fnr))


@given(tied_scores(), st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_blocks_divide_no_tie_and_keep_few_records_exact(data, quantiles):
    scores, member = data
    n = len(scores)
    order, half = RocOrder.of(scores, member, np.ones(n, bool)), np.arange(n) % 2 == 0
    weights = np.random.default_rng(n).integers(0, 4, (n, 5)).astype(np.int16)
    exact = Halves.of(order, weights, half)
    blocks = Blocks.of(order, half, (0.1, 0.1), exact.best(), quantiles)
    found = blocks.curves(weights)
    for fpr in (0.05, 0.3):  # the ends hold at least 50 records, here all
        assert np.array_equal(found.high.whole.tpr_at(fpr), exact.whole.tpr_at(fpr))
        assert np.array_equal(
            crossed_fpr(found.high.first, found.high.second, fpr), crossed_fpr(exact.first, exact.second, fpr)
        )
        assert np.array_equal(found.low.whole.tnr_at(fpr), exact.whole.tnr_at(fpr))
    drawn, at_ends = found.middle.first, exact.first.at(blocks.ends[blocks.middle])
    assert np.array_equal(drawn.tp, at_ends.tp)
    assert np.array_equal(drawn.fp, at_ends.fp)


def test_many_rates_at_once():
    scored = table(2, 300, 0.5, seed=8)
    order = RocOrder.of(scored.scores[0].round(1), scored.member[0], scored.scored[0])
    curve = Curve.of(order, next(record_weights(300, Resampling(resamples=20))))
    grid = np.array([0.0, 0.004, 0.1, 0.5, 1.0])
    assert np.array_equal(curve.tprs_at(grid), np.stack([curve.tpr_at(fpr) for fpr in grid]))


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
    points, whole = CrossedStatistic(scored, Resampling(resamples=50)).draws([0.1], [0.1])
    monkeypatch.setattr("privassay.harness.stats._CELLS_PER_CHUNK", 700)
    again, chunked = CrossedStatistic(scored, Resampling(resamples=50)).draws([0.1], [0.1])
    assert again == points
    assert all(np.array_equal(chunked[name], values) for name, values in whole.items())


def test_records_are_drawn_with_replacement():
    weights = next(record_weights(500, Resampling(resamples=400)))
    assert (weights.sum(axis=0) == 500).all()
    assert weights.var() == pytest.approx(1 - 1 / 500, abs=0.02)  # binomial (500, 1/500)
    assert weights.mean(axis=1) == pytest.approx(np.ones(500), abs=0.25)  # five standard errors
    assert next(record_weights(500, Resampling(resamples=400))) is weights
    assert np.array_equal(next(record_weights(500, Resampling(resamples=30))), weights[:, :30])
    assert not np.array_equal(next(record_weights(500, Resampling(resamples=400, seed=1))), weights)


SHAPES = {
    "plain": lambda scores: scores,
    "tied": lambda scores: np.round(scores, 1),
    "gap": lambda scores: (scores > 0).astype(float),
    "saturated": lambda scores: np.minimum(scores, 1.5),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shift", [0.0, 1.0, 4.0])
def test_blocks_give_the_rates_of_single_records(shape, shift):
    n, half = 3000, np.arange(3000) % 2 == 0
    scored = table(2, n, shift, seed=3)
    order = RocOrder.of(SHAPES[shape](scored.scores[0]), scored.member[0], scored.scored[0])
    weights = next(record_weights(n, Resampling(resamples=60)))
    exact, plain = Halves.of(order, weights, half), Halves.of(order, np.ones((n, 1)), half)
    found = Blocks.of(order, half, (0.02, 0.01), plain.best(), quantiles=128).curves(weights)
    for fpr in (0.001, 0.01, 0.02):
        assert np.array_equal(found.high.whole.tpr_at(fpr), exact.whole.tpr_at(fpr))
        assert np.array_equal(
            crossed_fpr(found.high.first, found.high.second, fpr), crossed_fpr(exact.first, exact.second, fpr)
        )
    assert np.array_equal(found.low.whole.tnr_at(0.01), exact.whole.tnr_at(0.01))


@pytest.mark.parametrize("shift", [0.0, 1.0, 50.0])
def test_advantage_on_blocks_starts_from_the_same_value(shift):
    scored, n, half = table(2, 2000, shift, seed=6), 2000, np.arange(2000) % 2 == 0
    order = RocOrder.of(scored.scores[0], scored.member[0], scored.scored[0])
    plain = Halves.of(order, np.ones((n, 1)), half)
    blocks = Blocks.of(order, half, (0.0, 0.0), plain.best(), quantiles=32)
    middle = blocks.curves(np.ones((n, 1), dtype=np.int16)).middle
    assert len(blocks.middle) <= 35
    assert split_advantage(middle.first, middle.second) == pytest.approx(
        split_advantage(plain.first, plain.second), abs=1e-6
    )


def exact_draws(statistic, fprs):
    """The same resamples without blocks."""
    weights = np.hstack(list(record_weights(len(statistic.half), statistic.resampling)))
    rng = generator(statistic.resampling.seed, "resample models")
    shares = model_weights(rng, statistic.resampling.resamples, statistic.table.targets)
    values = statistic.per_target(weights, statistic.half, fprs, fprs)
    return {name: (found * shares).sum(axis=1) for name, found in values.items()}


def test_intervals_from_blocks_are_those_from_single_records():
    scored = table(6, 1500, 0.7, seed=11)
    statistic = CrossedStatistic(scored, Resampling(resamples=600))
    exact, (_, draws) = exact_draws(statistic, [0.01]), statistic.draws([0.01], [0.01])
    assert set(draws) == set(exact)
    for name in ("tpr_at_fpr_0.01", "realised_fpr_at_fpr_0.01", "tnr_at_fnr_0.01"):
        assert draws[name] == pytest.approx(exact[name], abs=1e-12)
    ends = {name: np.quantile([draws[name], exact[name]], [0.025, 0.975], axis=1) for name in ("auc", "advantage")}
    assert ends["auc"][:, 0] == pytest.approx(ends["auc"][:, 1], abs=3e-4)
    assert ends["advantage"][:, 0] == pytest.approx(ends["advantage"][:, 1], abs=1e-3)


def test_curve_from_blocks_is_that_from_single_records():
    scored, grid = table(4, 1500, 0.7, seed=12), np.logspace(-3, 0, 16)
    statistic = CrossedStatistic(scored, Resampling(resamples=100))
    mean, low, high = statistic.roc(grid)
    weights = next(record_weights(1500, statistic.resampling))
    shares = model_weights(generator(0, "resample models"), 100, scored.targets)
    tprs = [Curve.of(order, weights).tprs_at(grid) for order in statistic.orders]
    exact = np.quantile(np.einsum("tgr,rt->gr", tprs, shares), [0.025, 0.975], axis=1)
    assert low == pytest.approx(np.minimum(exact[0], mean), abs=3e-3)
    assert high == pytest.approx(np.maximum(exact[1], mean), abs=3e-3)
    assert low[grid < 0.05] == pytest.approx(np.minimum(exact[0], mean)[grid < 0.05], abs=1e-12)


def sampled(table, k, seed):
    """The same table with `k` records of each target scored."""
    rng, scored = np.random.default_rng(seed), np.zeros_like(table.scored)
    for row in scored:
        row[rng.choice(len(row), k, replace=False)] = True
    return ScoreTable(table.targets, table.scores, table.member, scored)


def naive_draw(table, times, shares):
    """AUC of one repetition, by repeating records; targets of one class have no part in it."""
    areas, held = [], []
    for scores, member, scored, share in zip(table.scores, table.member, table.scored, shares, strict=True):
        rows = np.repeat(np.arange(len(scores)), times * scored)
        if len(set(member[rows])) == 2:
            areas.append(roc_auc_score(member[rows], scores[rows]))
            held.append(share)
    return np.average(areas, weights=held) if sum(held) else None


def test_draws_leave_out_targets_of_one_class():
    scored = sampled(table(6, 60, 0.5, seed=3), 3, seed=4)
    scored.scored[2] = scored.member[2]
    statistic = CrossedStatistic(scored, Resampling(resamples=80))
    assert 2 not in statistic.table.targets
    shares = model_weights(generator(0, "resample models"), 80, statistic.table.targets)
    weights = next(record_weights(60, statistic.resampling))
    found = [naive_draw(statistic.table, w, s) for w, s in zip(weights.T, shares, strict=True)]
    expected = [area for area in found if area is not None]
    assert len(expected) < 80  # some repetitions leave no target
    point, draws = statistic.auc()
    assert draws == pytest.approx(expected)
    assert statistic.draws([])[1]["auc"] == pytest.approx(expected)
    assert point == pytest.approx(naive_draw(scored, np.ones(60, int), np.ones(6)))


def test_a_curve_from_few_records_stays_a_curve():
    mean, low, high = CrossedStatistic(sampled(table(6, 60, 0.5, 3), 4, 4), Resampling(resamples=80)).roc(
        np.logspace(-2, 0, 8)
    )
    assert ((low >= 0) & (low <= mean) & (mean <= high) & (high <= 1)).all()
    assert mean[-1] == low[-1] == 1.0


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
