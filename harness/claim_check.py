"""Claim check without training: does a stated DP-SGD claim follow from what training did, and from itself?

The accountant must match the sampler that was used, its steps, noise, clipping and delta. What it costs to claim
Poisson amplification for shuffled batches is shown by Chua et al. (2024, arXiv:2403.17673).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from .accounting import NoClaim, check_sampling, dp_sgd_claim, shuffle_epsilon_lower_bound, times_used
from .checks import non_negative, open_unit, require
from .types import Accountant, DPMechanism, Neighbouring, ObservedSampling, PrivacyClaim, Sampler

FindingCode = Literal["sampler", "steps", "rate", "noise", "clipping", "delta", "neighbouring", "arithmetic"]

SLACK = 1e-3
"""A stated epsilon may be this share below the accountant's: cells of a PLD, orders of an RDP, rounding."""

_EQUAL = 1e-9  # relative: what a detour through decimal text may change
_ONLY_THROUGH_EPSILON: frozenset[FindingCode] = frozenset({"steps", "rate", "arithmetic"})
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
        sample_rate: probability of joining a batch (Poisson), else batch size over records.
        steps: optimiser steps that the accountant was fed.
        noise_multiplier: standard deviation of the noise over the clipping norm.
        max_grad_norm: clipping norm of one record's gradient (L2).
        neighbouring: which data sets the claim calls neighbours.
        accountant: what computed epsilon.
        records: how many records the model was trained on.
        epochs: passes over shuffled records, as the accountant was told; other samplers do not use it. None: as many
            as the steps make if every pass has its last, smaller batch, the fewest that they can be.
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
    epochs: float | None = None

    @property
    def mechanism(self) -> DPMechanism:
        """The DP-SGD run that the claim describes.

        Raises:
            UsageError: the sample rate is out of its range.
        """
        sampling = ObservedSampling(self.sampler, self.sample_rate, self.steps, self._epochs())
        return DPMechanism(self.noise_multiplier, self.max_grad_norm, sampling, self.delta)

    def _epochs(self) -> float:
        require(0 < self.sample_rate <= 1, "sample_rate", self.sample_rate, "> 0 and <= 1")
        if self.sampler != "shuffled":
            return self.steps * self.sample_rate
        # steps x rate would count the smaller batch as a whole one: too many passes, too large an epsilon.
        return self.steps / math.ceil(1 / self.sample_rate - _EQUAL) if self.epochs is None else self.epochs


@dataclass(frozen=True)
class Finding:
    """One way in which a claim says more than is true: its code, and a sentence with the cause and both figures."""

    code: FindingCode
    text: str


@dataclass(frozen=True)
class ClaimCheck:
    """Result of a claim check.

    Attributes:
        honest: the claim recomputed from what training did, at the stated delta and by the accountant that was named
            (`rdp` at orders of our own: another choice may prove a little less); None where there is none to make.
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

    Only what flatters is a finding: more noise, fewer steps or a smaller delta than stated are not, and neither are
    other steps, another rate or an epsilon that the stated parameters do not give, if the stated epsilon covers what
    was done. Another sampler always is, also where its epsilon would be smaller, since the claim then follows from
    nothing that was done. An epsilon by `rdp` is held to the smaller of our Renyi orders' and the PLD's, since orders
    are the owner's to choose.
    What it cannot see is whether `observed` is true: noise that is drawn once and reused, or a clip that misses a
    layer, looks right here and takes an audit of the trained model.

    Args:
        stated: what the owner says.
        observed: what training counted; `observed_from_batches` finds the sampler in logged batches.

    Raises:
        UsageError: a field of either is out of its range.
    """
    non_negative(epsilon=stated.epsilon)
    require(stated.records >= 1, "records", stated.records, ">= 1")
    for described in (stated.mechanism, observed):
        _check_ranges(described)
    if stated.sample_rate == observed.sampling.sample_rate == 1:
        # Every record in every batch is every sampler at once: call it what the claim calls it.
        observed = replace(observed, sampling=replace(observed.sampling, sampler=stated.sampler))
    honest = _honest(stated, observed)
    checks = (_sampling(stated, observed, honest), _noise(stated, observed), _delta(stated, observed), _itself(stated))
    findings = tuple(finding for check in checks for finding in check)
    if honest is None:
        return ClaimCheck(None, findings or (Finding("noise", "No claim can be made from what training did."),))
    covers = honest.sampler == stated.sampler and not _exceeds(honest.epsilon, stated.epsilon, SLACK)
    return ClaimCheck(honest, tuple(f for f in findings if not (covers and f.code in _ONLY_THROUGH_EPSILON)))


def _check_ranges(described: DPMechanism) -> None:
    non_negative(noise_multiplier=described.noise_multiplier)
    require(described.max_grad_norm > 0, "max_grad_norm", described.max_grad_norm, "> 0")
    open_unit(delta=described.delta)
    check_sampling(described.sampling)


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
    if computed.accountant == "rdp" and _exceeds(computed.epsilon, stated.epsilon, SLACK):
        computed = min(computed, dp_sgd_claim(stated.mechanism), key=lambda claim: claim.epsilon)
    if _exceeds(computed.epsilon, stated.epsilon, SLACK):
        yield Finding("arithmetic", f"{head} ({computed.accountant}) gives {computed.epsilon:.6g}.")


def _exceeds(one: float, other: float, slack: float = _EQUAL) -> bool:
    return one > other * (1 + slack)
