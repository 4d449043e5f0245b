"""Difficulty calibration.

Watson, Guo, Cormode and Sablayrolles 2022, "On the importance of difficulty calibration in membership inference
attacks".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...harness.protocols import MembershipContext, View
from ...harness.types import Bools, Candidates, Family, Float64, Floats, Scores, ThreatModel
from ._references import check_shapes, granted, side_mean
from .signals import confidence_logit


def difficulty_scores(target: Floats, references: Floats, member: Bools) -> Float64:
    """Signal of the target less the mean signal of the references that did not train on the record.

    The calibrated score of Watson et al. 2022, on any signal.

    Args:
        target: signal of the target model, (n,), higher = more like a member.
        references: signals of the reference models, (m, n); any floating type, computed in float64.
        member: bool (m, n), which reference trained on which record.

    Returns:
        float64 (n,), higher = member.

    Raises:
        UsageError: shapes are wrong.
        NotApplicable: a record has no reference that did not train on it.
    """
    check_shapes(target, references, member)
    return np.asarray(target - side_mean(references, ~member, "OUT"))


@dataclass(frozen=True)
class DifficultyCalibration:
    """The LiRA logit, less what models that never saw the record answer: easy records stop looking like members."""

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "privassay"
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="probabilities", knows_members=False, knows_recipe=True, reference_models=2, query_budget=1
    )

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:
        """Score every candidate; higher = member."""
        references = granted(context)
        target = confidence_logit(view.predict(candidates.x), candidates.y)
        return Scores(
            candidates.ids, difficulty_scores(target, references.measured(confidence_logit), references.member)
        )
