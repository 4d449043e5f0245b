"""The modified entropy attack with a threshold for each class (Song and Mittal 2021).

"Systematic evaluation of privacy risks of machine learning models", section 3: the modified entropy
Mentr(x, y) = -(1 - p_y) ln p_y - sum over c != y of p_c ln(1 - p_c) and the rule "member if Mentr <= threshold_y", with
thresholds learnt on a shadow model. Deviations: thresholds are learnt on all reference models together, and the score
threshold_y - Mentr(x, y) gives a whole ROC, of which the paper's rule is the point 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...harness.errors import NotApplicable
from ...harness.protocols import MembershipContext, View
from ...harness.types import Bools, Candidates, Family, Float64, Floats, Ints, Scores, ThreatModel
from .signals import modified_entropy


def class_thresholds(values: Floats, member: Bools, labels: Ints) -> Float64:
    """Threshold of each class that separates members from non-members best on reference models.

    "Member if value <= threshold" has the largest balanced accuracy over all pairs of a reference and a record of the
    class; of several such thresholds the smallest. Equal values fall on the same side. A class without members or
    without non-members takes the threshold over all classes.

    Args:
        values: of a signal, LOWER = more like a member: any floating type (m, n), m references and n records.
        member: bool (m, n), which reference trained on which record.
        labels: int (n,), from 0.

    Returns:
        float64 (largest label + 1,).

    Raises:
        NotApplicable: the references have no members, or no non-members, at all.
    """
    thresholds = np.full(int(labels.max()) + 1, np.nan)
    for label in np.unique(labels):
        chosen = labels == label
        thresholds[label] = _best_threshold(values[:, chosen], member[:, chosen])
    missing = np.isnan(thresholds)
    if missing.any():
        thresholds[missing] = _best_threshold(values, member)
    if np.isnan(thresholds).any():
        raise NotApplicable("thresholds need members and non-members among the records of the reference models")
    return thresholds


def _best_threshold(values: Floats, member: Bools) -> float:
    """See `class_thresholds`; NaN without members or non-members.

    Between two members' values the true positive rate stands still, so the best threshold is a member's value.
    """
    inside, outside = np.sort(values[member]), np.sort(values[~member])
    if not len(inside) or not len(outside):
        return np.nan
    true_positives = np.searchsorted(inside, inside, side="right")
    false_positives = np.searchsorted(outside, inside, side="right")
    # whole numbers: with rates, rounding would decide between thresholds that are equally good
    return float(inside[np.argmax(true_positives * len(outside) - false_positives * len(inside))])


@dataclass(frozen=True)
class ModifiedEntropy:
    """Modified entropy against the class's threshold; score threshold_y - Mentr(x, y)."""

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "privassay"
    needs_classes: ClassVar[str] = "sets a threshold for each class: a regressor has none"
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="probabilities", knows_members=False, knows_recipe=True, reference_models=1, query_budget=1
    )

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:
        """Score every candidate; higher = member."""
        if context.references is None:
            raise NotApplicable("modified entropy needs a reference model to learn its thresholds from")
        references = context.references
        thresholds = class_thresholds(references.measured(modified_entropy), references.member, candidates.y)
        values = modified_entropy(view.predict(candidates.x), candidates.y)
        return Scores(candidates.ids, thresholds[candidates.y] - values)
