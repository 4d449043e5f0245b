"""The confidence attack: members are answered more surely, whatever the answer (Salem et al. 2019, adversary 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...harness.protocols import MembershipContext, View
from ...harness.types import Candidates, Family, Float64, Floats, Scores, ThreatModel
from .signals import confidence_logit


def top_confidence(probabilities: Floats) -> Float64:
    """ln(p_max / (1 - p_max)) of answers (n, classes): float64 (n,), rising with the largest probability p_max.

    The logit instead of p_max itself, because p_max is exactly 1 for every record with a margin over about 37 in
    float64, and such ties would hide who is answered most surely.
    """
    return confidence_logit(probabilities, probabilities.argmax(axis=1))


@dataclass(frozen=True)
class Confidence:
    """The score rises with the largest answered probability; the true label is not used.

    Salem et al. 2019, "ML-Leaks", section V, and with the probability of the true label instead (that is the ranking
    of `loss`) Song and Mittal 2021, section 3. Deviation: the whole ROC is measured instead of one threshold.
    """

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "privassay"
    needs_classes: ClassVar[str] = "the answer of a regressor is a number: how surely it is given is not told"
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="probabilities", knows_members=False, knows_recipe=False, reference_models=0, query_budget=1
    )

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:  # noqa: ARG002
        """Score every candidate; higher = member."""
        return Scores(candidates.ids, top_confidence(view.predict(candidates.x)))
