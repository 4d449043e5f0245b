"""Verdicts and attacks in plain words, shared by the report and its one-page summary.

A success rate at a false-alarm rate is said as counts out of 1000 people; the chance that a flagged person
really is a member is Bayes' rule at three priors (Jayaraman et al., arXiv 2005.10881); a formal claim is
said as the highest success rate that it leaves open (Kairouz et al., arXiv 1311.0776, section 2), for a game in
which one record replaces another (group privacy: Dwork and Roth 2014, theorem 2.2, where that is two changes).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import gate
from .evidence import AttackResult, Candidate, Control, Evidence
from .types import Estimate, PrivacyClaim, ThreatModel, Verdict

HEADLINE = "tpr_at_fpr_0.01"
REALISED = "realised_fpr_at_fpr_0.01"
NOMINAL_FPR = 0.01
_DISTRUST = "A control of the instrument did not pass, so no result of this run may be relied on"
_NO_RESULT = "no membership attack produced a result"
_FAILED_CONTROL = {
    "shuffled_membership": "Attacks find members where there is nothing to find, so their other numbers may be "
    "invented too: look for the way in which the attacks named here see membership, and repair that first.",
    "planted_leak": "The attacks do not see a leak that is there, so low numbers show nothing: check the settings, the "
    "reference models and the sign of the scores of the attacks named here, or make a stronger attack primary.",
    "model_free_baseline": "Members and non-members are different kinds of records, so an attack can succeed although "
    "the model leaks nothing: draw both from one source by a coin, without what tells them apart (time, file, format), "
    "and train again.",
}
_BROKEN_CONTROL = (
    "The control itself could not run, so the instrument was not checked: repair what it names, run again."
)
PRIORS = (0.01, 0.10, 0.50)

ACCESS_WORDS = {
    "labels": "who sees predicted labels only",
    "probabilities": "with probability access",
    "gradients": "who holds the model's weights",
}
BYPASS = "This attacker holds the weights: a defence of the answers does not stand in the way."
TIED = (
    "scores are tied in blocks larger than 1\u00a0% of the outsiders: whole blocks are flagged or not, "
    "so at 1\u00a0% FPR nobody is."
)
_CHANGES = {"add_or_remove_one": 2, "zero_out_one": 2, "replace_one": 1}
"""How many changes of a claim's kind lead from models that have a record to those that have another in its place."""
_RECORDS = ("training members", "outsiders")


def release_candidate(evidence: Evidence) -> str | None:
    """Id of the candidate whose verdict is the run's; None where all of them decide."""
    named = evidence.experiment.get("release")
    return named if isinstance(named, str) else None


def release_first(evidence: Evidence) -> list[Candidate]:
    """The candidates as in the evidence, the release candidate before the others."""
    release = release_candidate(evidence)
    return sorted(evidence.candidates, key=lambda candidate: candidate.id != release)


def overall(evidence: Evidence, candidate: str | None = None) -> str:
    """Verdict on one candidate, or on the run: that of the release candidate, else the worst of all.

    ERROR where a control did not pass; `NO POLICY` when no rule was applied: nothing was decided, which is not
    a pass.
    """
    if _distrusted(evidence):
        return Verdict.ERROR.value
    subject = candidate or release_candidate(evidence)
    verdicts = [v for v in evidence.verdicts if subject in {None, v.candidate}]
    return gate.overall(verdicts).value if verdicts else "NO POLICY"


def bypasses(attack: AttackResult, candidate: Candidate) -> bool:
    """Whether the attack uses weights where a defence without a formal claim is in place."""
    undefended = candidate.guarantee == "none" or candidate.defense == "none"
    return attack.threat_model.access == "gradients" and candidate.claim is None and not undefended


@dataclass(frozen=True)
class Strongest:
    """The membership attack that a candidate is judged by, and the metric by which it was picked."""

    attack: AttackResult
    metric: str

    @property
    def estimate(self) -> Estimate:
        """The estimate by which it was picked."""
        return self.attack.metrics[self.metric]


def repeats(evidence: Evidence, attack: str) -> int:
    """How often an attack asks each question: it sees the mean of so many answers."""
    sections = evidence.experiment.get("attacks")
    section = sections.get(attack) if isinstance(sections, Mapping) else None
    return int(section.get("repeats", 1)) if isinstance(section, Mapping) else 1


def averaging(evidence: Evidence, attack: str) -> str:
    """That an attack averages repeated answers, which takes noise on them away; empty where it does not."""
    times = repeats(evidence, attack)
    return f"asks every question {times} times and takes the mean" if times > 1 else ""


def remark(evidence: Evidence, attack: AttackResult) -> str:
    """What follows an attack's name wherever it stands without its threat model; empty for most."""
    times = repeats(evidence, attack.id)
    known = [
        *(["knows members"] if attack.threat_model.knows_members else []),
        *([f"mean of {times} answers"] if times > 1 else []),
    ]
    return f" ({'; '.join(known)})" if known else ""


