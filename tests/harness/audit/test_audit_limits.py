"""What claims allow and what samples can prove."""

import math

import numpy as np
import pytest
from privassay.harness.audit import (
    dp_advantage_bound,
    dp_tpr_bound,
    epsilon_clopper_pearson_both,
    gdp_tpr_bound,
    max_provable_epsilon,
    max_provable_epsilon_one_run,
    rero_bound,
)
from privassay.harness.errors import UsageError
from scipy.stats import norm


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (0.5, 1e-3), (2.0, 0.1), (30.0, 0.0), (1.0, 1.0)])
def test_the_tpr_bound_is_the_largest_that_both_directions_allow(epsilon, delta):
    fpr = np.linspace(0, 1, 101)
    bound = dp_tpr_bound(fpr, epsilon, delta)
    factor = math.exp(min(epsilon, 700))

    def allowed(tpr):
        return (tpr <= factor * fpr + delta + 1e-12) & (1 - fpr <= factor * (1 - tpr) + delta + 1e-12 * factor)

    assert bound.shape == fpr.shape
    assert allowed(bound).all()
    assert not (allowed(bound + 1e-9 * (1 + factor)) & (bound + 1e-9 * (1 + factor) <= 1)).any()
    assert dp_advantage_bound(epsilon, delta) == pytest.approx((bound - fpr).max(), abs=0.02)
    assert (bound - fpr).max() <= dp_advantage_bound(epsilon, delta) + 1e-12


def test_bounds_take_numbers_and_arrays():
    assert isinstance(dp_tpr_bound(0.1, 1.0, 0.0), float)
    assert isinstance(gdp_tpr_bound(0.1, 1.0), float)
    assert gdp_tpr_bound(np.array([[0.0, 1.0]]), 1.0).tolist() == [[0.0, 1.0]]
    assert dp_tpr_bound(np.array([0.0, 0.5]), 1e4, 0.1).tolist() == [0.1, 1.0]
    assert dp_tpr_bound(np.array([0.1, 0.2]), 1.0, 0.0)[1] == dp_tpr_bound(0.2, 1.0, 0.0)


def test_perfect_decisions_are_the_ceiling():
    ceiling = max_provable_epsilon(20, 30, delta=1e-5, alpha=0.05)
    tables = [(tp, 20, fp, 30) for tp in range(21) for fp in range(31)]
    assert max(float(epsilon_clopper_pearson_both(*table, delta=1e-5)) for table in tables) == ceiling
    # The rule of thumb for equal sides: about ln of n / -ln(alpha / 2).
    assert max_provable_epsilon(10_000, 10_000, delta=0, alpha=0.05) == pytest.approx(math.log(10_000 / 3.69), abs=1e-3)


def two_step_success(kappa, sigma, q, side=1201):
    """Most mass with the record on a set of mass kappa without it, for two steps, on a grid of outputs."""
    x = np.linspace(-7 * sigma, 1 + 7 * sigma, side)
    without = norm.pdf(x, 0, sigma) * (x[1] - x[0])
    with_record = ((1 - q) * norm.pdf(x, 0, sigma) + q * norm.pdf(x, 1, sigma)) * (x[1] - x[0])
    p, quiet = np.outer(with_record, with_record).ravel(), np.outer(without, without).ravel()
    order = np.argsort(-(p / np.maximum(quiet, 1e-300)))
    return float(np.interp(kappa, np.cumsum(quiet[order]), np.cumsum(p[order])))


@pytest.mark.parametrize(("kappa", "sigma", "q"), [(0.1, 1.0, 0.1), (0.01, 0.7, 0.4), (0.5, 2.0, 0.9)])
def test_the_simulated_rero_bound_is_an_upper_end_close_to_the_integral(kappa, sigma, q):
    exact = two_step_success(kappa, sigma, q)
    assert exact < rero_bound(kappa, sigma, 2, q) < 1.12 * exact
    assert rero_bound(kappa, sigma, 2, q) == rero_bound(kappa, sigma, 2, q)


def test_the_rero_bound_joins_its_closed_forms():
    full = rero_bound(0.1, 5.0, 20, 1.0)
    assert full < rero_bound(0.1, 5.0, 20, 0.999999) < 1.06 * full
    assert rero_bound(1 - 1e-9, 1.0, 3, 0.5) == 1.0  # no number of draws is enough: nothing is excluded


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dp_tpr_bound(1.1, 1.0, 0.0), "fpr=1.1"),
        (lambda: dp_tpr_bound(np.array([0.1, np.nan]), 1.0, 0.0), "fpr="),
        (lambda: dp_tpr_bound(0.1, -1.0, 0.0), "epsilon=-1.0"),
        (lambda: dp_advantage_bound(1.0, 1.1), "delta=1.1"),
        (lambda: gdp_tpr_bound(0.1, math.inf), "mu=inf"),
        (lambda: max_provable_epsilon(0, 10, delta=0, alpha=0.05), "trials of tp=0"),
        (lambda: max_provable_epsilon_one_run(0, delta=0, alpha=0.05), "m=0"),
        (lambda: rero_bound(0.0, 1.0, 1, 1.0), "kappa=0.0"),
        (lambda: rero_bound(0.1, 0.0, 1, 1.0), "sigma=0.0"),
        (lambda: rero_bound(0.1, 1.0, 0, 1.0), "steps=0"),
        (lambda: rero_bound(0.1, 1.0, 1, 0.0), "q=0.0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
