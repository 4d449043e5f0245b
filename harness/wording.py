"""Numbers and verdicts in plain words, shared by the report and its one-page summary.

A success rate at a false-alarm rate is said as counts out of 1000 people; the chance that a flagged person
really is a member is Bayes' rule at three priors (Jayaraman et al., arXiv 2005.10881); a formal claim is
said as the highest success rate that it leaves open (Kairouz et al., arXiv 1311.0776, section 2).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from . import gate
from .evidence import AttackResult, Candidate, Evidence
from .types import Estimate, PrivacyClaim, ThreatModel, Verdict

HEADLINE = "tpr_at_fpr_0.01"
NOMINAL_FPR = 0.01
PRIORS = (0.01, 0.10, 0.50)

ACCESS_WORDS = {
    "labels": "who sees predicted labels only",
    "probabilities": "with probability access",
    "gradients": "who holds the model's weights",
}
_LABELS = {
    "auc": "AUC",
    "advantage": "Advantage",
    "evaluation_accuracy": "Recognised reconstructions",
    "baseline_accuracy": "Recognised baseline",
    "lift": "Lift over baseline",
    "nearest_member_gain": "Nearest-member gain",
    "train_accuracy": "Accuracy on training data",
    "heldout_accuracy": "Accuracy on held-out data",
}
_AT_FPR = re.compile(r"(tpr|realised_fpr)_at_fpr_([0-9.e-]+)")


def metric_label(name: str) -> str:
    """Heading for a metric; a name that is not known stands for itself."""
    if match := _AT_FPR.fullmatch(name):
        kind = "TPR" if match[1] == "tpr" else "Realised FPR"
        return f"{kind} at {100 * float(match[2]):g}\u00a0% FPR"
    return _LABELS.get(name, name)


def number(name: str, value: float) -> str:
    """Value of the metric `name`: rates in percent, lift in points, all else with three decimals."""
    if name == "claim":
        return f"\u03b5\u00a0{value:.3g}"
    if name == "lift":
        return _minus(f"{100 * value:+.1f}\u00a0pts")
    if _AT_FPR.fullmatch(name) or name.endswith("accuracy"):
        return _minus(f"{100 * value:.1f}\u00a0%")
    large_or_tiny = abs(value) >= 1000 or 0 < abs(value) < 0.001
    return _minus(f"{value:.3g}" if large_or_tiny else f"{value:.3f}")


def interval(name: str, estimate: Estimate) -> str:
    """`[low, high]` in the unit of `number`, the unit left out."""
    low, high = (number(name, end).split("\u00a0")[0] for end in (estimate.low, estimate.high))
    return f"[{low}, {high}]"


def _minus(text: str) -> str:
    return text.replace("-", "\u2212") if text[0] == "-" else text


def overall(evidence: Evidence, candidate: str | None = None) -> str:
    """Verdict on one candidate, or on the run: the worst of the rules, ERROR where a control did not pass.

    `NO POLICY` when no rule was applied: nothing was decided, which is not a pass.
    """
    if any(control.status != "passed" for control in evidence.controls):
        return Verdict.ERROR.value
    verdicts = [v for v in evidence.verdicts if candidate in {None, v.candidate}]
    return gate.overall(verdicts).value if verdicts else "NO POLICY"


@dataclass(frozen=True)
class Strongest:
    """The membership attack that a candidate is judged by, and the metric by which it was picked."""

    attack: AttackResult
    metric: str

    @property
    def estimate(self) -> Estimate:
        """The estimate by which it was picked."""
        return self.attack.metrics[self.metric]


def knowing(attack: AttackResult) -> str:
    """Remark that follows an attack's name wherever it stands without its threat model; empty for most."""
    return " (knows members)" if attack.threat_model.knows_members else ""


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
    """Largest TPR at `fpr` that (epsilon, delta) leaves to any attack on neighbouring data sets."""
    growth = math.exp(min(claim.epsilon, 700.0))
    return max(0.0, min(growth * fpr + claim.delta, 1 - (1 - claim.delta - fpr) / growth, 1.0))


def contradicts(found: Strongest, claim: PrivacyClaim | None) -> bool:
    """Whether even the lower bound of the attack's TPR lies above what the claim leaves open."""
    if claim is None or found.metric != HEADLINE:
        return False
    return found.estimate.low > tpr_ceiling(claim, NOMINAL_FPR)


