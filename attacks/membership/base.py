"""BASE (Lassila et al. 2025, NeurIPS): the target's confidence against that of the reference models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...harness.checks import positive
from ...harness.protocols import MembershipContext, View
from ...harness.types import Bools, Candidates, Family, Float64, Floats, Scores, ThreatModel
from ._references import check_shapes, chunks, counted, granted
from .signals import LogConfidence


def base_scores(
    log_prob_target: Floats, log_prob_refs: Floats, member: Bools, *, online: bool = True, scale: float = 0.33
) -> Float64:
    """Log confidence of the target less the log mean confidence of the references.

    Online: ln p_t - ln mean_k p_k over all m references; the same order as RMIA's ratio without population records.
    Offline: ln p_t - scale * ln mean_k p_k over the references that did not train on the record.

    Args:
        log_prob_target: log confidence in the true label, (n,), finite.
        log_prob_refs: the references' (m, n), finite; any floating type, computed in float64.
        member: bool (m, n), which reference trained on which record.
        online: use the references that trained on a record beside those that did not.
        scale: offline only, > 0; 0.33 is the default of the authors' code in LeakPro.

    Returns:
        float64 (n,), higher = member.

    Raises:
        UsageError: shapes or `scale` are wrong.
        NotApplicable: a record has no reference on a side that is used.
    """
    check_shapes(log_prob_target, log_prob_refs, member)
    positive(scale=scale)
    out = counted(~member, "OUT")
    if not online:
        return np.asarray(log_prob_target - scale * (_log_sum(log_prob_refs, ~member) - np.log(out)))
    counted(member, "IN")
    everyone = np.broadcast_to(np.True_, member.shape)
    return np.asarray(log_prob_target - (_log_sum(log_prob_refs, everyone) - np.log(len(member))))


def _log_sum(logs: Floats, chosen: Bools) -> Float64:
    """Ln of the sum of exp of each record's `chosen` logs: float64 (n,); every record has one."""
    result = np.empty(logs.shape[1])
    for part in chunks(logs):
        values = np.where(chosen[:, part], logs[:, part].astype(np.float64), -np.inf)
        largest = values.max(axis=0)
        values -= largest
        result[part] = largest + np.log(np.exp(values, out=values).sum(axis=0))
    return result


@dataclass(frozen=True)
class BASE:
    """BASE on the confidence in the true label at a temperature.

    Attributes:
        online: False for an attacker who only has references that did not train on the record.
        temperature: of the confidence, > 0; 1 is the negative loss.
    """

    online: bool = True
    temperature: float = 2.0

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "privassay"
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="probabilities", knows_members=False, knows_recipe=True, reference_models=2, query_budget=1
    )

    def __post_init__(self) -> None:
        positive(temperature=self.temperature)

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:
        """Score every candidate; higher = member."""
        references, signal = granted(context), LogConfidence(self.temperature)
        target = signal(view.predict(candidates.x), candidates.y)
        values = base_scores(target, references.measured(signal), references.member, online=self.online)
        return Scores(candidates.ids, values)
