"""The credible interval against draws from the posterior."""

import numpy as np
import pytest
from privassay.harness.audit import epsilon_bayesian
from privassay.harness.errors import UsageError


def smallest_epsilon(fnr, fpr, delta):
    """The smallest epsilon whose region holds each pair of rates."""
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = [
            np.log(np.maximum(1 - delta - a, 0) / b)
            for a, b in ((fnr, fpr), (fpr, fnr), (1 - fnr, 1 - fpr), (1 - fpr, 1 - fnr))
        ]
    return np.maximum.reduce([np.zeros_like(fnr), *bounds])


@pytest.mark.parametrize(
    ("given", "delta"),
    [((60, 100, 10, 100), 1e-3), ((10, 10, 0, 10), 0.0), ((30, 100, 35, 90), 0.05), ((2, 1000, 40, 50), 1e-5)],
)
def test_quantiles_equal_those_of_draws_from_the_posterior(given, delta):
    tp, n_in, fp, n_out = given
    rng, draws, alpha = np.random.default_rng(0), 1_000_000, 0.2
    fnr = rng.beta(n_in - tp + 0.5, tp + 0.5, draws)
    epsilon = smallest_epsilon(fnr, rng.beta(fp + 0.5, n_out - fp + 0.5, draws), delta)
    found = epsilon_bayesian(*given, delta=delta, alpha=alpha)
    for value, level in ((found.low, 0.1), (found.value, 0.5), (found.high, 0.9)):
        within = (epsilon <= value).mean()  # share of draws below the end, to five standard errors
        assert within == pytest.approx(level, abs=5 * np.sqrt(level * (1 - level) / draws)) or value == 0


def test_ends_rise_with_the_evidence_and_meet_as_it_grows():
    weak = epsilon_bayesian(60, 100, 20, 100, delta=1e-5, alpha=0.05)
    strong = epsilon_bayesian(60_000, 100_000, 20_000, 100_000, delta=1e-5, alpha=0.05)
    assert strong.high - strong.low < (weak.high - weak.low) / 25
    assert weak.low < strong.low < np.log(3) < strong.high < weak.high


def test_sides_and_decisions_may_be_swapped():
    given = epsilon_bayesian(60, 100, 10, 120, delta=1e-3, alpha=0.1)
    sides = epsilon_bayesian(110, 120, 40, 100, delta=1e-3, alpha=0.1)
    calls = epsilon_bayesian(40, 100, 110, 120, delta=1e-3, alpha=0.1)
    for other in (sides, calls):
        assert [other.low, other.value, other.high] == pytest.approx([given.low, given.value, given.high], abs=1e-5)


def test_it_says_what_it_is():
    found = epsilon_bayesian(60, 100, 10, 100, delta=1e-3, alpha=0.1)
    assert (found.kind, found.level, found.n) == ("credible interval", 0.9, 200)
    assert "prior is Jeffreys'" in found.assumes


def test_an_alpha_finer_than_the_integral_is_refused():
    with pytest.raises(UsageError, match="alpha=1e-07"):
        epsilon_bayesian(5, 10, 5, 10, delta=0, alpha=1e-7)
