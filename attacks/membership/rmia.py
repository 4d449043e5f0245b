"""RMIA, the robust membership inference attack (Zarifzadeh et al. 2024, "Low-cost high-power membership inference").

For one target the published score is a step function of one number a record, p_t(x) / Pr(x): comparing it with
population records only cuts it into steps. So records are ranked by its logarithm (`rmia_scores`), which has no ties at
the top, and the comparison (`rmia_calibrated`) is for thresholds: its score is a share of records that were never
members, hence one minus a false positive rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...harness.checks import positive, require
from ...harness.errors import NotApplicable, UsageError
from ...harness.protocols import MembershipContext, View
from ...harness.types import Bools, Candidates, Family, Float64, Floats, Scores, ThreatModel
from ._references import check_shapes, counted, granted, side_mean
from .signals import LogConfidence

_SMALLEST = 1e-300  # keeps logarithms finite where a model rules the true label out
_GRID = tuple(step / 10 for step in range(11))


def rmia_scores(
    target_prob: Floats, reference_probs: Floats, member: Bools, *, online: bool = True, a: float = 0.3
) -> Float64:
    """Logarithm of p_t(x) / Pr(x), RMIA's ratio for each record.

    Online: Pr(x) is the mean over all references. Offline: ((1 + a) Pr_out(x) + 1 - a) / 2, Pr_out(x) being the mean
    over those that did not train on the record; it supposes that those that did answer a Pr_out + 1 - a.

    Args:
        target_prob: the target's probability of the true label, (n,), in [0, 1].
        reference_probs: the references', (m, n); any floating type, computed in float64.
        member: bool (m, n), which reference trained on which record.
        online: use the references that trained on a record beside those that did not.
        a: offline only, in [0, 1]; near 0 for models that fit their members perfectly. See `tuned_a`.

    Returns:
        float64 (n,), finite, higher = member.

    Raises:
        UsageError: shapes or `a` are wrong.
        NotApplicable: a record has no reference on a side that is used.
    """
    check_shapes(target_prob, reference_probs, member)
    _check_a(a)
    if not online:
        return _log_ratio(target_prob, _offline_marginal(side_mean(reference_probs, ~member, "OUT"), a))
    counted(member, "IN")
    counted(~member, "OUT")
    return _log_ratio(target_prob, reference_probs.mean(axis=0, dtype=np.float64))


def rmia_calibrated(  # noqa: PLR0913 - two sets of records, and the settings of one attack by keyword
    target_prob: Floats,
    reference_probs: Floats,
    member: Bools,
    z_target: Floats,
    z_references: Floats,
    *,
    gamma: float = 2.0,
    online: bool = True,
    a: float = 0.3,
    z_member: Bools | None = None,
) -> Float64:
    """RMIA's published score: the share of population records z with ratio(x) / ratio(z) > gamma, strictly.

    Args:
        target_prob: as for `rmia_scores`, of the n records.
        reference_probs: as for `rmia_scores`.
        member: as for `rmia_scores`.
        z_target: the target's probability of the true label of each population record, (k,).
        z_references: the references', (m, k).
        gamma: > 0; 2 in the paper, 1 in the authors' later code.
        online: as for `rmia_scores`.
        a: as for `rmia_scores`.
        z_member: bool (m, k), which reference trained on which population record; None: none did.

    Returns:
        float64 (n,) in [0, 1], a multiple of 1 / k, higher = member. Records above every z tie at 1.

    Raises:
        UsageError: shapes, `gamma` or `a` are wrong.
        NotApplicable: a record has no reference on a side that is used.
    """
    positive(gamma=gamma)
    of_x = rmia_scores(target_prob, reference_probs, member, online=online, a=a)
    trained = np.zeros(z_references.shape, dtype=np.bool_) if z_member is None else z_member
    check_shapes(z_target, z_references, trained)
    if len(z_target) == 0 or len(z_references) != len(reference_probs):
        raise UsageError(
            f"population signals {z_references.shape} beside those of the records {reference_probs.shape}: must be "
            "(m, k) and (m, n), k at least 1"
        )
    if online:
        marginal = z_references.mean(axis=0, dtype=np.float64)
    else:
        marginal = _offline_marginal(side_mean(z_references, ~trained, "OUT"), a)
    of_z = np.sort(_log_ratio(z_target, marginal))
    return np.asarray(np.searchsorted(of_z, of_x - np.log(gamma), side="left") / len(of_z))


def tuned_a(reference_probs: Floats, member: Bools, *, pseudo_targets: int = 6) -> float:
    """The `a` in 0, 0.1 .. 1 with which offline RMIA tells the references' own members best, by mean AUC.

    Reference models are attacked in turn, each scored by the others without its complement (the model whose membership
    is exactly opposite), as the target is. The target's answers are not used. Deviation: the authors' code attacks the
    first reference model only.

    Args:
        reference_probs: probability of the true label, (m, n).
        member: bool (m, n), which reference trained on which record.
        pseudo_targets: at most so many references are attacked, evenly spaced, > 0.

    Returns:
        the best `a`; the smallest of equals.

    Raises:
        UsageError: shapes or `pseudo_targets` are wrong.
        NotApplicable: without a reference and its complement a record has no reference that did not train on it.
    """
    check_shapes(np.empty(member.shape[1:]), reference_probs, member)
    positive(pseudo_targets=pseudo_targets)
    counts = counted(~member, "OUT", least=2)
    total = side_mean(reference_probs, ~member, "OUT") * counts
    attacked = np.unique(np.linspace(0, len(member) - 1, pseudo_targets).astype(np.int64))
    areas = np.zeros(len(_GRID))
    for k in attacked:
        left_out = [k, *np.flatnonzero((member == ~member[k]).all(axis=1))]
        apart = ~member[left_out]
        remaining = counts - apart.sum(axis=0)
        if remaining.min() < 1:
            raise NotApplicable("tuning a needs at least 4 reference models, in complementary pairs")
        own = np.where(apart, reference_probs[left_out], 0.0).sum(axis=0, dtype=np.float64)
        mean_out = np.maximum(total - own, 0.0) / remaining
        areas += [_auc(_log_ratio(reference_probs[k], _offline_marginal(mean_out, a)), member[k]) for a in _GRID]
    return _GRID[int(areas.argmax())]


def _check_a(a: float) -> None:
    require(0 <= a <= 1, "a", a, "between 0 and 1")


def _offline_marginal(mean_out: Float64, a: float) -> Float64:
    return np.asarray((1 + a) / 2 * mean_out + (1 - a) / 2)


def _log_ratio(probability: Floats, marginal: Float64) -> Float64:
    above = np.maximum(probability.astype(np.float64), _SMALLEST)
    return np.asarray(np.log(above) - np.log(np.maximum(marginal, _SMALLEST)))


def _auc(scores: Float64, member: Bools) -> float:
    """Area under the ROC by the Mann-Whitney statistic, ties one half; 0 where nobody or everybody is a member."""
    outside, inside = np.sort(scores[~member]), scores[member]
    below = sum(np.searchsorted(outside, inside, side).sum() for side in ("left", "right")) / 2
    return float(below) / max(len(inside) * len(outside), 1)


@dataclass(frozen=True)
class RMIA:
    """RMIA's ratio of the confidence in the true label at a temperature, as a continuous score.

    Attributes:
        online: False for an attacker who only has references that did not train on the record.
        temperature: of the confidence, > 0.
        a: offline only, in [0, 1]; None: tuned on the references, see `tuned_a`.
    """

    online: bool = True
    temperature: float = 2.0
    a: float | None = None

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "privassay"

    def __post_init__(self) -> None:
        positive(temperature=self.temperature)
        if self.a is not None:
            _check_a(self.a)

    @property
    def threat_model(self) -> ThreatModel:
        """One query a record; two more references where `a` is tuned, which leaves a pair out in turn."""
        needed = 4 if not self.online and self.a is None else 2
        return ThreatModel(
            access="probabilities", knows_members=False, knows_recipe=True, reference_models=needed, query_budget=1
        )

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:
        """Score every candidate; higher = member."""
        references, signal = granted(context), LogConfidence(self.temperature)
        target = np.exp(signal(view.predict(candidates.x), candidates.y))
        answers = np.exp(references.measured(signal), dtype=np.float64)  # float32 would round e**-104 to 0
        if self.online:
            return Scores(candidates.ids, rmia_scores(target, answers, references.member))
        a = tuned_a(answers, references.member) if self.a is None else self.a
        return Scores(candidates.ids, rmia_scores(target, answers, references.member, online=False, a=a))
