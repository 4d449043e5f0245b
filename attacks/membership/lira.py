"""LiRA, the likelihood ratio attack (Carlini et al. 2022, "Membership inference attacks from first principles")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ...harness.checks import one_of
from ...harness.protocols import MembershipContext, View
from ...harness.types import Bools, Candidates, Family, Float64, Floats, Scores, ThreatModel
from ._references import Moments, check_shapes, granted, side_median, side_moments
from .signals import confidence_logit

Variance = Literal["pooled", "per_record"]
Center = Literal["mean", "median"]
Compat = Literal["carlini2021"]
Spread = Float64 | float

_TINY = 1e-30  # as in the released code: a side whose signals are all equal has no spread


def lira_scores(  # noqa: PLR0913 - the variants of one attack, by keyword
    target: Floats,
    references: Floats,
    member: Bools,
    *,
    online: bool = True,
    variance: Variance = "pooled",
    center: Center = "mean",
    compat: Compat | None = None,
) -> Float64:
    """Membership scores of LiRA, from signals that are roughly normal, such as `signals.lira_logit`.

    Online (algorithm 1 of the paper): ln N(target; mu_in, sd_in) - ln N(target; mu_out, sd_out). Offline, one-sided:
    ln Phi((target - mu_out) / sd_out). Deviation: `pooled` takes one standard deviation a side for all records, from
    the squared differences to each record's own mean over their degrees of freedom. With few references it is far
    stronger than a standard deviation a record, which needs dozens of them.

    Args:
        target: signal of the target model, (n,), finite.
        references: signals of the reference models, (m, n), finite; any floating type, computed in float64.
        member: bool (m, n), which reference trained on which record.
        online: use the references that trained on a record (IN) beside those that did not (OUT).
        variance: `pooled`, or `per_record`: each record's own standard deviation, with ddof 0.
        center: each record's `mean` or `median`; spreads are always about the mean.
        compat: `carlini2021`: what the released plot.py does. Pooled is then the standard deviation of the raw matrix,
            differences between records included, that of the IN signals on both sides when online and of the OUT
            signals when offline; and offline is -ln N(target; mu_out, sd_out), two-sided. Deviation: plot.py cuts all
            records to the smallest number of references on a side; here each record keeps all of its own.

    Returns:
        float64 (n,), higher = member.

    Raises:
        UsageError: shapes or names are wrong.
        NotApplicable: a record has no reference on a side that is used, or fewer than two there for its own variance;
            or no record has two, for the pooled one.
    """
    check_shapes(target, references, member)
    _check_names(variance, center, compat)
    least = 2 if variance == "per_record" else 1
    out = side_moments(references, ~member, "OUT", least)
    mu_out = side_median(references, ~member, "OUT") if center == "median" else out.mean
    if not online:
        sd = _sd(out, variance, compat)
        return _offline((target - mu_out) / sd, sd, compat)
    inside = side_moments(references, member, "IN", least)
    mu_in = side_median(references, member, "IN") if center == "median" else inside.mean
    sd_in = _sd(inside, variance, compat)
    sd_out = sd_in if compat and variance == "pooled" else _sd(out, variance, compat)
    log_in = -0.5 * ((target - mu_in) / sd_in) ** 2 - np.log(sd_in)
    return np.asarray(log_in + 0.5 * ((target - mu_out) / sd_out) ** 2 + np.log(sd_out))


def _check_names(variance: str, center: str, compat: str | None) -> None:
    one_of(("pooled", "per_record"), variance=variance)
    one_of(("mean", "median"), center=center)
    if compat is not None:
        one_of(("carlini2021",), compat=compat)


def _sd(side: Moments, variance: Variance, compat: Compat | None) -> Spread:
    """Standard deviation of one side: one for all records, or (n,)."""
    if variance == "per_record":
        return np.asarray(np.sqrt(side.squares / side.count) + _TINY)
    return float(np.sqrt(_raw_variance(side) if compat else side.pooled_variance())) + _TINY


def _raw_variance(side: Moments) -> float:
    """Variance (ddof 0) of all signals of one side about their common mean."""
    total = side.count.sum()
    grand = (side.count * side.mean).sum() / total
    between = (side.count * (side.mean - grand) ** 2).sum()
    return float((side.squares.sum() + between) / total)


def _offline(standardised: Float64, sd: Spread, compat: Compat | None) -> Float64:
    if compat:
        return np.asarray(0.5 * standardised**2 + np.log(sd) + 0.5 * np.log(2 * np.pi))
    from scipy.special import log_ndtr

    return np.asarray(log_ndtr(standardised))


@dataclass(frozen=True)
class LiRA:
    """LiRA on the logit-scaled confidence of the true label; by default online with pooled variance.

    Attributes:
        online: False for an attacker who only has references that did not train on the record.
        variance: `pooled` or `per_record`.
        center: `mean` or `median`.
        compat: `carlini2021` for the released code's rules; see `lira_scores`.
    """

    online: bool = True
    variance: Variance = "pooled"
    center: Center = "mean"
    compat: Compat | None = None

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "privassay"
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="probabilities", knows_members=False, knows_recipe=True, reference_models=4, query_budget=1
    )

    def __post_init__(self) -> None:
        _check_names(self.variance, self.center, self.compat)

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:
        """Score every candidate; higher = member."""
        references = granted(context)
        values = lira_scores(
            confidence_logit(view.predict(candidates.x), candidates.y),
            references.measured(confidence_logit),
            references.member,
            online=self.online,
            variance=self.variance,
            center=self.center,
            compat=self.compat,
        )
        return Scores(candidates.ids, values)