def strongest(candidate: Candidate) -> Strongest | None:
    """The membership attack with the largest lower bound of TPR at 1 % FPR, or of AUC where none has that.

    None when no membership attack succeeded in running.
    """
    ran = [a for a in candidate.attacks if a.family == "membership" and a.status == "ok"]
    for metric in (HEADLINE, "auc"):
        having = [Strongest(a, metric) for a in ran if metric in a.metrics]
        if having:
            return max(having, key=lambda s: (s.estimate.low, s.estimate.value))
    return None


def posterior(prior: float, tpr: float, fpr: float) -> float:
    """Probability that a flagged record is a member: prior in (0, 1), tpr in [0, 1], fpr in (0, 1]."""
    return prior * tpr / (prior * tpr + (1 - prior) * fpr)


def share(probability: float) -> str:
    """A probability in percent, with one decimal under 10 %; no unit."""
    return f"{100 * probability:.1f}" if probability < 0.0995 else f"{100 * probability:.0f}"


def tpr_ceiling(claim: PrivacyClaim, fpr: float) -> float:
    """Largest TPR at `fpr` that (epsilon, delta) leaves to any attack in the game that is measured here.

    The models of a pool train on halves of a fixed size, so where a record is out another one is in. A claim about
    replacing one record covers that as it is. A claim about adding or removing (or zeroing out) one record needs two
    changes, for which group privacy gives epsilon' = 2 epsilon and delta' = (1 + e^epsilon) delta for either relation.
    With these, TPR <= min(e^epsilon' FPR + delta', 1 - e^-epsilon' (1 - delta' - FPR)).
    """
    once = math.exp(min(claim.epsilon, 350.0))
    ratio, delta = once, claim.delta
    if _CHANGES[claim.neighbouring] == 2:
        ratio, delta = once**2, (1 + once) * claim.delta
    return max(0.0, min(ratio * fpr + delta, 1 - (1 - delta - fpr) / ratio, 1.0))


def claim_for(found: Strongest, claim: PrivacyClaim | None) -> PrivacyClaim | None:
    """The claim, where it is about those whom the attack's result is about.

    A claim for each record says nothing direct about a user with several of them.
    """
    if claim is None or (claim.unit == "record" and about_users(found.estimate)):
        return None
    return claim


def contradicts(found: Strongest, claim: PrivacyClaim | None) -> bool:
    """Whether even the lower bound of the attack's TPR lies above what the claim leaves open.

    The ceiling is taken at the upper end of the realised FPR: where that is all that the threshold cost, the
    attack is within the claim.
    """
    claim = claim_for(found, claim)
    if claim is None or found.metric != HEADLINE:
        return False
    return found.estimate.low > tpr_ceiling(claim, _most_by_guessing(found))


def tied(attack: AttackResult) -> bool:
    """Whether the attack flags nobody at 1 % FPR, which without large blocks of equal scores it would."""
    flagged = [attack.metrics.get(name) for name in (HEADLINE, REALISED)]
    return all(rate is not None and rate.value == 0 for rate in flagged)


def realised_fpr(found: Strongest) -> Estimate | None:
    """False positive rate that the threshold for 1 % FPR really has, where it was measured."""
    return found.attack.metrics.get(REALISED) if found.metric == HEADLINE else None


def by_guessing(found: Strongest) -> float:
    """What guessing achieves in the metric that the attack was picked by: as many members as outsiders."""
    if found.metric != HEADLINE:
        return 0.5
    realised = realised_fpr(found)
    return realised.value if realised else NOMINAL_FPR


def _most_by_guessing(found: Strongest) -> float:
    realised = realised_fpr(found)
    return realised.high if realised else by_guessing(found)


def attacker(threat_model: ThreatModel) -> str:
    """The attacker as a noun phrase."""
    words = f"an attacker {ACCESS_WORDS[threat_model.access]}"
    if threat_model.knows_members:
        words += ", who was told the membership of some of the target's own records,"
    return words


def about_users(estimate: Estimate) -> bool:
    """Whether a result is about users with all their records, and not about single records."""
    return estimate.over in ("users", "models and users")


def people(estimate: Estimate) -> tuple[str, str]:
    """Whom a membership result is about: those in the training data, and those outside."""
    return ("users in the training data", "users outside of it") if about_users(estimate) else _RECORDS


def attack_sentence(found: Strongest) -> str:
    """What the strongest attack achieves, in counts a person can picture."""
    estimate, who = found.estimate, attacker(found.attack.threat_model)
    inside, outside = people(estimate)
    if found.metric != HEADLINE:
        pair = "user in the training data and one" if about_users(estimate) else "training member and one"
        return (
            f"Shown one {pair} outsider, {who} picks the member in "
            f"{1000 * estimate.value:.0f} of 1000 cases (interval {1000 * estimate.low:.0f} to "
            f"{1000 * estimate.high:.0f}); guessing picks it in 500."
        )
    outsiders = f"{_thousands(by_guessing(found))} of 1000 {outside}"
    if realised := realised_fpr(found):
        outsiders += f" ({_range(realised)})"
    return (
        f"Of 1000 {inside}, {who} correctly flags {_thousands(estimate.value)} "
        f"({_range(estimate)}), and wrongly flags {outsiders}."
    )


