"""Epsilon from scores: every strategy against a naive search, ties, leaks of order, and refusals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from privassay.harness.audit import (
    METHODS,
    Bonferroni,
    Explicit,
    MultiSplit,
    Split,
    epsilon_clopper_pearson_both,
    epsilon_from_mu,
    epsilon_from_scores,
    epsilon_one_run,
    epsilon_one_run_fdp,
    mu_gdp,
)
from privassay.harness.audit.score_guesses import grid_of_guesses
from privassay.harness.audit.score_rates import grid_of_false_positives
from privassay.harness.errors import UsageError
from scipy.stats import beta, binom, norm

DELTA = 1e-5
STRATEGIES = (Explicit(0.5), Split(), MultiSplit(5), Bonferroni(), Bonferroni(1))
ONE_RUN = {"one_run": epsilon_one_run, "one_run_fdp": epsilon_one_run_fdp}


def audit(ins, outs, method, threshold, alpha=0.05):
    return epsilon_from_scores(ins, outs, delta=DELTA, alpha=alpha, method=method, threshold=threshold)


def upper(k, n, alpha):
    return beta.ppf(1 - alpha, k + 1, n - k) if k < n else 1.0


def epsilon_of(fnr, fpr):
    ratios = [(1 - a - DELTA) / b for a, b in ((fnr, fpr), (fpr, fnr))]
    return max([0.0, *(math.log(ratio) for ratio in ratios if ratio > 0)])


@st.composite
def scores(draw):
    levels = st.integers(0, draw(st.integers(1, 30)))
    sides = [draw(st.lists(levels, min_size=4, max_size=60)) for _ in range(2)]
    shift = draw(st.sampled_from([0.0, 3.0, 40.0]))
    return np.array(sides[0]) + shift, np.array(sides[1], dtype=float)


@given(scores())
@settings(max_examples=60, deadline=None)
def test_rates_equal_a_naive_search(data):
    ins, outs = data
    n_in, n_out = len(ins), len(outs)

    def counts(threshold):
        return (ins < threshold).sum(), (outs >= threshold).sum()

    fn, fp = counts(7.0)
    explicit = float(epsilon_clopper_pearson_both(n_in - fn, n_in, fp, n_out, delta=DELTA))
    assert float(audit(ins, outs, "clopper_pearson", Explicit(7.0))) == pytest.approx(explicit, abs=1e-12)
    assert float(audit(ins, outs, "gdp", Explicit(7.0))) == pytest.approx(
        epsilon_from_mu(mu_gdp(n_in - fn, n_in, fp, n_out), DELTA), abs=1e-9
    )
    best = 0.0
    for threshold in {*ins, *outs}:
        fn, fp = counts(threshold)
        best = max(best, epsilon_of(upper(fn, n_in, 0.025 / n_in), upper(fp, n_out, 0.025 / n_out)))
    assert float(audit(ins, outs, "clopper_pearson", Bonferroni(None))) == pytest.approx(best, abs=1e-9)

    grid, best = grid_of_false_positives(n_out, 6), 0.0
    for k in grid:
        cut = sorted(outs, reverse=True)[k]
        fn = (ins <= cut).sum()
        best = max(best, epsilon_of(upper(fn, n_in, 0.025 / len(grid)), upper(k, n_out, 0.025 / len(grid))))
    assert float(audit(ins, outs, "clopper_pearson", Bonferroni(6))) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("method", ONE_RUN)
def test_guesses_equal_a_naive_search(method):
    rng = np.random.default_rng(1)
    for n_in, n_out in ((40, 37), (3, 2), (150, 160)):
        ins, outs = rng.normal(2.0, 1.0, n_in), rng.normal(0.0, 1.0, n_out)
        m, marked = n_in + n_out, sorted([(s, True) for s in ins] + [(s, False) for s in outs])
        right = (ins >= 1.0).sum() + (outs < 1.0).sum()
        assert float(audit(ins, outs, method, Explicit(1.0))) == float(ONE_RUN[method](m, m, int(right), delta=DELTA))
        grid, best = grid_of_guesses(m, 6, 0.05), 0.0
        for k in grid.tolist():
            right = sum(member for _, member in marked[-k:]) + sum(not member for _, member in marked[:k])
            best = max(best, float(ONE_RUN[method](m, 2 * k, right, delta=DELTA, alpha=0.05 / len(grid))))
        assert float(audit(ins, outs, method, Bonferroni(6))) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("threshold", STRATEGIES)
def test_the_order_of_scores_within_a_side_does_not_matter_without_ties(method, threshold):
    rng = np.random.default_rng(2)
    ins, outs = rng.normal(3.0, 1.0, 80), rng.normal(0.0, 1.0, 90)
    if isinstance(threshold, Explicit | Bonferroni):  # a split is by place
        assert float(audit(ins, outs, method, threshold)) == float(audit(ins[::-1], np.sort(outs), method, threshold))
    assert float(audit(ins, outs, method, threshold)) == float(audit(ins, outs, method, threshold))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("threshold", STRATEGIES)
def test_tied_scores_tell_nothing(method, threshold):
    # Ordered by place, with the "in" scores first, every guess would be right: epsilon above 3.
    assert float(audit(np.ones(200), np.ones(200), method, threshold)) == 0


def test_a_tie_is_flagged_whole():
    ins, outs = np.repeat([1.0, 2.0], [10, 90]), np.repeat([0.0, 1.0, 2.0], [50, 45, 5])
    for threshold in (0.5, 1.5):
        fn, fp = (ins < threshold).sum(), (outs >= threshold).sum()
        expected = float(epsilon_clopper_pearson_both(100 - fn, 100, fp, 100, delta=DELTA))
        assert float(audit(ins, outs, "clopper_pearson", Explicit(threshold))) == expected
        assert expected > 0.5


@pytest.mark.parametrize("method", METHODS)
def test_the_median_of_splits_is_at_half_of_alpha(method):
    rng = np.random.default_rng(3)
    ins, outs = rng.normal(2.0, 1.0, 100), rng.normal(0.0, 1.0, 100)
    single = float(audit(ins, outs, method, MultiSplit(1, seed=7), alpha=0.05))
    assert single == float(audit(ins, outs, method, Split(seed=7), alpha=0.025))
    assert single != float(audit(ins, outs, method, Split(seed=7), alpha=0.05))


def test_infinite_scores_are_scores():
    ins, outs = np.append(np.full(50, np.inf), np.zeros(5)), np.append(np.full(50, -np.inf), np.zeros(5))
    for method in METHODS:
        for threshold in STRATEGIES[1:4]:
            assert float(audit(ins, outs, method, threshold)) > 1


def bands_hold(n, share, repetitions=2000):
    """Share of repetitions where FPR lies under its upper end at every threshold of an ROC curve at once."""
    ends = np.array([upper(k, n, share) for k in range(n)])
    tails = 1 - np.sort(np.random.default_rng(4).random((repetitions, n)))[:, ::-1]
    return (tails <= ends).all(axis=1).mean()  # FPR just above the (k + 1)-th largest score, for every k


def test_ends_hold_on_the_whole_roc_curve_at_once_and_not_without_the_share():
    assert bands_hold(50, 0.025 / 50) >= 0.975
    assert bands_hold(50, 0.025) < 0.9  # the near miss: each end at alpha / 2


def test_a_number_of_guesses_picked_on_the_same_scores_is_no_bound():
    # What the strategies are for: the best number of guesses without a correction reports epsilon > 0 on nothing.
    rng, best, shared = np.random.default_rng(5), 0, 0
    for _ in range(200):
        member = rng.random(1000) < 0.5
        right = np.array([member[:k].sum() + (~member[-k:]).sum() for k in grid_of_guesses(1000, 20, 0.05)])
        p = binom.sf(right - 1, 2 * grid_of_guesses(1000, 20, 0.05), 0.5)
        best, shared = best + (p.min() < 0.05), shared + (p.min() < 0.05 / len(p))
    assert best > 0.2 * 200
    assert shared <= binom.ppf(0.999, 200, 0.05)


def test_grids_are_fixed_by_sizes_alone():
    assert grid_of_false_positives(1000, 5).tolist() == [0, 30, 500, 969, 999]
    assert grid_of_false_positives(1, 10).tolist() == [0]
    assert grid_of_false_positives(3, 1).tolist() == [1]
    assert grid_of_guesses(1000, 3, 0.05).tolist() == [3, 39, 500]
    assert grid_of_guesses(2, 10, 0.05).tolist() == [1]
    assert grid_of_guesses(5, 10, 0.05).tolist() == [2]


def test_results_say_how_the_threshold_was_chosen():
    ins, outs = np.arange(10) + 5.0, np.arange(10.0)
    kinds = {
        "clopper_pearson": "lower bound",
        "gdp": "conditional lower bound",
        "one_run": "lower bound",
        "one_run_fdp": "conditional lower bound",
    }
    for method, kind in kinds.items():
        found = audit(ins, outs, method, MultiSplit(3))
        assert (found.kind, found.n, found.delta, found.level) == (kind, 20, DELTA, 0.95)
        assert found.method.endswith("median of 3 random splits, each at alpha / 2")
    assert "threshold 4.5 fixed in advance" in audit(ins, outs, "gdp", Explicit(4.5)).method
    assert "best of 10 thresholds" in audit(ins, outs, "gdp", Bonferroni()).method
    assert "best of all thresholds" in audit(ins, outs, "gdp", Bonferroni(None)).method
    assert "chosen on one half" in audit(ins, outs, "gdp", Split()).method


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_scores": []}, r"shape of in_scores=\(0,\): must be \(n,\) with n >= 1"),
        ({"out_scores": []}, r"shape of out_scores"),
        ({"in_scores": [[1.0, 2.0]]}, r"shape of in_scores"),
        ({"out_scores": [1.0, math.nan]}, r"out_scores='NaN among them'"),
        ({"in_scores": [1.0], "threshold": Split()}, r"with n >= 2"),
        ({"method": "two_run"}, r"method='two_run': must be one of clopper_pearson, gdp"),
        ({"delta": 0.0, "method": "one_run_fdp"}, r"delta=0.0: must be > 0 for one_run_fdp"),
        ({"delta": 1.0}, r"delta=1.0"),
        ({"alpha": 1.0}, r"alpha=1.0"),
        ({"method": "one_run", "threshold": Bonferroni(None)}, r"Bonferroni\(None\)"),
    ],
)
def test_bad_input_is_refused(change, message):
    arguments = {"in_scores": [1.0, 2.0], "out_scores": [0.0, 1.0], "delta": DELTA, "method": "gdp"}
    with pytest.raises(UsageError, match=message):
        epsilon_from_scores(**{**arguments, "threshold": Bonferroni(), **change})


def test_strategies_refuse_what_they_cannot_be():
    for make in (lambda: Explicit(math.nan), lambda: MultiSplit(0), lambda: MultiSplit(1.5), lambda: Bonferroni(0)):
        with pytest.raises(UsageError, match="must be"):
            make()


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_a_handful_of_scores_proves_nothing(method, n):
    for threshold in STRATEGIES:
        if n > 1 or not isinstance(threshold, Split | MultiSplit):
            assert float(audit(np.arange(n) + 100.0, np.arange(n), method, threshold)) == 0


def test_a_shift_is_found_by_every_method_and_strategy():
    quantiles = norm.ppf((np.arange(1000) + 0.5) / 1000)
    for method in METHODS:
        for threshold in (Split(), MultiSplit(9), Bonferroni()):
            assert 0.3 < float(audit(quantiles + 1, quantiles, method, threshold)) < epsilon_from_mu(1.0, DELTA)