def attacker(threat_model: ThreatModel) -> str:
    """The attacker as a noun phrase."""
    words = f"an attacker {ACCESS_WORDS[threat_model.access]}"
    if threat_model.knows_members:
        words += ", who was told the membership of some of the target's own records,"
    return words


def attack_sentence(found: Strongest) -> str:
    """What the strongest attack achieves, in counts a person can picture."""
    estimate, who = found.estimate, attacker(found.attack.threat_model)
    if found.metric != HEADLINE:
        return (
            f"Shown one training member and one outsider, {who} picks the member in "
            f"{1000 * estimate.value:.0f} of 1000 cases (interval {1000 * estimate.low:.0f} to "
            f"{1000 * estimate.high:.0f}); guessing picks it in 500."
        )
    low, high = _thousands(estimate.low), _thousands(estimate.high)
    return (
        f"Of 1000 training members, {who} correctly flags {_thousands(estimate.value)} "
        f"(interval {low} to {high}), and wrongly flags {_thousands(NOMINAL_FPR)} of 1000 outsiders."
    )


def chance_sentence(found: Strongest) -> str:
    """Whether the attack measurably beats guessing."""
    chance = NOMINAL_FPR if found.metric == HEADLINE else 0.5
    if found.estimate.low > chance:
        factor = found.estimate.value / chance
        return f"That is {factor:.1f} times what guessing achieves, and the whole interval is above guessing."
    return "The interval includes or lies below what guessing achieves: no measurable advantage of this attack."


def headline(evidence: Evidence) -> str:
    """The run in one sentence."""
    found = [(c.id, s) for c in evidence.candidates if (s := strongest(c)) is not None]
    tail = "no membership attack produced a result"
    by_headline = [(name, s) for name, s in found if s.metric == HEADLINE] or found
    if by_headline:
        name, top = max(by_headline, key=lambda pair: pair[1].estimate.low)
        tail = f"the most that any attack achieved was against {name}: {_short(top)}"
    return f"{_tally(evidence)}; {tail}."


def _short(found: Strongest) -> str:
    value, name = found.estimate.value, found.attack.id + knowing(found.attack)
    if found.metric != HEADLINE:
        return f"{name} tells members from outsiders with AUC {value:.3f} (guessing: 0.500)"
    alarms = _thousands(NOMINAL_FPR)
    return (
        f"{name} finds {_thousands(value)} of every 1000 training members "
        f"at {alarms} false alarms per 1000 outsiders, where guessing finds {alarms}"
    )


def _tally(evidence: Evidence) -> str:
    outcomes = [overall(evidence, c.id) for c in evidence.candidates]
    if any(control.status != "passed" for control in evidence.controls):
        return "A control of the instrument did not pass, so no result of this run may be relied on"
    total = f"{len(outcomes)} candidate{'' if len(outcomes) == 1 else 's'}"
    if set(outcomes) <= {"NO POLICY"}:
        return f"{total} measured, none judged, because no policy was applied"
    words = {
        "PASS": "within the policy",
        "FAIL": "outside the policy",
        "INCONCLUSIVE": "undecided",
        "ERROR": "not judged because of errors",
        "NO POLICY": "not under any rule",
    }
    counts = {text: outcomes.count(key) for key, text in words.items() if key in outcomes}
    return f"Of {total}, " + ", ".join(f"{n} {'is' if n == 1 else 'are'} {text}" for text, n in counts.items())


def claim_words(candidate: Candidate) -> str:
    """The formal claim, or that there is none and why."""
    if candidate.claim is not None:
        delta = f"{candidate.claim.delta:.1g}".replace("e-0", "e-").replace("-", "\u2011")
        return f"\u03b5\u00a0=\u00a0{candidate.claim.epsilon:.3g}, \u03b4\u00a0=\u00a0{delta}"
    return "no formal claim" + (" (heuristic defence)" if candidate.guarantee == "heuristic" else "")


def _thousands(rate: float) -> str:
    count = 1000 * rate
    return f"{count:.0f}" if count >= 10 or math.isclose(count, round(count)) else f"{count:.1f}"
