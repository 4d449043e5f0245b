"""Attack P: the target's loss against its losses on records of the population.

Ye et al. 2022, "Enhanced membership inference attacks against machine learning models", section 4 (attack P): a
record is called a member at level alpha when its loss is below the alpha-quantile of the target's losses on fresh
records. Deviation: the score is the record's rank among those losses, so every alpha is measured at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...harness.errors import NotApplicable
from ...harness.protocols import MembershipContext, View
from ...harness.types import Candidates, Family, Float64, Floats, Scores, ThreatModel
from .signals import log_loss


def share_above(values: Floats, population: Floats) -> Float64:
    """Share of `population` (k,) that is larger than each of `values` (n,), equal ones counted half: float64 (n,)."""
    ordered = np.sort(population)
    below = np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")
    return np.asarray(1 - below / (2 * len(ordered)))


def drawn(records: Candidates, most: int, seed: int) -> Candidates:
    """At most `most` of `records`, at random by `seed`, in their order."""
    if len(records) <= most:
        return records
    rows = np.sort(np.random.default_rng(seed).permutation(len(records))[:most])
    return Candidates(records.ids[rows], records.x[rows], records.y[rows])


@dataclass(frozen=True)
class AttackP:
    """The score is the share of auxiliary records with a larger loss than the candidate's.

    It ranks as `loss` does, up to ties (candidates between the same two auxiliary losses): what it adds is a threshold
    that an attacker can set, 1 - alpha for a false positive rate of about alpha. As many auxiliary records as there are
    candidates are asked, at most; hence two queries a candidate.
    """

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "privassay"
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="probabilities", knows_members=False, knows_recipe=False, reference_models=0, query_budget=2
    )

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:
        """Score every candidate; higher = member."""
        if not len(context.auxiliary):
            raise NotApplicable("attack P needs auxiliary records")
        population = drawn(context.auxiliary, len(candidates), context.seed)
        losses = log_loss(view.predict(population.x), population.y)
        return Scores(candidates.ids, share_above(log_loss(view.predict(candidates.x), candidates.y), losses))
