"""LiRA with Student-t predictive densities in place of normal ones: variances shrunk towards the pooled one.

The conjugate normal-inverse-gamma model (Murphy 2007, "Conjugate Bayesian analysis of the Gaussian distribution") for
the IN and for the OUT signals of each record. The idea is that of BaVarIA (arXiv 2603.11799), whose own
hyper-parameters are not reproduced here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...harness.checks import non_negative, positive
from ...harness.protocols import MembershipContext, View
from ...harness.types import Bools, Candidates, Family, Float64, Floats, Scores, ThreatModel
from ._references import Moments, check_shapes, granted, side_moments
from .signals import confidence_logit

_TINY = 1e-30  # a side whose signals are all equal has no variance


@dataclass(frozen=True)
class Prior:
    """Normal-inverse-gamma prior: mean ~ N(m0, variance / kappa0), variance ~ inverse gamma(nu0 / 2, nu0 v0 / 2).

    Attributes:
        m0: mean; of no effect where kappa0 is 0.
        v0: variance, > 0.
        kappa0: how many signals the prior mean counts for, >= 0.
        nu0: how many signals the prior variance counts for, > 0.
    """

    m0: float
    v0: float
    kappa0: float
    nu0: float


def student_t_scores(
    target: Floats, references: Floats, member: Bools, *, kappa0: float = 0.0, nu0: float = 16.0
) -> Float64:
    """Log ratio of the predictive densities of the target's signal given the IN and given the OUT signals.

    On each side the prior mean is the mean of all signals and the prior variance is the pooled variance within records.
    With kappa0 0 means are not shrunk. nu0 towards 0 gives each record a variance of its own, a large nu0 one for all;
    16 is at least as good as either at every number of references on the data it was tried on.

    Args:
        target: signal of the target model, (n,), finite.
        references: signals of the reference models, (m, n), finite; any floating type, computed in float64.
        member: bool (m, n), which reference trained on which record.
        kappa0: weight of the prior mean in signals, >= 0.
        nu0: weight of the prior variance in signals, > 0.

    Returns:
        float64 (n,), higher = member.

    Raises:
        UsageError: shapes or weights are wrong.
        NotApplicable: a record has no reference on a side, or no record has two there.
    """
    check_shapes(target, references, member)
    non_negative(kappa0=kappa0)
    positive(nu0=nu0)
    log_densities = []
    for chosen, side in ((member, "IN"), (~member, "OUT")):
        moments = side_moments(references, chosen, side)
        m0 = float((moments.count * moments.mean).sum() / moments.count.sum())
        prior = Prior(m0, moments.pooled_variance() + _TINY, kappa0, nu0)
        log_densities.append(log_predictive(target, moments, prior))
    return np.asarray(log_densities[0] - log_densities[1])


def log_predictive(value: Floats, seen: Moments, prior: Prior) -> Float64:
    """Log density of one more signal `value` (n,) after those `seen`: a Student t, float64 (n,)."""
    from scipy.special import gammaln

    kappa = prior.kappa0 + seen.count
    location = (prior.kappa0 * prior.m0 + seen.count * seen.mean) / kappa
    nu = prior.nu0 + seen.count
    between = prior.kappa0 * seen.count * (seen.mean - prior.m0) ** 2 / kappa
    variance = (prior.nu0 * prior.v0 + seen.squares + between) / nu * (kappa + 1) / kappa
    constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(np.pi * nu * variance)
    return np.asarray(constant - (nu + 1) / 2 * np.log1p((value - location) ** 2 / (nu * variance)))


@dataclass(frozen=True)
class StudentT:
    """Student-t likelihood ratio on the logit-scaled confidence of the true label.

    Attributes:
        kappa0: weight of the prior mean in signals, >= 0.
        nu0: weight of the prior variance in signals, > 0.
    """

    kappa0: float = 0.0
    nu0: float = 16.0

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "privassay"
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="probabilities", knows_members=False, knows_recipe=True, reference_models=4, query_budget=1
    )

    def __post_init__(self) -> None:
        non_negative(kappa0=self.kappa0)
        positive(nu0=self.nu0)

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:
        """Score every candidate; higher = member."""
        references = granted(context)
        target = confidence_logit(view.predict(candidates.x), candidates.y)
        signals = references.measured(confidence_logit)
        values = student_t_scores(target, signals, references.member, kappa0=self.kappa0, nu0=self.nu0)
        return Scores(candidates.ids, values)
