"""Claim check without training: does a stated DP-SGD claim follow from what training did, and from itself?

The accountant must match the sampler that was used, its steps, noise, clipping and delta. What it costs to claim
Poisson amplification for shuffled batches is shown by Chua et al. (2024, arXiv:2403.17673).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from .accounting import NoClaim, dp_sgd_claim, shuffle_epsilon_lower_bound, times_used
from .checks import non_negative, open_unit, require
from .errors import PrivassayError
from .types import Accountant, DPMechanism, Float64, Ints, Neighbouring, ObservedSampling, PrivacyClaim, Sampler

FindingCode = Literal["sampler", "steps", "rate", "noise", "clipping", "delta", "neighbouring", "arithmetic"]

SLACK = 1e-3
"""A stated epsilon may be this share below the accountant's: cells of a PLD, orders of an RDP, rounding."""

FALSE_ALARM = 1e-6
"""At most this share of logs of real Poisson batches is taken for another sampler."""

_RATE_FALSE_ALARM = 1e-9
_EQUAL = 1e-9  # relative: what a detour through decimal text may change
_WORDS: dict[Sampler, str] = {
    "poisson": "Poisson batches",
    "shuffled": "shuffled batches",
    "fixed_size": "batches of fixed size",
}


@dataclass(frozen=True)
class StatedClaim:
    """What the owner of a model says about it.

    Attributes:
        epsilon: stated epsilon, >= 0.
        delta: stated delta, between 0 and 1.
        sampler: how batches are said to have been drawn.
        sample_rate: probability of joining a batch (Poisson), else batch size over records; steps x sample_rate
            are the passes.
        steps: optimiser steps that the accountant was fed.
        noise_multiplier: standard deviation of the noise over the clipping norm.
        max_grad_norm: clipping norm of one record's gradient (L2).
        neighbouring: which data sets the claim calls neighbours.
        accountant: what computed epsilon.
        records: how many records the model was trained on.
    """

    epsilon: float
    delta: float
    sampler: Sampler
    sample_rate: float
    steps: int
    noise_multiplier: float
    max_grad_norm: float
    neighbouring: Neighbouring
    accountant: Accountant
    records: int

    @property
    def mechanism(self) -> DPMechanism:
        """The DP-SGD run that the claim describes."""
        sampling = ObservedSampling(self.sampler, self.sample_rate, self.steps, self.steps * self.sample_rate)
        return DPMechanism(self.noise_multiplier, self.max_grad_norm, sampling, self.delta)


@dataclass(frozen=True)
class Finding:
    """One way in which a claim says more than is true: its code, and a sentence with the cause and both figures."""

    code: FindingCode
    text: str


