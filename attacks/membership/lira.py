"""LiRA, the likelihood ratio attack, online, with pooled within-record variance.

Carlini et al. 2022, "Membership inference attacks from first principles", algorithm 1. Deviation: one standard
deviation for all IN signals and one for all OUT signals, each pooled over records after the record's own mean is
taken off. With few references it is far stronger than a standard deviation a record (which needs about 64 of them)
and stronger than the released code's "fixed variance", which mixes in the spread between records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...harness.errors import NotApplicable
from ...harness.protocols import MembershipContext, View
from ...harness.types import Bools, Candidates, Family, Float64, Floats, Scores, ThreatModel
from .signals import confidence_logit


def lira_scores(target: Floats, references: Floats, member: Bools) -> Float64:
    """Log likelihood ratio ln N(target; mu_in, sd_in) - ln N(target; mu_out, sd_out) of each record.

    Args:
        target: signal of the target model, float64 (n,).
        references: signals of the reference models, float64 (m, n).
        member: bool (m, n), which reference trained on which record; every record needs one reference on each side
            and some record two.

    Returns:
        float64 (n,), higher = member.

    Raises:
        NotApplicable: too few references on one side.
    """
    mean_in, sd_in = _centre_and_spread(references, member)
    mean_out, sd_out = _centre_and_spread(references, ~member)
    log_in = -0.5 * ((target - mean_in) / sd_in) ** 2 - np.log(sd_in)
    log_out = -0.5 * ((target - mean_out) / sd_out) ** 2 - np.log(sd_out)
    return np.asarray(log_in - log_out)


def _centre_and_spread(signals: Floats, chosen: Bools) -> tuple[Float64, float]:
    """Mean of each record's chosen signals (n,) and the pooled standard deviation within records."""
    counts = chosen.sum(axis=0)
    degrees = int((counts - 1).sum())
    if counts.min() < 1 or degrees < 1:
        raise NotApplicable(
            "LiRA with pooled variance needs at least 4 reference models, half of them trained on each record"
        )
    mean = np.where(chosen, signals, 0.0).sum(axis=0) / counts
    squares = np.where(chosen, (signals - mean) ** 2, 0.0).sum()
    return mean, float(np.sqrt(squares / degrees)) + 1e-30


@dataclass(frozen=True)
class LiRA:
    """Online LiRA with pooled variance on the logit-scaled confidence of the true label."""

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "privassay"
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="probabilities", knows_members=False, knows_recipe=True, reference_models=4, query_budget=1
    )

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:
        """Score every candidate; higher = member."""
        if context.references is None:
            raise NotApplicable("LiRA needs reference models")
        references = context.references
        target = confidence_logit(view.predict(candidates.x), candidates.y)
        return Scores(candidates.ids, lira_scores(target, references.measured(confidence_logit), references.member))