def chance_sentence(found: Strongest) -> str:
    """Whether the attack measurably beats guessing, which flags members and outsiders alike.

    It does where the lower end of its rate exceeds the upper end of the realised FPR (the nominal one where that
    was not measured), and for AUC where the lower end exceeds 0.5.
    """
    chance = by_guessing(found)
    if found.estimate.low <= _most_by_guessing(found):
        return f"The interval is not wholly above what guessing achieves.{_over_all_thresholds(found)}"
    if chance == 0:
        return "Guessing with the same threshold finds none: the whole interval is above guessing."
    factor = found.estimate.value / chance
    return f"That is {factor:.1f} times what guessing achieves, and the whole interval is above guessing."


def _over_all_thresholds(found: Strongest) -> str:
    """Whether the attack beats guessing on average, where one threshold alone does not show it."""
    auc = found.attack.metrics.get("auc")
    if auc is None or auc.low <= 0.5:
        return " No measurable advantage of this attack."
    ends = f"{auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]"
    return f" Over all thresholds the attack does better than guessing: AUC {ends}."


def headline(evidence: Evidence) -> str:
    """The run in one sentence; where there is a release candidate, it first and the others for comparison.

    A contradicted claim is said before all else.
    """
    refuted = [c.id for c in evidence.candidates if any(audit.contradicts for audit in c.audits)]
    warning = f"Claim contradicted: {', '.join(refuted)}. " if refuted else ""
    return warning + _findings(evidence)


def _findings(evidence: Evidence) -> str:
    release = release_candidate(evidence)
    others = [c for c in evidence.candidates if c.id != release]
    if release is None:
        sentence = f"{_tally(evidence, others, 'candidate')}; {_most(evidence, others)}."
        return sentence[0].upper() + sentence[1:]
    if _distrusted(evidence):
        return f"Release candidate {release}: {overall(evidence)}. {_DISTRUST}."
    found = next((strongest(c) for c in evidence.candidates if c.id == release), None)
    most = f"at the most, {_short(evidence, found)}" if found else _NO_RESULT
    first = f"Release candidate {release}: {overall(evidence)}; {most}."
    if not others:
        return first
    return f"{first} For comparison: {_tally(evidence, others, 'other candidate')}; {_most(evidence, others)}."


def _most(evidence: Evidence, candidates: Sequence[Candidate]) -> str:
    found = [(c.id, s) for c in candidates if (s := strongest(c)) is not None]
    comparable = [(name, s) for name, s in found if s.metric == HEADLINE] or found
    if not comparable:
        return _NO_RESULT
    name, top = max(comparable, key=lambda pair: pair[1].estimate.low)
    return f"the most that any attack achieved was against {name}: {_short(evidence, top)}"


def _short(evidence: Evidence, found: Strongest) -> str:
    value, name = found.estimate.value, found.attack.id + remark(evidence, found.attack)
    inside, outside = people(found.estimate)
    if found.metric != HEADLINE:
        return f"{name} tells {inside} from {outside} with AUC {value:.3f} (guessing: 0.500)"
    alarms = _thousands(by_guessing(found))
    return (
        f"{name} finds {_thousands(value)} of every 1000 {inside} "
        f"at {alarms} false alarms per 1000 {outside}, where guessing finds {alarms}"
    )


def _distrusted(evidence: Evidence) -> bool:
    return any(control.status != "passed" for control in evidence.controls)


def control_meaning(control: Control) -> str:
    """What it means that a control did not pass, and what to do next; empty where it passed."""
    if control.status == "passed":
        return ""
    if control.status == "error":
        return _BROKEN_CONTROL
    return _FAILED_CONTROL.get(control.id, f"{_DISTRUST}.")


def _tally(evidence: Evidence, candidates: Sequence[Candidate], kind: str) -> str:
    outcomes = [overall(evidence, c.id) for c in candidates]
    if _distrusted(evidence):
        return _DISTRUST
    total = f"{len(outcomes)} {kind}{'' if len(outcomes) == 1 else 's'}"
    if set(outcomes) <= {"NO POLICY"}:
        return f"{total} measured, none judged, because no policy was applied"
    words = {
        "PASS": "within the policy",
        "FAIL": "outside the policy" if evidence.policy_sha256 else "contradicted by an audit",
        "INCONCLUSIVE": "undecided",
        "ERROR": "not judged because of errors",
        "NO POLICY": "not under any rule",
    }
    counts = {text: outcomes.count(key) for key, text in words.items() if key in outcomes}
    return f"of {total}, " + ", ".join(f"{n} {'is' if n == 1 else 'are'} {text}" for text, n in counts.items())


def _range(estimate: Estimate) -> str:
    return f"interval {_thousands(estimate.low)} to {_thousands(estimate.high)}"


def _thousands(rate: float) -> str:
    """A rate as a count out of 1000, with one decimal where a whole number would hide what the verdict rests on."""
    count = 1000 * rate
    return f"{count:.0f}" if count >= 20 or math.isclose(count, round(count)) else f"{count:.1f}"
