"""Guesses in one run: exact oracle in fractions, exact size of the test, near misses and refusals."""

import math
from fractions import Fraction

import numpy as np
import pytest
from privassay.harness.audit import (
    epsilon_one_run,
    epsilon_one_run_fdp,
    epsilon_one_run_group,
    max_provable_epsilon_one_run,
    one_run_p_value,
)
from privassay.harness.audit.one_run import group_delta
from privassay.harness.audit.one_run_fdp import _refuted
from privassay.harness.errors import UsageError
from scipy.stats import binom, norm


def exact_p_value(m, r, v, odds, delta):
    """The definition in fractions; e^epsilon = odds."""
    q = Fraction(odds, odds + 1)
    mass = [math.comb(r, j) * q**j * (1 - q) ** (r - j) for j in range(r + 1)]
    tail = sum(mass[v:])
    most = max((sum(mass[v - i : v]) / i for i in range(1, v + 1)), default=0)
    return min(1.0, float(tail + 2 * m * Fraction(delta) * most))


@pytest.mark.parametrize("odds", [1, 2, 3, 40])
@pytest.mark.parametrize("delta", [0, 1e-4, 1e-2])
def test_p_value_equals_the_definition_in_fractions(odds, delta):
    for m, r in ((30, 30), (30, 7), (200, 60)):
        for v in range(0, r + 1, 1 + r // 12):
            found = one_run_p_value(m, r, v, math.log(odds), delta)
            assert found == pytest.approx(exact_p_value(m, r, v, odds, delta), rel=1e-10), (m, r, v)


def test_p_value_rises_with_epsilon_so_that_the_search_finds_the_largest():
    epsilons = np.linspace(0, 12, 400)
    for m, r, v in ((1000, 100, 90), (1000, 1000, 700), (20_000, 2000, 1990), (50, 50, 50), (40, 9, 1)):
        for delta in (0, 1e-6, 1e-3):
            p = np.array([one_run_p_value(m, r, v, epsilon, delta) for epsilon in epsilons])
            below = p < 0.3  # p is cut at 1, and only its first crossing of alpha matters
            assert (np.diff(p[below]) >= -1e-12).all()
            assert not below[np.argmin(below) :].any() or below.all()


def test_the_bound_is_where_the_p_value_crosses_alpha():
    for m, r, v, delta in ((1000, 100, 95, 1e-5), (300, 300, 200, 0), (20_000, 20_000, 15_000, 1e-7)):
        bound = float(epsilon_one_run(m, r, v, delta=delta, alpha=0.05))
        assert one_run_p_value(m, r, v, bound, delta) < 0.05
        assert one_run_p_value(m, r, v, bound + 1e-6, delta) > 0.05


def size(p_values, mass, alpha=0.05):
    """Probability that a test refuses the truth."""
    return float(mass[np.asarray(p_values) < alpha].sum())


def test_the_test_is_of_size_alpha_and_a_strict_tail_is_not():
    # Randomised response with epsilon = ln 3: the number of right guesses is exactly Bin(r, 3/4).
    sizes, strict = [], []
    for r in range(5, 60):
        counts, mass = np.arange(r + 1), binom.pmf(np.arange(r + 1), r, 0.75)
        sizes.append(size([one_run_p_value(r, r, int(v), math.log(3), 0) for v in counts], mass))
        strict.append(size(binom.sf(counts, r, 0.75), mass))  # P[Bin > v] instead of P[Bin >= v]
    assert max(sizes) < 0.05
    assert max(sizes) > 0.04
    assert max(strict) > 0.1


def test_delta_dropped_refuses_the_truth_too_often():
    # A share delta of the canaries is told in the clear, the rest is randomised response: (ln 3, delta)-DP.
    m, delta = 1000, 0.02
    counts, mass = np.arange(m + 1), binom.pmf(np.arange(m + 1), m, delta + (1 - delta) * 0.75)
    with_delta = [one_run_p_value(m, m, int(v), math.log(3), delta) for v in counts]
    without = [one_run_p_value(m, m, int(v), math.log(3), 0) for v in counts]
    assert size(with_delta, mass) <= 0.05
    assert size(without, mass) > 0.08


def naive_refuted(mu, m, r, v, alpha):
    """The recursion to its end, as printed."""
    h, right = alpha * (r - v) / m, alpha * v / m
    for i in range(v - 1, -1, -1):
        grown = max(h, norm.cdf(norm.ppf(min(right, 1.0)) - mu))
        right += i / (r - i) * (grown - h)
        h = grown
    return right + h > r / m


def test_the_gaussian_recursion_may_stop_early():
    outcomes = set()
    for m, r in ((40, 40), (100, 30), (60, 1)):
        for v in range(0, r + 1, 1 + r // 15):
            for mu in (0.0, 0.05, 0.3, 0.8, 1.5, 3.0):
                expected = naive_refuted(mu, m, r, v, 0.05)
                assert _refuted(mu, m, r, v, 0.05) == expected, (m, r, v, mu)
                outcomes.add(expected)
    assert outcomes == {False, True}


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.5])
def test_the_gaussian_test_is_of_size_alpha(mu):
    m = 200  # every canary has its own Gaussian output, thresholded in the middle
    counts, mass = np.arange(m + 1), binom.pmf(np.arange(m + 1), m, norm.cdf(mu / 2))
    refuted = np.array([_refuted(mu, m, m, int(v), 0.05) for v in counts])
    assert mass[refuted].sum() <= 0.05
    assert mass[refuted].sum() > 0  # some number of right guesses is too many
    assert (np.diff(refuted.astype(int)) >= 0).all()


