"""The loss threshold attack (Yeom et al. 2018, "Privacy risk in machine learning", the threshold adversary)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...harness.protocols import MembershipContext, View
from ...harness.types import Candidates, Family, Scores, ThreatModel
from .signals import log_loss


@dataclass(frozen=True)
class Loss:
    """Members have lower loss: the score is the negative cross-entropy of the true label.

    Deviation: the paper fixes the threshold at the mean training loss, a fact about the members; here the whole ROC
    is measured instead.
    """

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "privassay"
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="probabilities", knows_members=False, knows_recipe=False, reference_models=0, query_budget=1
    )

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:  # noqa: ARG002
        """Score every candidate; higher = member."""
        return Scores(candidates.ids, -log_loss(view.predict(candidates.x), candidates.y))
