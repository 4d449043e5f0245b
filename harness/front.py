"""Candidates by what they leak and what they are worth: the front, and who is beaten by DP-SGD.

Leakage is the TPR at 1 % FPR of the primary attack; where the run has none, of the strongest attack. Where a pool has
canaries and the primary attack gave rates of them, it is that of the canaries: averages hide what happens to the most
exposed (Aerni et al. 2024). Usefulness is the accuracy on held-out data.
"""

from __future__ import annotations

from dataclasses import dataclass

from .canaries import CANARY, CANARY_COLUMN
from .config import component_name
from .evidence import Candidate, Evidence
from .types import Estimate

LEAKAGE = "tpr_at_fpr_0.01"
UTILITY = "heldout_accuracy"
FEWEST = 3
"""Candidates that a front needs."""

_BASELINE = "dp_sgd"
IS_DP_SGD = "is DP-SGD"


@dataclass(frozen=True)
class Mark:
    """One candidate with both estimates.

    Attributes:
        candidate: the candidate.
        accuracy: on held-out records, canaries not counted.
        average: the attack's TPR at 1 % FPR, canaries not counted.
        canaries: the same of canaries among the members, a worst case; None without canaries, or where another attack
            than the one that is compared judged them.
    """

    candidate: Candidate
    accuracy: Estimate
    average: Estimate
    canaries: Estimate | None

    @property
    def leakage(self) -> Estimate:
        """What candidates are compared by: the worst case, where there is one (Aerni et al. 2024, section 4)."""
        return self.average if self.canaries is None else self.canaries


@dataclass(frozen=True)
class Front:
    """All candidates that have both estimates.

    Attributes:
        attack: the primary attack, whose rate is compared; None for the strongest attack on each candidate.
        marks: the candidates, as in the evidence.
        missing: ids of candidates that lack one of the two.
        best: ids of candidates that no other one beats; empty with fewer than three marks.
    """

    attack: str | None
    marks: tuple[Mark, ...]
    missing: tuple[str, ...]
    best: tuple[str, ...]


def front(evidence: Evidence) -> Front:
    """Find the candidates that no other one beats.

    One candidate beats another by point estimates: at least as accurate, leaking no more, and better in one of the
    two. The primary attack is used where it gave a rate for any candidate, so that all are met by the same attacker.
    """
    primary = evidence.primary
    if not any(_rate_of(candidate, primary) for candidate in evidence.candidates):
        primary = None
    marks = tuple(mark for candidate in evidence.candidates if (mark := _mark(candidate, primary)) is not None)
    drawn = {mark.candidate.id for mark in marks}
    return Front(
        attack=primary,
        marks=marks,
        missing=tuple(c.id for c in evidence.candidates if c.id not in drawn),
        best=tuple(
            mark.candidate.id for mark in marks if len(marks) >= FEWEST and not any(_beats(o, mark) for o in marks)
        ),
    )


def against_dp_sgd(evidence: Evidence, found: Front) -> dict[str, str]:
    """For each candidate's id: whether DP-SGD of this run is at least as useful and leaks no more.

    Intervals decide: of two that overlap none is better. A candidate is beaten where DP-SGD is better in one of the two
    and neither worse nor, by point estimate, behind in the other. Intervals are not paired, so this errs towards "not
    told apart". Empty where the run has no DP-SGD candidate, or nothing to set beside it.
    """
    baselines = [mark for mark in found.marks if _is_dp_sgd(evidence, mark.candidate)]
    others = [mark for mark in found.marks if mark not in baselines]
    if not baselines or not others:
        return {}
    words = {mark.candidate.id: IS_DP_SGD for mark in baselines}
    return words | {mark.candidate.id: _verdict(mark, baselines) for mark in others}


def _mark(candidate: Candidate, primary: str | None) -> Mark | None:
    accuracy = candidate.utility.get(UTILITY)
    leakage = _rate_of(candidate, primary) if primary else _strongest_rate(candidate)
    if accuracy is None or leakage is None:
        return None
    return Mark(candidate, accuracy, leakage, None if primary is None else _of_canaries(candidate, primary))


def _of_canaries(candidate: Candidate, attack: str) -> Estimate | None:
    rows = (group for group in candidate.groups if (group.column, group.value) == (CANARY_COLUMN, CANARY))
    return next((row.metrics.get(LEAKAGE) for row in rows if row.attack in (None, attack)), None)


def _rate_of(candidate: Candidate, attack: str | None) -> Estimate | None:
    return next((a.metrics.get(LEAKAGE) for a in candidate.attacks if a.id == attack), None)


def _strongest_rate(candidate: Candidate) -> Estimate | None:
    """With the interval that answers for the choice, where the evidence has it."""
    if LEAKAGE in candidate.strongest:
        return candidate.strongest[LEAKAGE].estimate
    rates = [a.metrics[LEAKAGE] for a in candidate.attacks if a.family == "membership" and LEAKAGE in a.metrics]
    return max(rates, key=lambda rate: (rate.low, rate.value), default=None)


def _beats(one: Mark, other: Mark) -> bool:
    gains = (one.accuracy.value - other.accuracy.value, other.leakage.value - one.leakage.value)
    return min(gains) >= 0 and max(gains) > 0


def _is_dp_sgd(evidence: Evidence, candidate: Candidate) -> bool:
    sections = evidence.experiment.get("defenses")
    section = sections.get(candidate.defense, {}) if isinstance(sections, dict) else {}
    return candidate.claim is not None and component_name(candidate.defense, section) == _BASELINE


def _verdict(mark: Mark, baselines: list[Mark]) -> str:
    """The gravest that any baseline has to say, with the names of all that say it."""
    said: dict[str, list[str]] = {}
    for baseline in baselines:
        said.setdefault(_compared(mark, baseline), []).append(baseline.candidate.id)
    for words in ("beaten by {}", "leaks more than {}, accuracy not told apart", "less useful than {}, leakage not told"
                  " apart", "not told apart from {}"):  # fmt: skip
        if words in said:
            return words.format(" and ".join(said[words]))
    return "not beaten"


def _compared(mark: Mark, baseline: Mark) -> str:
    """What one DP-SGD candidate says about another candidate, with a gap for its name; empty where it is no better."""
    useful, leaking = _side(baseline.accuracy, mark.accuracy), -_side(baseline.leakage, mark.leakage)
    if min(useful, leaking) < 0:
        return ""
    if max(useful, leaking) == 0:
        return "not told apart from {}"
    if _beats(baseline, mark):
        return "beaten by {}"
    return "leaks more than {}, accuracy not told apart" if leaking else "less useful than {}, leakage not told apart"


def _side(one: Estimate, other: Estimate) -> int:
    """1 where `one` lies wholly above `other`, -1 where below, 0 where the intervals overlap."""
    return int(one.low > other.high) - int(one.high < other.low)
