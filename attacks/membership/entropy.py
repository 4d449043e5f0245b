"""The entropy attack: members are answered with less uncertainty (Salem et al. 2019; Song and Mittal 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...harness.protocols import MembershipContext, View
from ...harness.types import Candidates, Family, Scores, ThreatModel
from .signals import entropy


@dataclass(frozen=True)
class Entropy:
    """The score is sum p ln p, the negative entropy of the answer; the true label is not used.

    Salem et al. 2019, "ML-Leaks", section V; Song and Mittal 2021, section 3, who also set a threshold a class (see
    `modified_entropy`). Deviation: the whole ROC is measured instead of one threshold. A sure wrong answer looks like a
    member to it.
    """

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "privassay"
    needs_classes: ClassVar[str] = "the answer of a regressor is a number: how surely it is given is not told"
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="probabilities", knows_members=False, knows_recipe=False, reference_models=0, query_budget=1
    )

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:  # noqa: ARG002
        """Score every candidate; higher = member."""
        return Scores(candidates.ids, -entropy(view.predict(candidates.x)))
