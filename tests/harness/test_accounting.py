import dataclasses
import math

import pytest
from privassay.harness.accounting import dp_sgd_claim, gaussian_epsilon, noise_multiplier_for
from privassay.harness.errors import UsageError
from privassay.harness.types import DPMechanism, ObservedSampling


def poisson(rate, steps):
    return ObservedSampling("poisson", rate, steps, epochs=rate * steps)


def shuffled(epochs, batches=10):
    return ObservedSampling("shuffled", 1 / batches, round(epochs * batches), epochs)


def claim(noise_multiplier, sampling, delta):
    return dp_sgd_claim(DPMechanism(noise_multiplier, 1.0, sampling, delta))


# dp-accounting 0.6.0: PLD with cells of 1e-4; without amplification, ceil(rate x steps) Gaussian mechanisms.
# The second row agrees with jax_privacy's documentation (3.77).
@pytest.mark.parametrize(
    ("sigma", "sampling", "delta", "amplified", "unamplified"),
    [
        (1.1, poisson(256 / 60000, 14040), 1e-5, 2.37964, 54.0458),
        (3.0, poisson(0.1, 512), 1e-6, 3.76969, 13.7654),
        (9.4, poisson(0.32768, 2000), 1e-5, 7.42439, 14.7339),
    ],
    ids=["sigma1.1", "sigma3", "sigma9.4"],
)
def test_epsilon_equals_the_reference(sigma, sampling, delta, amplified, unamplified):
    assert claim(sigma, sampling, delta).epsilon == pytest.approx(amplified, abs=5e-5)
    without = claim(sigma, shuffled(sampling.epochs), delta).epsilon
    assert without == pytest.approx(unamplified, abs=5e-4)


@pytest.mark.parametrize(
    ("mu", "epsilon"),
    [(0.1, 0.3406693647), (0.5, 1.993091404), (1, 4.377178096), (2, 9.997256146), (3, 16.6754944)],
)
def test_gaussian_epsilon_equals_the_reference(mu, epsilon):
    assert gaussian_epsilon(1 / mu, 1e-5) == pytest.approx(epsilon, rel=1e-9)


def test_gaussian_epsilon_at_the_ends():
    # Total variation 2 Phi(mu/2) - 1 is below delta: nothing is left to pay for.
    assert gaussian_epsilon(1e5, 1e-5) == 0.0
    # So little noise that e^epsilon overflows: mu^2 / 2 dominates.
    assert gaussian_epsilon(0.01, 1e-5) == pytest.approx(5000 + 100 * 4.265, rel=1e-3)


def test_a_claim_says_what_it_rests_on():
    amplified = claim(1.0, poisson(0.2, 100), 1e-5)
    plain = claim(1.0, shuffled(20), 1e-5)
    assert (amplified.neighbouring, amplified.accountant) == ("add_or_remove_one", "pld")
    assert (plain.neighbouring, plain.accountant) == ("zero_out_one", "gaussian")
    assert plain.epsilon > 1.5 * amplified.epsilon
    assert "100 steps" in amplified.event
    assert "Poisson sample at rate 0.2" in amplified.event
    assert "20 passes" in plain.event
    assert "no amplification" in plain.event
    for one in (amplified, plain):
        assert (one.delta, one.unit) == (1e-5, "record")
        text = " ".join(one.assumptions)
        for word in ("one record", "clipped", "not cryptographic", "settings", "floating point"):
            assert word in text
    assert "its own coin" in " ".join(amplified.assumptions)
    assert "its own coin" not in " ".join(plain.assumptions)


def test_a_pass_that_was_begun_counts_in_full():
    assert claim(2.0, shuffled(20.1), 1e-5).epsilon == claim(2.0, shuffled(21), 1e-5).epsilon
    assert claim(2.0, shuffled(20 + 1e-12), 1e-5).epsilon == claim(2.0, shuffled(20), 1e-5).epsilon


def test_more_observed_steps_cost_more():
    costs = [claim(2.0, poisson(0.2, steps), 1e-5).epsilon for steps in (50, 51)]
    assert costs[0] < costs[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_multiplier": 0.0}, "noise_multiplier=0.0: must be > 0: without noise no claim can be made"),
        ({"noise_multiplier": -1.0}, "noise_multiplier=-1.0"),
        ({"noise_multiplier": 1e-7}, "noise_multiplier=1e-07: too small"),
        ({"max_grad_norm": 0.0}, "max_grad_norm=0.0"),
        ({"delta": 0.0}, "delta=0.0"),
        ({"sampling": poisson(1.5, 10)}, "sample_rate=1.5"),
        ({"sampling": ObservedSampling("poisson", 0.2, 0, 0.0)}, "steps=0"),
    ],
)
def test_no_claim_is_made_from_a_bad_mechanism(changes, message):
    mechanism = DPMechanism(1.0, 1.0, poisson(0.2, 100), 1e-5)
    with pytest.raises(UsageError, match=message):
        dp_sgd_claim(dataclasses.replace(mechanism, **changes))


def test_a_heuristic_amount_of_noise_still_gets_a_finite_claim():
    assert 1e3 < claim(0.05, poisson(0.2, 100), 1e-5).epsilon < 1e5


@pytest.mark.parametrize(
    ("target", "delta", "sampling"),
    [
        (8.0, 1e-5, poisson(0.2, 150)),
        (1.0, 1e-4, poisson(0.05, 200)),
        (8.0, 1e-5, shuffled(20)),
        (0.5, 1e-6, shuffled(3)),
    ],
    ids=str,
)
def test_the_calibrated_noise_is_the_smallest_that_meets_the_target(target, delta, sampling):
    sigma = noise_multiplier_for(target, delta, sampling)
    assert claim(sigma, sampling, delta).epsilon <= target
    assert claim(sigma - 1e-3, sampling, delta).epsilon > target


@pytest.mark.parametrize(
    ("target", "delta", "message"),
    [
        (0.0, 1e-5, "target_epsilon=0.0"),
        (math.inf, 1e-5, "target_epsilon=inf"),
        (8.0, 1.0, "target_delta=1.0"),
        (1e9, 1e-5, "no noise multiplier from"),
        (1e-9, 1e-300, "no noise multiplier from"),
    ],
)
def test_a_target_out_of_reach_is_refused(target, delta, message):
    with pytest.raises(UsageError, match=message):
        noise_multiplier_for(target, delta, shuffled(10))
