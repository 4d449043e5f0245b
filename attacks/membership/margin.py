"""The margin attack: the true label's logit minus the largest other one (hinge score of Carlini et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...harness.protocols import MembershipContext, View
from ...harness.types import Candidates, Family, Scores, ThreatModel
from .signals import hinge, log_probabilities


@dataclass(frozen=True)
class Margin:
    """The score is z_y - max of the other z, taken on logarithms of the answered probabilities.

    Carlini et al. 2022, section VI.A; Aerni et al. 2024 use it where a defence distorts the loss. It ranks almost as
    `loss` does where one other class dominates, and differs where many share the rest. Deviation: logits are replaced
    by log probabilities, whose differences are the same.
    """

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "privassay"
    needs_classes: ClassVar[str] = "a regressor answers with a number: no other class competes with the true one"
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="probabilities", knows_members=False, knows_recipe=False, reference_models=0, query_budget=1
    )

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:  # noqa: ARG002
        """Score every candidate; higher = member."""
        return Scores(candidates.ids, hinge(log_probabilities(view.predict(candidates.x)), candidates.y))
