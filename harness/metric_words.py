"""Metrics, numbers, differences and limits in plain words, shared by everything that a reader sees."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .evidence import Candidate, RuleVerdict
from .types import Estimate, Verdict

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
    "train_r2": "R\u00b2 on training data",
    "heldout_r2": "R\u00b2 on held-out data",
}
_RELATIVE = ("nearest_member_gain", "member_specificity")
_AT_RATE = re.compile(r"(tpr|realised_fpr|tnr|ppv)_at_(fpr|fnr)_([0-9.e-]+)")
_RATES = {"tpr": "TPR", "realised_fpr": "Realised FPR", "tnr": "TNR", "ppv": "PPV"}


def heldout(candidate: Candidate) -> tuple[str, Estimate | None]:
    """What a candidate is good for on records that it did not train on: name and value of accuracy, or of R²."""
    name = "heldout_r2" if "heldout_r2" in candidate.utility else "heldout_accuracy"
    return name, candidate.utility.get(name)


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
