"""Counts of independent trials: naive oracle, coverage, near misses and refusals."""

import math

import numpy as np
import pytest
from privassay.harness.audit import (
    as_heuristic,
    epsilon_bayesian,
    epsilon_clopper_pearson,
    epsilon_clopper_pearson_both,
    epsilon_from_mu,
    epsilon_gdp,
    mu_gdp,
)
from privassay.harness.errors import UsageError
from scipy.stats import beta, binom, norm


def naive_epsilon(tp, n_in, fp, n_out, delta, alpha):
    fnr = beta.ppf(1 - alpha / 2, n_in - tp + 1, tp) if tp else 1.0
    fpr = beta.ppf(1 - alpha / 2, fp + 1, n_out - fp) if fp < n_out else 1.0
    return max(0.0, math.log((1 - fnr - delta) / fpr)) if 1 - fnr > delta else 0.0


@pytest.mark.parametrize("n_out", [1, 7, 20])
def test_every_table_of_counts_equals_the_formula_spelt_out(n_out):
    n_in = 9
    for tp in range(n_in + 1):
        for fp in range(n_out + 1):
            expected = naive_epsilon(tp, n_in, fp, n_out, 0.01, 0.1)
            found = epsilon_clopper_pearson(tp, n_in, fp, n_out, delta=0.01, alpha=0.1)
            assert float(found) == pytest.approx(expected, abs=1e-12)
            reverse = naive_epsilon(n_out - fp, n_out, n_in - tp, n_in, 0.01, 0.1)
            both = epsilon_clopper_pearson_both(tp, n_in, fp, n_out, delta=0.01, alpha=0.1)
            assert float(both) == pytest.approx(max(expected, reverse), abs=1e-12)


def test_near_misses_give_another_number():
    given = 200, 1000, 10, 1000
    right = float(epsilon_clopper_pearson(*given, delta=1e-2, alpha=0.05))
    assert naive_epsilon(*given, 1e-2, 0.1) - right > 0.05  # alpha on each rate, not half of it
    assert naive_epsilon(*given, 0.0, 0.05) - right > 0.05  # delta dropped


def wrong_with_probability(bound, tpr, fpr, truth, n):
    """Exact probability that a bound exceeds the truth, over all tables of counts of n trials on either side."""
    tp_mass, fp_mass = binom.pmf(np.arange(n + 1), n, tpr), binom.pmf(np.arange(n + 1), n, fpr)
    table = np.array([[bound(tp, n, fp, n) for fp in range(n + 1)] for tp in range(n + 1)])
    return float(tp_mass @ (table > truth + 1e-9) @ fp_mass)


def test_a_bound_is_wrong_with_probability_at_most_alpha_where_the_claim_is_tight():
    # Randomised response at epsilon = ln 3, and coins with a share delta of records in the clear.
    alpha, n = 0.4, 20
    for odds, delta in ((3, 0.0), (1, 0.4)):
        q = odds / (1 + odds)
        tpr, fpr = delta + (1 - delta) * q, (1 - delta) * (1 - q)

        def bound(*table, delta=delta):
            return float(epsilon_clopper_pearson(*table, delta=delta, alpha=alpha))

        assert wrong_with_probability(bound, tpr, fpr, math.log(odds), n) <= alpha
    # With delta dropped the records in the clear look like a larger epsilon.
    assert wrong_with_probability(lambda *t: naive_epsilon(*t, 0.0, alpha), tpr, fpr, 0.0, n) > 0.7


def test_the_gaussian_bound_is_below_mu_and_the_plug_in_is_not():
    mu, n, repetitions = 1.0, 500, 2000
    rng = np.random.default_rng(0)
    tp, fp = rng.binomial(n, norm.cdf(mu / 2), repetitions), rng.binomial(n, norm.cdf(-mu / 2), repetitions)
    found = np.array([mu_gdp(t, n, f, n) for t, f in zip(tp.tolist(), fp.tolist(), strict=True)])
    assert (found > mu).mean() <= 0.05
    assert found.mean() > 0.75
    plug_in = norm.ppf(tp / n) - norm.ppf(fp / n)
    assert (plug_in > mu).mean() > 0.4


def test_epsilon_from_mu_has_the_delta_it_says():
    for mu, delta in ((0.3, 1e-3), (1.0, 1e-5), (4.0, 1e-9)):
        epsilon = epsilon_from_mu(mu, delta)
        spent = norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)
        assert spent == pytest.approx(delta, rel=1e-6)
    assert epsilon_from_mu(0, 1e-5) == epsilon_from_mu(1e-12, 1e-5) == epsilon_from_mu(5e-324, 1e-5) == 0


def test_results_say_what_they_are():
    rates = epsilon_clopper_pearson(30, 50, 5, 60, delta=1e-5, alpha=0.1)
    assert (rates.kind, rates.level, rates.n, rates.delta, rates.high) == ("lower bound", 0.9, 110, 1e-5, None)
    assert rates.low == rates.value == float(rates)
    assert "independent, one training run each" in rates.assumes
    gaussian = epsilon_gdp(30, 50, 5, 60, delta=1e-5)
    assert gaussian.kind == "conditional lower bound"
    assert "mu-GDP" in gaussian.assumes
    marked = as_heuristic(rates, "the records were scored against one model.")
    assert (marked.kind, marked.value) == ("heuristic", rates.value)
    assert marked.assumes.startswith(rates.assumes)
    assert marked.assumes.endswith("Not met here: the records were scored against one model.")


FUNCTIONS = (epsilon_clopper_pearson, epsilon_clopper_pearson_both, epsilon_gdp, epsilon_bayesian)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((11, 10, 0, 10), r"tp=11: must be a whole number from 0 to 10"),
        ((-1, 10, 0, 10), r"tp=-1"),
        ((1.5, 10, 0, 10), r"tp=1\.5"),
        ((1, 10, 11, 10), r"fp=11"),
        ((0, 0, 0, 10), r"trials of tp=0: must be a whole number >= 1"),
        ((0, 10, 0, math.inf), r"trials of fp=inf"),
        ((math.nan, 10, 0, 10), r"tp=nan"),
    ],
)
def test_impossible_counts_are_refused(function, given, message):
    with pytest.raises(UsageError, match=message):
        function(*given, delta=1e-5, alpha=0.05)
    if function is epsilon_gdp:
        with pytest.raises(UsageError, match=message):
            mu_gdp(*given)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "levels", [(0.05, 1.0), (0.05, -1e-9), (0.05, math.nan), (0.0, 0.1), (1.0, 0.1), (math.nan, 0)]
)
def test_levels_out_of_range_are_refused(function, levels):
    alpha, delta = levels
    with pytest.raises(UsageError, match=r"must be (>=|between)"):
        function(5, 10, 5, 10, delta=delta, alpha=alpha)


def test_a_gaussian_epsilon_at_delta_0_is_refused():
    with pytest.raises(UsageError, match=r"delta=0"):
        epsilon_gdp(9, 10, 1, 10, delta=0)
    with pytest.raises(UsageError, match=r"mu=-1"):
        epsilon_from_mu(-1, 1e-5)