@dataclass(frozen=True)
class ClaimCheck:
    """Result of a claim check.

    Attributes:
        honest: the claim recomputed from what training did, at the stated delta; None where there is none to make.
        findings: what is wrong with the stated claim, in the order of `FindingCode`.
    """

    honest: PrivacyClaim | None
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong with the stated claim."""
        return not self.findings


def check_claim(stated: StatedClaim, observed: DPMechanism) -> ClaimCheck:
    """Compare a stated claim with what training did and with the accountant's epsilon for the stated parameters.

    Only what flatters is a finding: more noise, fewer steps or a smaller delta than stated are not. Another sampler
    always is, also where its epsilon would be smaller, since the claim then follows from nothing that was done.
    What it cannot see is whether `observed` is true: noise that is drawn once and reused, or a clip that misses a
    layer, looks right here and takes an audit of the trained model.

    Args:
        stated: what the owner says.
        observed: what training counted; `observed_from_batches` finds the sampler in logged batches.

    Raises:
        UsageError: a field of either is out of its range.
    """
    non_negative(epsilon=stated.epsilon)
    open_unit(delta=stated.delta)
    require(stated.records >= 1, "records", stated.records, ">= 1")
    if stated.sample_rate == observed.sampling.sample_rate == 1:
        # Every record in every batch is every sampler at once: call it what the claim calls it.
        observed = replace(observed, sampling=replace(observed.sampling, sampler=stated.sampler))
    honest = _honest(stated, observed)
    checks = (_sampling(stated, observed, honest), _noise(stated, observed), _delta(stated, observed), _itself(stated))
    return ClaimCheck(honest, tuple(finding for check in checks for finding in check))


def _honest(stated: StatedClaim, observed: DPMechanism) -> PrivacyClaim | None:
    accountant: Accountant = "rdp" if stated.accountant == "rdp" else "pld"
    try:
        return dp_sgd_claim(replace(observed, delta=stated.delta), accountant)
    except NoClaim:
        return None


def _sampling(stated: StatedClaim, observed: DPMechanism, honest: PrivacyClaim | None) -> Iterator[Finding]:
    said, done = stated.mechanism.sampling, observed.sampling
    if done.sampler != said.sampler:
        yield Finding("sampler", _other_sampler(stated, observed, honest))
    if said.sampler == done.sampler == "shuffled":
        if times_used(done) > times_used(said):
            fed, took = times_used(said), times_used(done)
            yield Finding("steps", f"The accountant let a record be used {fed} times, training used it up to {took}.")
    elif done.steps > said.steps:
        yield Finding("steps", f"The accountant was fed {said.steps} steps, training took {done.steps}.")
    if said.sampler == done.sampler == "poisson" and _exceeds(done.sample_rate, said.sample_rate):
        rates = f"a sampling rate of {said.sample_rate:.6g}, records joined batches at {done.sample_rate:.6g}"
        yield Finding("rate", f"The accountant was fed {rates}.")


def _other_sampler(stated: StatedClaim, observed: DPMechanism, honest: PrivacyClaim | None) -> str:
    used = _WORDS[observed.sampling.sampler]
    worth = f"epsilon is {honest.epsilon:.6g}" if honest else "no claim can be made"
    text = f"Epsilon {stated.epsilon:.6g} is claimed for {_WORDS[stated.sampler]}; training used {used}, where {worth}"
    one_pass = observed.sampling.sampler == "shuffled" and times_used(observed.sampling) == 1
    if honest is None or not one_pass:
        return f"{text}."
    least = shuffle_epsilon_lower_bound(observed.noise_multiplier, observed.sampling.steps, stated.delta)
    return f"{text} and no proof about this one pass can go below {least:.6g}."


def _noise(stated: StatedClaim, observed: DPMechanism) -> Iterator[Finding]:
    said, done = stated.noise_multiplier, observed.noise_multiplier
    if _exceeds(said, done):
        noise = f"{done:.6g}" if done > 0 else "none, so that no claim can be made"
        yield Finding("noise", f"The claim says a noise multiplier of {said:.6g}, training used {noise}.")
    if _exceeds(observed.max_grad_norm, stated.max_grad_norm):
        clipped = f"clipped at {observed.max_grad_norm:.6g}"
        how = clipped if math.isfinite(observed.max_grad_norm) else "did not clip, so that no claim can be made"
        said_norm = f"{stated.max_grad_norm:.6g}"
        yield Finding("clipping", f"The claim says that gradients were clipped at norm {said_norm}, training {how}.")


def _delta(stated: StatedClaim, observed: DPMechanism) -> Iterator[Finding]:
    if _exceeds(observed.delta, stated.delta):
        deltas = f"delta {observed.delta:.6g}, the claim says delta {stated.delta:.6g}"
        yield Finding("delta", f"Epsilon was computed at {deltas}.")
    if stated.delta >= 1 / stated.records:
        limit = f"1/records = {1 / stated.records:.6g}"
        yield Finding(
            "delta",
            f"Delta {stated.delta:.6g} is not below {limit}: publishing one record in full would satisfy such a claim.",
        )


def _itself(stated: StatedClaim) -> Iterator[Finding]:
    """What is wrong with the claim whatever training did."""
    if stated.sampler != "poisson" and stated.neighbouring == "add_or_remove_one":
        yield Finding(
            "neighbouring",
            f"The claim is for adding or removing a record, which changes the other {_WORDS[stated.sampler]} too; "
            "the accounting holds for zeroing out one record only.",
        )
    head = f"Epsilon {stated.epsilon:.6g} is stated, for the stated parameters the accountant"
    try:
        computed = dp_sgd_claim(stated.mechanism, stated.accountant)
    except NoClaim as error:
        yield Finding("arithmetic", f"{head} gives none ({error}).")
        return
    if _exceeds(computed.epsilon, stated.epsilon, SLACK):
        yield Finding("arithmetic", f"{head} ({computed.accountant}) gives {computed.epsilon:.6g}.")


def _exceeds(one: float, other: float, slack: float = _EQUAL) -> bool:
    return one > other * (1 + slack)


def observed_from_batches(batches: Sequence[Ints], records: int, sample_rate: float) -> ObservedSampling:
    """Return the sampling that logged batches show.

    Likelihood-ratio tests whose false-alarm rate is exact in small logs too (universal inference, Wasserman et al.
    2020, arXiv:1912.11436: a ratio against the best Poisson likelihood exceeds 1/a with probability at most a):

    - shuffled: no record comes twice in a pass, and passes are complete (a dropped remainder is allowed if all
      batches are equally large). The ratio compares the contents of batches, given their sizes, with independent
      draws. The epochs returned are the passes begun.
    - fixed size: all batches are equally large. The ratio compares the sizes with binomial ones.
    - otherwise Poisson, at `sample_rate` if as many records joined as that lets expect, else at the largest rate
      that so many go with (false-alarm rate 1e-9). Batches that are all full are Poisson at rate 1.

    Coins that are weighted by record or tied between records are not told apart from fair ones.

    Args:
        batches: int64 arrays of rows, one a step, empty ones included, in order.
        records: how many records they were drawn from, rows 0 .. records - 1.
        sample_rate: rate at which Poisson batches were to be drawn, in (0, 1].

    Raises:
        UsageError: no batch, a row out of range, or a rate out of range.
        PrivassayError: a record is twice in one batch, or the log is too short to tell the samplers apart.
    """
    require(0 < sample_rate <= 1, "sample_rate", sample_rate, "> 0 and <= 1")
    _check_batches(batches, records)
    sizes = np.array([len(batch) for batch in batches], dtype=np.int64)
    steps, drawn = len(sizes), int(sizes.sum())
    share = drawn / (steps * records)
    if share == 1:
        return ObservedSampling("poisson", 1.0, steps, float(steps))
    passes, log_shuffled = _shuffled(batches, sizes, records)
    log_fixed = _log_fixed(sizes, records)
    needed = math.log(2 / FALSE_ALARM)  # two tests
    if log_shuffled >= needed:
        return ObservedSampling("shuffled", share, steps, float(passes))
    if log_fixed >= needed:
        return ObservedSampling("fixed_size", share, steps, steps * share)
    if max(log_shuffled, log_fixed) > -math.inf:
        raise PrivassayError(
            f"{steps} batches of {records} records are too few to tell Poisson sampling from shuffled batches or"
            " batches of fixed size: no claim can be made"
        )
    rate = _rate(drawn, steps * records, sample_rate)
    return ObservedSampling("poisson", rate, steps, steps * rate)


def _check_batches(batches: Sequence[Ints], records: int) -> None:
    require(records >= 1, "records", records, ">= 1")
    require(len(batches) >= 1, "batches", list(batches), "at least one")
    for step, batch in enumerate(batches):
        if not len(batch):
            continue
        inside = batch.min() >= 0 and batch.max() < records
        require(inside, f"batches[{step}]", (int(batch.min()), int(batch.max())), f"rows 0 to {records - 1}")
        if len(np.unique(batch)) < len(batch):
            raise PrivassayError(f"batch {step} has a record twice, which counts beyond its clip: no claim can be made")


def _shuffled(batches: Sequence[Ints], sizes: Ints, records: int) -> tuple[int, float]:
    """Passes begun, and the log-likelihood ratio of shuffled batches to independent ones of the same sizes."""
    used, left, passes = np.zeros(records, dtype=np.bool_), records, 1
    before = np.empty(len(sizes), dtype=np.int64)
    may_drop = bool((sizes == sizes[0]).all())
    for step, batch in enumerate(batches):
        if len(batch) > left:
            if left and not may_drop:
                return passes, -math.inf
            used[:], left, passes = False, records, passes + 1
        if used[batch].any():
            return passes, -math.inf
        before[step], used[batch] = left, True
        left -= len(batch)
    ratios = _log_choose(np.full(len(sizes), records), sizes) - _log_choose(before, sizes)
    return passes, float(ratios.sum())


def _log_fixed(sizes: Ints, records: int) -> float:
    """Log-likelihood ratio of a fixed size, any of 0 .. records, to binomial sizes at the rate that fits best."""
    from scipy.special import xlog1py, xlogy

    if (sizes != sizes[0]).any():
        return -math.inf
    size = int(sizes[0])
    log_one = _log_choose(np.array([records]), sizes[:1])[0]
    log_one += xlogy(size, size / records) + xlog1py(records - size, -size / records)
    return float(-len(sizes) * log_one - math.log(records + 1))


def _log_choose(n: Ints, k: Ints) -> Float64:
    from scipy.special import gammaln

    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def _rate(drawn: int, coins: int, planned: float) -> float:
    """The planned rate if `drawn` of `coins` goes with it, else the upper Clopper-Pearson limit of the true one."""
    from scipy.special import betainc, betaincinv

    at_most = betainc(coins - drawn, drawn + 1, 1 - planned)
    at_least = betainc(drawn, coins - drawn + 1, planned) if drawn else 1.0
    tail = _RATE_FALSE_ALARM / 2
    return planned if min(at_most, at_least) >= tail else float(betaincinv(drawn + 1, coins - drawn, 1 - tail))
