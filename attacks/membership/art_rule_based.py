"""ART's rule-based attack: predicted right means member. The label-only gap attack of Yeom et al. (2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...harness.protocols import MembershipContext, View
from ...harness.types import Candidates, Family, Scores, ThreatModel


@dataclass(frozen=True)
class ArtRuleBased:
    """`MembershipInferenceBlackBoxRuleBased` of ART: scores are 0 or 1, so its ROC has a single point between."""

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "adversarial-robustness-toolbox: MembershipInferenceBlackBoxRuleBased"
    needs_classes: ClassVar[str] = (
        "asks whether the predicted class is right: the number of a regressor never is, exactly"
    )
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="labels", knows_members=False, knows_recipe=False, reference_models=0, query_budget=1
    )

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:  # noqa: ARG002
        """Score every candidate; higher = member."""
        from art.attacks.inference.membership_inference import MembershipInferenceBlackBoxRuleBased

        from .._art import LabelClassifier, one_hot

        attack = MembershipInferenceBlackBoxRuleBased(LabelClassifier(view))
        right = attack.infer(candidates.x, one_hot(candidates.y, view.n_classes))
        return Scores(candidates.ids, np.asarray(right, dtype=np.float64))
