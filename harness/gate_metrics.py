"""Which numbers of a candidate a policy rule is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .errors import NotApplicable
from .evidence import METRIC_PREFIX, AttackResult, Candidate
from .intervals import ppv
from .policy import PPV, MetricRule
from .types import STRONGEST, Estimate

_TPR, _FPR = "tpr_at_fpr_", "realised_fpr_at_fpr_"


@dataclass(frozen=True)
class Measured:
    """One metric that a rule compares with its limit. `chosen`: its interval answers for having been chosen."""

    metric: str
    attack: str | None
    estimate: Estimate
    chosen: bool = False


def matches(pattern: str, name: str) -> bool:
    """Whether a metric's full name matches; case counts, and no wildcard stands for `/`."""
    patterns, names = pattern.split("/"), name.split("/")
    return len(patterns) == len(names) and all(map(fnmatchcase, names, patterns))


def measured_by(rule: MetricRule, candidate: Candidate) -> list[Measured]:
    """Metrics that the rule matches, from attacks that finished. PPV is worked out at the rule's prior.

    A rule about the strongest attack is about all of them: which is the strongest is known up to chance only.
    """
    found = [Measured(f"utility/{name}", None, estimate) for name, estimate in candidate.utility.items()]
    for attack in candidate.attacks:
        if attack.status == "ok":
            given = {**attack.metrics, **(_ppvs(attack.metrics, rule.prior) if rule.prior is not None else {})}
            found += [Measured(attack.metric_name(name), attack.id, estimate) for name, estimate in given.items()]
    found += _strongest(candidate)
    return [entry for entry in found if _about(rule.metric, entry.metric)]


def covered_by(rule: MetricRule, candidate: Candidate) -> list[AttackResult]:
    """Attacks whose family and id the rule matches, whether or not they gave the metric."""
    pattern = rule.metric.rpartition("/")[0]
    return [a for a in candidate.attacks if _about(pattern, f"{METRIC_PREFIX[a.family]}/{a.id}")]


def _about(pattern: str, name: str) -> bool:
    """Whether a pattern matches a name, or would if its attack were called the strongest."""
    family, *rest = name.split("/")
    as_strongest = "/".join([family, STRONGEST, *rest[1:]])
    return matches(pattern, name) or (family == METRIC_PREFIX["membership"] and matches(pattern, as_strongest))


def _strongest(candidate: Candidate) -> Iterator[Measured]:
    for name, best in candidate.strongest.items():
        metric = f"{METRIC_PREFIX['membership']}/{STRONGEST}/{name}"
        yield Measured(metric, best.attack, best.estimate, chosen=True)


def _ppvs(metrics: Mapping[str, Estimate], prior: float) -> dict[str, Estimate]:
    """Chance that a flagged record is a member, at each rate of a membership attack."""
    found = {}
    for name, tpr in metrics.items():
        rate = name.removeprefix(_TPR)
        if rate != name and _FPR + rate in metrics:
            found[PPV + rate] = _ppv(tpr, metrics[_FPR + rate], prior)
    return found


def _ppv(tpr: Estimate, fpr: Estimate, prior: float) -> Estimate:
    try:
        return ppv(tpr, fpr, prior)
    except NotApplicable:  # nobody is flagged: nothing is known about those who might be
        words = f"nobody was flagged, so anything is possible; {tpr.method}"
        return Estimate(prior, 0.0, 1.0, tpr.level, words, tpr.n, tpr.over)
