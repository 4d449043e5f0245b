"""Attack R (Ye et al. 2022, "Enhanced membership inference attacks against machine learning models")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...harness.protocols import MembershipContext, View
from ...harness.types import Bools, Candidates, Family, Float64, Floats, Scores, ThreatModel
from ._references import check_shapes, chunks, counted, granted
from .signals import log_loss


def attack_r_scores(target_loss: Floats, reference_losses: Floats, member: Bools) -> Float64:
    """Share of the references that did not train on a record whose loss on it exceeds the target's.

    Args:
        target_loss: loss of the target model, (n,).
        reference_losses: losses of the reference models, (m, n), of the same floating type as `target_loss`: another
            rounding would decide ties.
        member: bool (m, n), which reference trained on which record.

    Returns:
        float64 (n,) in [0, 1], a multiple of 1 over the number of such references; higher = member.

    Raises:
        UsageError: shapes are wrong.
        NotApplicable: a record has no reference that did not train on it.
    """
    check_shapes(target_loss, reference_losses, member)
    counts = counted(~member, "OUT")
    exceeding = np.empty(len(target_loss))
    for part in chunks(reference_losses):
        exceeding[part] = ((reference_losses[:, part] > target_loss[part]) & ~member[:, part]).sum(axis=0)
    return exceeding / counts


@dataclass(frozen=True)
class AttackR:
    """How unusually low the target's loss is among models that did not train on the record."""

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "privassay"
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="probabilities", knows_members=False, knows_recipe=True, reference_models=2, query_budget=1
    )

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:
        """Score every candidate; higher = member."""
        references = granted(context)
        losses = references.measured(log_loss)
        target = log_loss(view.predict(candidates.x), candidates.y).astype(losses.dtype)
        return Scores(candidates.ids, attack_r_scores(target, losses, references.member))