def test_copies_cost_epsilon_and_delta():
    given = (1000, 200, 190)
    single = float(epsilon_one_run(*given, delta=0))
    assert float(epsilon_one_run_group(*given, 1, delta=1e-5)) == float(epsilon_one_run(*given, delta=1e-5))
    assert float(epsilon_one_run_group(*given, 4, delta=0)) == pytest.approx(single / 4, abs=1e-8)
    with_delta = float(epsilon_one_run_group(*given, 4, delta=1e-5))
    assert with_delta < single / 4 - 0.01
    at_bound = one_run_p_value(*given, 4 * with_delta, group_delta(with_delta, 1e-5, 4))
    assert at_bound == pytest.approx(0.05, abs=1e-6)
    assert group_delta(0.7, 1e-5, 4) == pytest.approx(1e-5 * math.expm1(4 * 0.7) / math.expm1(0.7))
    assert group_delta(0.0, 1e-5, 4) == pytest.approx(4e-5)
    assert group_delta(500.0, 1e-5, 4) == 1.0


def test_no_audit_of_one_run_can_prove_more_than_all_guesses_right():
    for m, delta in ((50, 1e-5), (1000, 1e-5), (2000, 1e-4)):
        ceiling = max_provable_epsilon_one_run(m, delta=delta, alpha=0.05)
        assert max(float(epsilon_one_run(m, r, r, delta=delta)) for r in range(1, m + 1, m // 25)) <= ceiling


def test_nothing_right_proves_nothing():
    for function in (epsilon_one_run, epsilon_one_run_fdp):
        for r, v in ((0, 0), (100, 0), (100, 50), (1, 1)):
            assert float(function(100, r, v, delta=1e-5)) == 0


def test_results_say_what_they_are():
    found = epsilon_one_run(1000, 100, 90, delta=1e-5, alpha=0.1)
    assert (found.kind, found.level, found.n, found.high) == ("lower bound", 0.9, 1000, None)
    assert "fair coin" in found.assumes
    conditional = epsilon_one_run_fdp(1000, 100, 90, delta=1e-5)
    assert conditional.kind == "conditional lower bound"
    assert "mu-GDP" in conditional.assumes


@pytest.mark.parametrize("function", [epsilon_one_run, epsilon_one_run_fdp])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0, 0, 0), r"m=0: must be a whole number >= 1"),
        ((10, 11, 5), r"r=11: must be a whole number from 0 to m = 10"),
        ((10, 5, 6), r"v=6: must be a whole number from 0 to r = 5"),
        ((10, 5, -1), r"v=-1"),
        ((10, 5, 2.5), r"v=2\.5"),
    ],
)
def test_impossible_guesses_are_refused(function, given, message):
    with pytest.raises(UsageError, match=message):
        function(*given, delta=1e-5)
    with pytest.raises(UsageError, match=message):
        one_run_p_value(*given, 1.0, 0.0)
    with pytest.raises(UsageError, match=message):
        epsilon_one_run_group(*given, 2, delta=0.0)


def test_levels_out_of_range_are_refused():
    for delta in (-0.1, 1.0, math.nan):
        with pytest.raises(UsageError, match="delta="):
            epsilon_one_run(10, 5, 5, delta=delta)
        with pytest.raises(UsageError, match="delta="):
            epsilon_one_run_fdp(10, 5, 5, delta=delta)
        with pytest.raises(UsageError, match="delta="):
            one_run_p_value(10, 5, 5, 1.0, delta)
    with pytest.raises(UsageError, match="alpha="):
        epsilon_one_run(10, 5, 5, delta=0, alpha=0)
    with pytest.raises(UsageError, match="epsilon="):
        one_run_p_value(10, 5, 5, math.inf, 0)
    with pytest.raises(UsageError, match="copies=0"):
        epsilon_one_run_group(10, 5, 5, 0, delta=0)
