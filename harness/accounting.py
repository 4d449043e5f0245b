"""Privacy accounting: the claim that a DP-SGD run supports, and the noise that a target needs.

The only module that imports `dp_accounting`. A claim is computed from what training really did
(`DPMechanism.sampling`), so a shuffled loader never gets the amplification that only Poisson sampling
earns:

- `poisson`: the Poisson-subsampled Gaussian mechanism, composed over the steps by its privacy-loss distribution
  (PLD) or by Renyi divergences (RDP, looser); neighbours differ by adding or removing one record.
- `shuffled`: no amplification. A record takes part once in each pass, so k passes are k Gaussian mechanisms,
  which equal one with the noise multiplier divided by sqrt(k); neighbours differ by zeroing what one record
  contributes.
- `fixed_size`: no amplification either. A record may be in every batch, so k is the number of steps.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import get_args

from .checks import one_of, open_unit, positive, require
from .errors import PrivassayError, UsageError
from .types import Accountant, DPMechanism, Float64, ObservedSampling, PrivacyClaim, Sampler

# Width of a PLD's cells relative to epsilon: coarser is quicker and gives a slightly larger epsilon, never a
# smaller one. Fine is right to about five digits, coarse to three.
_FINE, _COARSE = 1e-5, 1e-4
_FINEST_PLD_INTERVAL = 1e-4
# Every order gives a valid bound; named here because the library's own choice differs between its versions.
_RENYI_ORDERS = (*(order / 10 for order in range(11, 110)), *range(11, 64), 128, 256, 512, 1024)
_LEAST_NOISE, _MOST_NOISE = 2.0**-7, 2.0**20
_NOISE_TOLERANCE = 1e-3
_DEVIATIONS = 6.0  # of the number of records that Poisson batches drew
_MOST_MU = 1e6  # beyond it the terms of the exact epsilon cancel to fewer digits than the bound is off by


class NoClaim(UsageError):
    """What training did supports no (epsilon, delta) claim: no noise, no clipping, or no finite epsilon."""


def claim_of(mechanism: DPMechanism | PrivacyClaim) -> PrivacyClaim:
    """Return the claim of what a training did: computed here, or by the defence whose theorem it is.

    Raises:
        NoClaim, UsageError: as `dp_sgd_claim`.
    """
    return mechanism if isinstance(mechanism, PrivacyClaim) else dp_sgd_claim(mechanism)


def dp_sgd_claim(mechanism: DPMechanism, accountant: Accountant = "pld") -> PrivacyClaim:
    """Return the (epsilon, delta) claim that the observed sampling of a DP-SGD run supports.

    Args:
        mechanism: what training did.
        accountant: for Poisson batches `pld` (tight) or `rdp`. Without amplification the exact epsilon is known and
            every accountant gives way to it; the claim then says `gaussian`.

    Raises:
        NoClaim: the noise multiplier is zero or so small that epsilon has no finite value, or nothing was clipped.
        UsageError: a field is out of its range, or `gaussian` is asked for on Poisson batches.
    """
    sigma, norm, sampling = float(mechanism.noise_multiplier), mechanism.max_grad_norm, mechanism.sampling
    if not sigma > 0:
        raise NoClaim(f"noise_multiplier={sigma!r}: must be > 0: without noise no claim can be made")
    if norm == math.inf:
        raise NoClaim("max_grad_norm=inf: must be finite: without clipping no claim can be made")
    positive(max_grad_norm=norm)
    open_unit(delta=mechanism.delta)
    poisson = sampling.sampler == "poisson"
    require(accountant != "gaussian" or not poisson, "accountant", accountant, "pld or rdp for Poisson batches")
    used: Accountant = accountant if poisson else "gaussian"
    return PrivacyClaim(
        epsilon=_epsilon(sigma, sampling, float(mechanism.delta), used, _FINE),
        delta=float(mechanism.delta),
        unit=mechanism.unit,
        neighbouring="add_or_remove_one" if poisson else "zero_out_one",
        sampler=sampling.sampler,
        accountant=used,
        event=_event_text(mechanism),
        assumptions=_assumptions(mechanism),
        statement=mechanism.statement,
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
    delta = Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu) with mu = 1 / noise_multiplier. A mu above 1e6 gets the
    bound by zero-concentrated differential privacy (Bun and Steinke 2016), then larger by less than 1 in 50,000;
    infinity where that overflows.

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
    # Never below the solution (Bun and Steinke 2016).
    ceiling = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta))
    if mu > _MOST_MU:
        return ceiling

    def excess(epsilon: float) -> float:
        upper = math.exp(log_ndtr(mu / 2 - epsilon / mu))
        return upper - math.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu)) - delta

    if excess(0.0) <= 0:
        return 0.0
    return float(brentq(excess, 0.0, ceiling, xtol=1e-12))


def times_used(sampling: ObservedSampling) -> int:
    """Return the most often that a record can have taken part.

    Poisson and batches of fixed size: in every step. Shuffled: in every pass that was begun, finished or not.
    """
    return math.ceil(sampling.epochs - 1e-9) if sampling.sampler == "shuffled" else sampling.steps


def shuffle_epsilon_lower_bound(noise_multiplier: float, steps: int, delta: float) -> float:
    """Return an epsilon that no proof about one shuffled pass of DP-SGD can go below.

    Chua et al. (2024, arXiv:2403.17673), the bound for one epoch: some data set makes the sums of the batches
    N(2, s^2) in one batch chosen by the shuffle and N(0, s^2) in the others, and zeroing one record turns the 2 into
    a 1. The event "some sum is at least C" then has probabilities P and Q with P <= e^epsilon Q + delta; the C that
    forces the largest epsilon is searched for. Any C gives a valid bound, so the search cannot overstate it.

    Args:
        noise_multiplier: standard deviation of the noise over the clipping norm, greater than 0.
        steps: batches of the pass, at least 1; with 1 the bound is the exact epsilon.
        delta: between 0 and 1.

    Returns:
        The bound, 0 where this event shows nothing. Neighbours differ by zeroing out one record.

    Raises:
        UsageError: an argument is out of its range.
    """
    import numpy as np
    from scipy.optimize import minimize_scalar
    from scipy.special import log_ndtr

    positive(noise_multiplier=noise_multiplier)
    require(steps >= 1, "steps", steps, ">= 1")
    open_unit(delta=delta)

    rest = math.log(steps - 1) if steps > 1 else -math.inf

    def proved(c: Float64) -> Float64:
        others = (steps - 1) * log_ndtr(c / noise_multiplier)
        p, q = (-np.expm1(log_ndtr((c - mean) / noise_multiplier) + others) for mean in (2, 1))
        # A tail below the reach of 1 - x is taken by the union over batches, from above: the bound stays valid.
        union = np.logaddexp(log_ndtr((1 - c) / noise_multiplier), rest + log_ndtr(-c / noise_multiplier))
        log_q = np.where(q > 1e-9, np.log(np.maximum(q, 1e-9)), union)
        return np.where(p > delta, np.log(np.maximum(p - delta, np.finfo(float).tiny)) - log_q, -np.inf)

    grid = np.linspace(0.0, 2 + 40 * noise_multiplier, 4001)
    best = int(proved(grid).argmax())
    near = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    finest = minimize_scalar(lambda c: -float(proved(c)), bounds=near, method="bounded", options={"xatol": 1e-12})
    return max(0.0, -float(finest.fun), float(proved(grid)[best]))


def check_sampling(sampling: ObservedSampling) -> None:
    """Raise `UsageError` unless every field is in its range."""
    one_of(get_args(Sampler), sampler=sampling.sampler)
    require(0 < sampling.sample_rate <= 1, "sample_rate", sampling.sample_rate, "> 0 and <= 1")
    require(sampling.steps >= 1, "steps", sampling.steps, ">= 1")
    positive(epochs=sampling.epochs)


@lru_cache(maxsize=1024)
def _epsilon(
    noise_multiplier: float, sampling: ObservedSampling, delta: float, accountant: Accountant, resolution: float
) -> float:
    check_sampling(sampling)
    if sampling.sampler == "poisson":
        epsilon = _poisson_epsilon(noise_multiplier, sampling, delta, accountant, resolution)
    else:
        epsilon = gaussian_epsilon(noise_multiplier / math.sqrt(times_used(sampling)), delta)
    if not math.isfinite(epsilon):
        raise NoClaim(f"noise_multiplier={noise_multiplier!r}: too small, epsilon has no finite value")
    return epsilon


def _poisson_epsilon(
    noise_multiplier: float, sampling: ObservedSampling, delta: float, accountant: Accountant, resolution: float
) -> float:
    import dp_accounting
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    step = dp_accounting.PoissonSampledDpEvent(sampling.sample_rate, dp_accounting.GaussianDpEvent(noise_multiplier))
    event = dp_accounting.SelfComposedDpEvent(step, sampling.steps)
    neighbours = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    try:
        renyi = float(RdpAccountant(_RENYI_ORDERS, neighbours).compose(event).get_epsilon(delta))
        if accountant == "rdp":
            return renyi
        # For the PLD, the quick and loose Renyi bound only sets the width of the cells.
        interval = max(_FINEST_PLD_INTERVAL, renyi * resolution)
        return float(PLDAccountant(neighbours, interval).compose(event).get_epsilon(delta))
    except OverflowError:
        return math.inf


@lru_cache(maxsize=64)
def _calibrated(target_epsilon: float, delta: float, sampling: ObservedSampling) -> float:
    from scipy.optimize import brentq

    def excess(noise_multiplier: float) -> float:
        return _epsilon(noise_multiplier, sampling, delta, "pld", _COARSE) - target_epsilon

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
    met = _epsilon(root, sampling, delta, "pld", _FINE) <= target_epsilon
    return root if met else root + tolerance


def _event_text(mechanism: DPMechanism) -> str:
    sampling = mechanism.sampling
    gaussian = f"each the Gaussian mechanism with noise multiplier {mechanism.noise_multiplier:.10g}"
    if sampling.sampler == "poisson":
        return f"{sampling.steps} steps, {gaussian} on a Poisson sample at rate {sampling.sample_rate:.10g}"
    if sampling.sampler == "shuffled":
        passes = "1 pass" if times_used(sampling) == 1 else f"{times_used(sampling)} passes"
        return f"{passes} over shuffled records, {gaussian}, no amplification by sampling"
    return f"{sampling.steps} steps, {gaussian} on a batch of fixed size, no amplification by sampling"


_BATCHES = {
    "poisson": "Batches were drawn independently: at every step each {unit} joined by its own coin, and the sum"
    " of gradients was divided by the expected batch size.",
    "shuffled": "Each {unit} was used at most once in each pass; nothing else is assumed of the batches.",
    "fixed_size": "Each {unit} was used at most once in each step; nothing else is assumed of the batches.",
}
_GRADIENTS = {"record": "record's gradient", "user": "user's gradient (the mean over the user's records)"}
_UNITS = {
    "record": "The unit is one record: a person with several records is protected less.",
    "user": "The unit is one user with all of that user's records, as the data tell whose they are.",
}


def _assumptions(mechanism: DPMechanism) -> tuple[str, ...]:
    unit = mechanism.unit
    return (
        _UNITS[unit],
        _BATCHES[mechanism.sampling.sampler].format(unit=unit),
        f"Each {_GRADIENTS[unit]} was clipped to L2 norm {mechanism.max_grad_norm:.10g} before it was summed.",
        "Noise and batches come from a seeded pseudo-random generator that is not cryptographic, so that an"
        " evaluation can be repeated; whoever learns the seed can remove the noise.",
        f"The number of {unit}s and the training settings are public, and choosing those settings by looking"
        " at the data is not counted.",
        "The noise is computed in floating point; attacks on its finite precision are not counted.",
    )
