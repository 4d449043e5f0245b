"""Privacy accounting: the claim that a DP-SGD run supports, and the noise that a target needs.

The only module that imports `dp_accounting`. A claim is computed from what training really did
(`DPMechanism.sampling`), so a shuffled loader never gets the amplification that only Poisson sampling
earns:

- `poisson`: privacy-loss distribution (PLD) of the Poisson-subsampled Gaussian mechanism, composed over the
  steps; neighbours differ by adding or removing one record.
- `shuffled`: no amplification. A record takes part once in each pass, so k passes are k Gaussian mechanisms,
  which equal one with the noise multiplier divided by sqrt(k); neighbours differ by zeroing what one record
  contributes.
"""

from __future__ import annotations

import math
from functools import lru_cache

from .checks import open_unit, positive, require
from .errors import PrivassayError, UsageError
from .types import DPMechanism, ObservedSampling, PrivacyClaim

# Width of a PLD's cells relative to epsilon: coarser is quicker and gives a slightly larger epsilon, never a
# smaller one. Fine is right to about five digits, coarse to three.
_FINE, _COARSE = 1e-5, 1e-4
_FINEST_PLD_INTERVAL = 1e-4
_LEAST_NOISE, _MOST_NOISE = 2.0**-7, 2.0**20
_NOISE_TOLERANCE = 1e-3
_DEVIATIONS = 6.0  # of the number of records that Poisson batches drew


def dp_sgd_claim(mechanism: DPMechanism) -> PrivacyClaim:
    """Return the (epsilon, delta) claim that the observed sampling of a DP-SGD run supports.

    Raises:
        UsageError: the noise multiplier is zero or so small that epsilon has no finite value, or a field is
            out of its range.
    """
    sigma, sampling = float(mechanism.noise_multiplier), mechanism.sampling
    require(sigma > 0, "noise_multiplier", sigma, "> 0: without noise no claim can be made")
    positive(max_grad_norm=mechanism.max_grad_norm)
    open_unit(delta=mechanism.delta)
    epsilon = _epsilon(sigma, sampling, float(mechanism.delta), _FINE)
    poisson = sampling.sampler == "poisson"
    return PrivacyClaim(
        epsilon=epsilon,
        delta=float(mechanism.delta),
        unit="record",
        neighbouring="add_or_remove_one" if poisson else "zero_out_one",
        sampler=sampling.sampler,
        accountant="pld" if poisson else "gaussian",
        event=_event_text(mechanism),
        assumptions=_assumptions(mechanism),
    )


def noise_multiplier_for(target_epsilon: float, delta: float, sampling: ObservedSampling) -> float:
    """Return the smallest noise multiplier, within 1e-3, whose claim is at most `target_epsilon` at `delta`.

    The result is checked with the function that later makes the claim, so the claim of a run that follows
    `sampling` does not exceed the target.

    Args:
        target_epsilon: greater than 0.
        delta: between 0 and 1.
        sampling: the sampling as planned.

    Raises:
        UsageError: an argument is out of range, or no noise multiplier from 2^-7 to 2^20 meets the target.
    """
    positive(target_epsilon=target_epsilon)
    open_unit(target_delta=delta)
    return _calibrated(float(target_epsilon), float(delta), sampling)


def observed_poisson(sample_rate: float, steps: int, records: int, drawn: float) -> ObservedSampling:
    """Return the sampling of a run of Poisson batches, after checking that it was one.

    Args:
        sample_rate: probability with which every record was to join every batch.
        steps: batches that were drawn.
        records: records that they were drawn from.
        drawn: how many records joined, over all batches; binomial with steps x records coins.

    Raises:
        PrivassayError: so many or so few come about less than once in 500 million runs: another sampler was at work,
            and the claim would be for one that was not used.
    """
    coins = steps * records
    tolerance = _DEVIATIONS * math.sqrt(coins * sample_rate * (1 - sample_rate))
    if abs(drawn - coins * sample_rate) > tolerance + 0.5:
        raise PrivassayError(
            f"Poisson sampling at rate {sample_rate:.6g} was to draw about {coins * sample_rate:.6g} records in "
            f"{steps} batches, it drew {drawn:.6g}: no claim can be made"
        )
    return ObservedSampling("poisson", sample_rate=sample_rate, steps=steps, epochs=steps * sample_rate)


