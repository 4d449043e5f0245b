"""Numbers and verdicts in plain words, shared by the report and its one-page summary.

A success rate at a false-alarm rate is said as counts out of 1000 people; the chance that a flagged person
really is a member is Bayes' rule at three priors (Jayaraman et al., arXiv 2005.10881); a formal claim is
said as the highest success rate that it leaves open (Kairouz et al., arXiv 1311.0776, section 2), for a game in
which one record replaces another (group privacy: Dwork and Roth 2014, theorem 2.2).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import gate
from .evidence import AttackResult, Audit, Candidate, Control, Evidence, RuleVerdict
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
_LABELS = {
    "auc": "AUC",
    "advantage": "Advantage",
    "bayes_security": "Bayes security",
    "evaluation_accuracy": "Recognised reconstructions",
    "baseline_accuracy": "Recognised baseline",
    "lift": "Lift over baseline",
    "nearest_member_gain": "Closer to a member than the public mean",
    "member_specificity": "Closer to members than to outsiders",
    "evaluation_classifier_accuracy": "Judge's own accuracy",
    "train_accuracy": "Accuracy on training data",
    "heldout_accuracy": "Accuracy on held-out data",
}
_RELATIVE = ("nearest_member_gain", "member_specificity")
BYPASS = "This attacker holds the weights: a defence of the answers does not stand in the way."
TIED = (
    "scores are tied in blocks larger than 1\u00a0% of the outsiders: whole blocks are flagged or not, "
    "so at 1\u00a0% FPR nobody is."
)
_METHODS = {
    "one_run": "guesses in one training run",
    "one_run_fdp": "the same guesses, Gaussian trade-off curve",
    "multi_run": "one canary over several training runs",
}
_CANARIES = {
    "mislabelled": "records with a wrong label",
    "mislabelled_duplicates": "records with a wrong label, each twice",
    "out_of_distribution": "noise with any label",
    "blank": "blank records with any label",
    "own_feature": "records with a feature of their own",
}
_AT_RATE = re.compile(r"(tpr|realised_fpr|tnr|ppv)_at_(fpr|fnr)_([0-9.e-]+)")
_RATES = {"tpr": "TPR", "realised_fpr": "Realised FPR", "tnr": "TNR", "ppv": "PPV"}


def metric_label(name: str) -> str:
    """Heading for a metric; a name that is not known stands for itself."""
    if match := _AT_RATE.fullmatch(name):
        return f"{_RATES[match[1]]} at {100 * float(match[3]):g}\u00a0% {match[2].upper()}"
    return _LABELS.get(name, name)


def full_label(metric: str) -> str:
    """Heading for a metric by its full name: `mia/lira/auc` is "lira: AUC"."""
    _, *attack, name = metric.split("/")
    return ": ".join([*attack, metric_label(name)])


def of_difference(name: str) -> str:
    """The metric in whose unit a difference of the metric `name` is written: differences of percentages are points."""
    return "lift" if _AT_RATE.fullmatch(name) or name.endswith("accuracy") else name


def direction(metric: str, difference: Estimate) -> str:
    """What a difference of a metric, by its full name, means, if its interval tells."""
    more, less = ("more useful", "less useful") if metric.startswith("utility/") else ("leaks more", "leaks less")
    if difference.low > 0:
        return more
    return less if difference.high < 0 else "not told apart"


def number(name: str, value: float) -> str:
    """Value of the metric `name`: rates in percent, lift in points, all else with three decimals.

    A metric that is not known keeps three significant digits where it is very large or small.
    """
    if name == "claim":
        return f"\u03b5\u00a0{value:.4g}"
    if name == "lift":
        return _signed(f"{100 * value:+.1f}") + "\u00a0pts"
    if name in _RELATIVE:
        return _signed(f"{100 * value:+.1f}") + "\u00a0%"
    if _AT_RATE.fullmatch(name) or name.endswith("accuracy"):
        return _signed(f"{100 * value:.1f}") + "\u00a0%"
    extreme = name not in _LABELS and (abs(value) >= 1000 or 0 < abs(value) < 0.001)
    return _signed(f"{value:.3g}" if extreme else f"{value:.3f}")


def interval(name: str, estimate: Estimate) -> str:
    """`[low, high]` in the unit of `number`, the unit left out."""
    low, high = (number(name, end).split("\u00a0")[0] for end in (estimate.low, estimate.high))
    return f"[{low}, {high}]"


def _signed(text: str) -> str:
    """A number with a real minus sign, and none on what was rounded to zero."""
    if not text.strip("+-0."):
        return text.lstrip("+-")
    return text.replace("-", "\u2212") if text[0] == "-" else text


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


def limit_words(rule: RuleVerdict, verdicts: Iterable[RuleVerdict]) -> str:
    """The limit with its direction.

    Evidence keeps no direction; it follows from a verdict that was decided, on this candidate or on another one
    of `verdicts` under the same rule. Where none was decided, the limit stands alone.
    """
    if rule.limit is None:
        return "\u2013"
    same = (other for other in verdicts if other.rule == rule.rule)
    sign = next((s for other in (rule, *same) if (s := _direction(other))), "")
    if rule.metric == "claim":
        return f"\u03b5\u00a0{sign}\u00a0{rule.limit:.3g}"
    return f"{sign}\u00a0{number(rule.metric.rpartition('/')[2], rule.limit)}".strip("\u00a0")


def _direction(rule: RuleVerdict) -> str:
    if rule.metric == "claim":
        return "\u2264"
    if rule.estimate is None or rule.limit is None:
        return ""
    under, over = rule.estimate.high <= rule.limit, rule.estimate.low >= rule.limit
    if under == over:  # the interval holds the limit, or is that single point
        return ""
    kept = rule.verdict is not Verdict.FAIL  # undecided beside its limit: kept, but for attacks that are missing
    return "\u2264" if under == kept else "\u2265"


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
    """Largest TPR at `fpr` that (epsilon, delta) leaves to any attack in the game that is measured here.

    The claim is about adding or removing (or zeroing out) one record. The models of a pool train on halves of a
    fixed size, so where a record is out another one is in: two changes. Group privacy for two changes gives
    epsilon' = 2 epsilon and delta' = (1 + e^epsilon) delta for either neighbouring relation, and with them
    TPR <= min(e^epsilon' FPR + delta', 1 - e^-epsilon' (1 - delta' - FPR)).
    """
    once = math.exp(min(claim.epsilon, 350.0))
    twice, delta = once**2, (1 + once) * claim.delta
    return max(0.0, min(twice * fpr + delta, 1 - (1 - delta - fpr) / twice, 1.0))


def contradicts(found: Strongest, claim: PrivacyClaim | None) -> bool:
    """Whether even the lower bound of the attack's TPR lies above what the claim leaves open.

    The ceiling is taken at the upper end of the realised FPR: where that is all that the threshold cost, the
    attack is within the claim.
    """
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


def attack_sentence(found: Strongest) -> str:
    """What the strongest attack achieves, in counts a person can picture."""
    estimate, who = found.estimate, attacker(found.attack.threat_model)
    if found.metric != HEADLINE:
        return (
            f"Shown one training member and one outsider, {who} picks the member in "
            f"{1000 * estimate.value:.0f} of 1000 cases (interval {1000 * estimate.low:.0f} to "
            f"{1000 * estimate.high:.0f}); guessing picks it in 500."
        )
    outsiders = f"{_thousands(by_guessing(found))} of 1000 outsiders"
    if realised := realised_fpr(found):
        outsiders += f" ({_range(realised)})"
    return (
        f"Of 1000 training members, {who} correctly flags {_thousands(estimate.value)} "
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
        sentence = f"{_tally(evidence, others, 'candidate')}; {_most(others)}."
        return sentence[0].upper() + sentence[1:]
    if _distrusted(evidence):
        return f"Release candidate {release}: {overall(evidence)}. {_DISTRUST}."
    found = next((strongest(c) for c in evidence.candidates if c.id == release), None)
    most = f"at the most, {_short(found)}" if found else _NO_RESULT
    first = f"Release candidate {release}: {overall(evidence)}; {most}."
    if not others:
        return first
    return f"{first} For comparison: {_tally(evidence, others, 'other candidate')}; {_most(others)}."


def _most(candidates: Sequence[Candidate]) -> str:
    found = [(c.id, s) for c in candidates if (s := strongest(c)) is not None]
    comparable = [(name, s) for name, s in found if s.metric == HEADLINE] or found
    if not comparable:
        return _NO_RESULT
    name, top = max(comparable, key=lambda pair: pair[1].estimate.low)
    return f"the most that any attack achieved was against {name}: {_short(top)}"


def _short(found: Strongest) -> str:
    value, name = found.estimate.value, found.attack.id + knowing(found.attack)
    if found.metric != HEADLINE:
        return f"{name} tells members from outsiders with AUC {value:.3f} (guessing: 0.500)"
    alarms = _thousands(by_guessing(found))
    return (
        f"{name} finds {_thousands(value)} of every 1000 training members "
        f"at {alarms} false alarms per 1000 outsiders, where guessing finds {alarms}"
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


def claim_words(candidate: Candidate) -> str:
    """The formal claim, or that there is none and why."""
    if candidate.claim is not None:
        return f"\u03b5\u00a0=\u00a0{candidate.claim.epsilon:.4g}, \u03b4\u00a0=\u00a0{delta_words(candidate.claim)}"
    return "no formal claim" + (" (heuristic defence)" if candidate.guarantee == "heuristic" else "")


def delta_words(claim: PrivacyClaim) -> str:
    """Delta in digits that no line break tears apart."""
    return f"{claim.delta:.2g}".replace("e-0", "e-").replace("-", "\u2011")


def audit_method(audit: Audit) -> str:
    """How an audit came to its number; a method that is not known stands for itself."""
    return _METHODS.get(audit.id, audit.id)


def inserted(audit: Audit) -> str:
    """What was inserted, with its number."""
    return f"{audit.canaries:,} {_CANARIES.get(audit.kind, audit.kind)}"


def audited(audit: Audit) -> str:
    """What an audit says about epsilon; that nothing was proved is not an epsilon of 0."""
    value, kind = audit.epsilon.value, audit.epsilon.kind
    if kind == "heuristic":
        return f"\u03b5\u00a0about\u00a0{value:.3g} (heuristic, not a bound)"
    if value == 0:
        return f"nothing proved; {_reach(audit)}"
    condition = "only if the trade-off curve is Gaussian" if kind == "conditional lower bound" else kind
    return f"\u03b5\u00a0\u2265\u00a0{value:.3g} ({condition})"


def _reach(audit: Audit) -> str:
    trials = "canaries and guesses" if audit.id.startswith("one_run") else "trials"
    if audit.ceiling == 0:
        return f"with so few {trials} nothing could have been proved"
    return f"so many {trials} could have proved up to \u03b5\u00a0{audit.ceiling:.3g}"


def audit_sentence(audit: Audit) -> str:
    """One audit in one line: what was done, what it proved, what is claimed."""
    claim = "no claim" if audit.claimed is None else f"claimed \u03b5\u00a0{audit.claimed:.3g}"
    stated = f"\u03b4\u00a0{audit.epsilon.delta:g}, confidence {100 * audit.epsilon.level:g}\u00a0%"
    parts = [f"{audit.right:,} of {audit.guesses:,} guesses right", f"{audited(audit)} at {stated}"]
    if audit.epsilon.value > 0 and audit.epsilon.kind != "heuristic":
        parts.append(_reach(audit))
    parts += [claim, *(["CLAIM CONTRADICTED"] if audit.contradicts else [])]
    return f"{audit.id}: {inserted(audit)}; {'; '.join(parts)}{audit.note and f'. {audit.note}'}"


def out_of_reach(audit: Audit) -> bool:
    """Whether this audit could not have contradicted the claim, whatever the guesses."""
    return audit.claimed is not None and audit.ceiling <= audit.claimed


def _range(estimate: Estimate) -> str:
    return f"interval {_thousands(estimate.low)} to {_thousands(estimate.high)}"


def _thousands(rate: float) -> str:
    """A rate as a count out of 1000, with one decimal where a whole number would hide what the verdict rests on."""
    count = 1000 * rate
    return f"{count:.0f}" if count >= 20 or math.isclose(count, round(count)) else f"{count:.1f}"