def gaussian_epsilon(noise_multiplier: float, delta: float) -> float:
    """Return the exact epsilon at `delta` of one Gaussian mechanism with sensitivity 1.

    Solves Balle and Wang (2018, arXiv:1805.06530), theorem 8, for epsilon, in the log domain:
    delta = Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu) with mu = 1 / noise_multiplier.

    Args:
        noise_multiplier: standard deviation of the noise over the sensitivity, greater than 0.
        delta: between 0 and 1.

    Raises:
        UsageError: an argument is out of its range.
    """
    from scipy.optimize import brentq
    from scipy.special import log_ndtr

    positive(noise_multiplier=noise_multiplier)
    open_unit(delta=delta)
    mu = 1.0 / noise_multiplier

    def excess(epsilon: float) -> float:
        upper = math.exp(log_ndtr(mu / 2 - epsilon / mu))
        return upper - math.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu)) - delta

    if excess(0.0) <= 0:
        return 0.0
    # The bound by zero-concentrated differential privacy (Bun and Steinke 2016) is never below the solution.
    ceiling = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta))
    return float(brentq(excess, 0.0, ceiling, xtol=1e-12))


def _check_sampling(sampling: ObservedSampling) -> None:
    require(0 < sampling.sample_rate <= 1, "sample_rate", sampling.sample_rate, "> 0 and <= 1")
    require(sampling.steps >= 1, "steps", sampling.steps, ">= 1")
    positive(epochs=sampling.epochs)


@lru_cache(maxsize=1024)
def _epsilon(noise_multiplier: float, sampling: ObservedSampling, delta: float, resolution: float) -> float:
    _check_sampling(sampling)
    if sampling.sampler == "shuffled":
        return gaussian_epsilon(noise_multiplier / math.sqrt(_passes(sampling)), delta)
    return _poisson_epsilon(noise_multiplier, sampling, delta, resolution)


def _poisson_epsilon(noise_multiplier: float, sampling: ObservedSampling, delta: float, resolution: float) -> float:
    import dp_accounting
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    step = dp_accounting.PoissonSampledDpEvent(sampling.sample_rate, dp_accounting.GaussianDpEvent(noise_multiplier))
    event = dp_accounting.SelfComposedDpEvent(step, sampling.steps)
    neighbours = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    try:
        # Renyi accounting, quick and loose, only sets the width of the cells.
        rough = RdpAccountant(neighboring_relation=neighbours).compose(event).get_epsilon(delta)
        interval = max(_FINEST_PLD_INTERVAL, rough * resolution)
        epsilon = float(PLDAccountant(neighbours, interval).compose(event).get_epsilon(delta))
    except OverflowError:
        epsilon = math.inf
    if not math.isfinite(epsilon):
        raise UsageError(f"noise_multiplier={noise_multiplier!r}: too small, epsilon has no finite value")
    return epsilon


@lru_cache(maxsize=64)
def _calibrated(target_epsilon: float, delta: float, sampling: ObservedSampling) -> float:
    from scipy.optimize import brentq

    def excess(noise_multiplier: float) -> float:
        return _epsilon(noise_multiplier, sampling, delta, _COARSE) - target_epsilon

    unreachable = UsageError(
        f"target_epsilon={target_epsilon!r}: no noise multiplier from {_LEAST_NOISE:g} to {_MOST_NOISE:g}"
        f" gives it at delta={delta!r}"
    )
    high = 1.0
    while excess(high) > 0:
        high *= 2
        if high > _MOST_NOISE:
            raise unreachable
    low = high / 2
    while excess(low) <= 0:
        low, high = low / 2, low
        if low < _LEAST_NOISE:
            raise unreachable
    tolerance = _NOISE_TOLERANCE * min(1.0, low)
    root = float(brentq(excess, low, high, xtol=tolerance / 2))
    met = _epsilon(root, sampling, delta, _FINE) <= target_epsilon
    return root if met else root + tolerance


def _passes(sampling: ObservedSampling) -> int:
    """How often a record took part at most: passes begun, not only those finished."""
    return math.ceil(sampling.epochs - 1e-9)


def _event_text(mechanism: DPMechanism) -> str:
    sampling = mechanism.sampling
    gaussian = f"each the Gaussian mechanism with noise multiplier {mechanism.noise_multiplier:.10g}"
    if sampling.sampler == "poisson":
        return f"{sampling.steps} steps, {gaussian} on a Poisson sample at rate {sampling.sample_rate:.10g}"
    return f"{_passes(sampling)} passes over shuffled records, {gaussian}, no amplification by sampling"


def _assumptions(mechanism: DPMechanism) -> tuple[str, ...]:
    if mechanism.sampling.sampler == "poisson":
        batches = (
            "Batches were drawn independently: at every step each record joined by its own coin, and the sum"
            " of gradients was divided by the expected batch size."
        )
    else:
        batches = "Each record was used at most once in each pass; nothing else is assumed of the batches."
    return (
        "The unit is one record: a person with several records is protected less.",
        batches,
        f"Each record's gradient was clipped to L2 norm {mechanism.max_grad_norm:.10g} before it was summed.",
        "Noise and batches come from a seeded pseudo-random generator that is not cryptographic, so that an"
        " evaluation can be repeated; whoever learns the seed can remove the noise.",
        "The number of records and the training settings are public, and choosing those settings by looking"
        " at the data is not counted.",
        "The noise is computed in floating point; attacks on its finite precision are not counted.",
    )
