"""The gate: a policy's rules applied to evidence, deciding on interval ends, never on a point estimate.

A `max` rule compares each end of an estimate's interval with the limit (a `min` rule the other way round):

    upper end <= limit               PASS           the leak is shown to be at or under the limit
    lower end > limit                FAIL           the leak is shown to be over it
    the limit lies between           INCONCLUSIVE   not enough records or models to tell
    no number, or none to trust      ERROR          a failed attack, a missing metric, a failed control

An attack that the rule covers and that was not run turns PASS into INCONCLUSIVE: it might be the strongest.

A rule over several attacks passes only if each of them does, which needs no correction for many comparisons
(intersection-union test: Berger 1982, Technometrics 24, 295-300). It fails by an interval that answers for the
choice: that of the attack which was named primary before the run, or that of the strongest attack, which is
corrected for having been chosen (`strongest.py`). One of several others over the limit by itself leaves the rule open.
Where neither is there, as among inversion attacks, any may fail it, and the reason says that nothing was corrected.

Whatever the policy and the controls, a lower bound on epsilon above a candidate's formal claim is a FAIL: the claim is
contradicted. The controls check the attacks, not the coins of an audit. An audit that was asked for and failed is an
ERROR.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from .errors import ExitCode, UsageError
from .evidence import AUDIT, AttackResult, Candidate, Evidence, RuleVerdict
from .gate_metrics import Measured, covered_by, measured_by
from .policy import ClaimRule, MetricRule, Policy, Rule
from .power import records_needed_scaled
from .types import Estimate, Verdict

CONTRADICTED = "claim-contradicted"
"""Rule of every policy, named or not."""

# The one place where precedence is decided, strongest first. Verdicts have the names of their exit codes.
PRECEDENCE = (ExitCode.USAGE, ExitCode.ERROR, ExitCode.FAIL, ExitCode.INCONCLUSIVE, ExitCode.PASS)


def strongest(codes: Iterable[ExitCode]) -> ExitCode:
    """The exit code that wins; ERROR where there is none, for nothing judged is nothing passed."""
    return min(codes, key=PRECEDENCE.index, default=ExitCode.ERROR)


def exit_code(verdicts: Iterable[RuleVerdict]) -> ExitCode:
    """What a command that judged these verdicts returns."""
    return strongest(ExitCode[verdict.verdict.name] for verdict in verdicts)


def overall(verdicts: Iterable[RuleVerdict]) -> Verdict:
    """One verdict over many; ERROR over none."""
    return Verdict[exit_code(verdicts).name]


def exit_code_without_policy(evidence: Evidence) -> ExitCode:
    """What a run that nothing judges returns: ERROR if a control, attack or audit failed, FAIL for a refuted claim."""
    attacks = [attack for candidate in evidence.candidates for attack in candidate.attacks]
    broken = control_fault(evidence) is not None or any(attack.status == "error" for attack in attacks)
    if broken:
        return ExitCode.ERROR
    about_claims = contradictions(evidence.candidates)
    return exit_code(about_claims) if about_claims else ExitCode.PASS


def contradictions(candidates: Iterable[Candidate]) -> tuple[RuleVerdict, ...]:
    """A FAIL for every audit that proved more than its candidate claims, an ERROR for every audit that failed."""
    chosen = tuple(candidates)
    refuted = tuple(
        RuleVerdict(
            candidate=candidate.id,
            rule=CONTRADICTED,
            metric=f"audit/{audit.id}",
            verdict=Verdict.FAIL,
            attack=None,
            estimate=None,
            limit=audit.claimed,
            reason=f"claim contradicted: epsilon is at least {audit.epsilon.value:.4g} with confidence "
            f"{100 * audit.epsilon.level:g} % ({audit.right} of {audit.guesses} guesses about canaries were right), "
            f"the claim is {audit.claimed:.4g}; the claim or what was meant to implement it is wrong",
        )
        for candidate in chosen
        for audit in candidate.audits
        if audit.contradicts
    )
    return (*refuted, *(_unaudited(c.id, gap.reason) for c in chosen for gap in c.unmeasured if gap.what == AUDIT))


def _unaudited(candidate: str, reason: str) -> RuleVerdict:
    """Nobody knows what an audit that failed would have said of a claim."""
    return RuleVerdict(
        candidate=candidate,
        rule=CONTRADICTED,
        metric=AUDIT,
        verdict=Verdict.ERROR,
        attack=None,
        estimate=None,
        limit=None,
        reason=f"the audit of this candidate failed ({reason})",
    )


def judge(evidence: Evidence, policy: Policy, candidates: Sequence[str] | None) -> tuple[RuleVerdict, ...]:
    """Apply every rule to every candidate: those named, or all when `candidates` is None.

    Returns:
        One verdict a candidate and rule, candidates in the order asked, rules in the order of the policy; then one
        for each claim that an audit contradicts.

    Raises:
        UsageError: a candidate is not in the evidence, none is, or a rule matches no metric.
    """
    for rule in policy.rules:
        if isinstance(rule, MetricRule):
            _require_match(rule, policy, evidence)
    ids = [c.id for c in evidence.candidates] if candidates is None else list(dict.fromkeys(candidates))
    if not ids:
        raise UsageError("no candidate to judge: the evidence or the selection is empty")
    chosen = [evidence.candidate(candidate_id) for candidate_id in ids]
    fault = control_fault(evidence)
    judged = [_judge_one(rule, c, evidence.primary) for c in chosen for rule in policy.rules]
    return (*(_trusted(verdict, fault) for verdict in judged), *contradictions(chosen))


def _judge_one(rule: Rule, candidate: Candidate, primary: str | None) -> RuleVerdict:
    return _judge_claim(rule, candidate) if isinstance(rule, ClaimRule) else _judge_metric(rule, candidate, primary)


def _trusted(verdict: RuleVerdict, fault: str | None) -> RuleVerdict:
    """The verdict, or ERROR where a control says that nothing may be trusted."""
    if fault is None:
        return verdict
    return verdict.model_copy(update={"verdict": Verdict.ERROR, "attack": None, "estimate": None, "reason": fault})


def control_fault(evidence: Evidence) -> str | None:
    """Why the instrument cannot be trusted, or None. An instrument that was not checked is not trusted."""
    if not evidence.controls:
        return "no control was run, so nothing shows that the attacks can tell a leak from chance"
    broken = [f"{c.id} {c.status} ({c.reason})" for c in evidence.controls if c.status != "passed"]
    return f"no result of this run counts, its controls say: {'; '.join(broken)}" if broken else None


def _judge_claim(rule: ClaimRule, candidate: Candidate) -> RuleVerdict:
    claim = candidate.claim
    verdict = Verdict.FAIL
    if claim is None:
        reason = "no formal claim"
    else:
        stated = f"epsilon {claim.epsilon:.4g} at delta {claim.delta:.4g} for one {claim.unit}"
        bounds = (("epsilon", claim.epsilon, rule.max_epsilon), ("delta", claim.delta, rule.max_delta))
        # `not <=` rather than `>`: a NaN is over every limit.
        broken = [f"{name} is over {limit:.4g}" for name, value, limit in bounds if not _within(value, limit)]
        reason = f"{stated}: {' and '.join(broken) or 'within the limits'}"
        verdict = Verdict.FAIL if broken else Verdict.PASS
    return RuleVerdict(
        candidate=candidate.id,
        rule=rule.id,
        metric="claim",
        verdict=verdict,
        attack=None,
        estimate=None,
        limit=rule.max_epsilon,
        reason=reason,
    )


def _within(value: float, limit: float | None) -> bool:
    return limit is None or value <= limit


def _judge_metric(rule: MetricRule, candidate: Candidate, primary: str | None) -> RuleVerdict:
    """Compare what was measured; then let failed and missing attacks speak."""
    measured = measured_by(rule, candidate)
    covered = covered_by(rule, candidate)
    failed = [attack for attack in covered if attack.status == "error"]
    decided = _compare(rule, candidate.id, measured, primary) if measured else _nothing(rule, candidate.id, covered)
    if failed and measured:
        reason = f"{_state(failed[0])}; the others alone: {decided.verdict.value}, {decided.reason}"
        update = {"verdict": Verdict.ERROR, "attack": failed[0].id, "metric": rule.metric, "estimate": None}
        return decided.model_copy(update={**update, "reason": reason})
    silent = [a for a in covered if a.status != "error" and a.id not in {m.attack for m in measured}]
    if silent and measured:
        gaps = "; ".join(_state(attack) for attack in silent)
        open_end = decided.verdict is Verdict.PASS and any(attack.status == "not_run" for attack in silent)
        verdict = Verdict.INCONCLUSIVE if open_end else decided.verdict  # the missing attack might be the strongest
        reason = f"{decided.reason}; judged without: {gaps}"
        return decided.model_copy(update={"verdict": verdict, "reason": reason})
    return decided


def _compare(rule: MetricRule, candidate: str, measured: Sequence[Measured], primary: str | None) -> RuleVerdict:
    """The verdict of the interval ends. For a `min` rule everything is mirrored at zero."""
    sign = 1.0 if rule.max is not None else -1.0

    def near(entry: Measured) -> float:
        return min(sign * entry.estimate.low, sign * entry.estimate.high)

    def far(entry: Measured) -> float:
        return max(sign * entry.estimate.low, sign * entry.estimate.high)

    single = [entry for entry in measured if not entry.chosen]
    proving = _proving(measured, single, primary)
    feared, alone = max(single, key=far), max(single, key=near)
    if near(proved := max(proving, key=near)) > sign * rule.limit:
        verdict, decisive, note = Verdict.FAIL, proved, _uncorrected(proving, single, primary)
    elif near(alone) > sign * rule.limit:
        verdict, decisive, note = Verdict.INCONCLUSIVE, alone, _no_proof(proving, single)
    elif far(feared) <= sign * rule.limit:
        verdict, decisive, note = Verdict.PASS, feared, ""
    else:
        verdict, decisive, note = Verdict.INCONCLUSIVE, feared, f"; {_needed(feared.estimate, rule.limit)}"
    return RuleVerdict(
        candidate=candidate,
        rule=rule.id,
        metric=decisive.metric,
        verdict=verdict,
        attack=decisive.attack,
        estimate=decisive.estimate,
        limit=rule.limit,
        reason=_reason(rule, decisive, single) + note,
    )


def _proving(measured: Sequence[Measured], single: Sequence[Measured], primary: str | None) -> Sequence[Measured]:
    """What may prove a violation: the only one, or those that answer for the choice, or any where there are none."""
    if len(single) == 1:
        return single
    return [entry for entry in measured if _answers(entry, primary)] or single


def _answers(entry: Measured, primary: str | None) -> bool:
    """Whether its interval answers for having been chosen: named before the run, or corrected."""
    return entry.chosen or (primary is not None and entry.attack == primary)


def _uncorrected(proving: Sequence[Measured], single: Sequence[Measured], primary: str | None) -> str:
    """What a FAIL does not answer for."""
    rates = {entry.metric.rpartition("/")[2] for entry in proving}
    if len(single) > 1 and not all(_answers(entry, primary) for entry in proving):
        return ", not corrected for choosing"
    return f", not corrected for choosing among {len(rates)} metrics" if len(rates) > 1 else ""


def _no_proof(proving: Sequence[Measured], single: Sequence[Measured]) -> str:
    text = f", which is no proof: one of {len(single)}, not named before the run"
    for entry in proving:
        if entry.chosen:
            ends = f"{entry.estimate.low:.4g} to {entry.estimate.high:.4g}"
            return f"{text}; the interval that answers for the choice is {ends}"
    return text


def _reason(rule: MetricRule, decisive: Measured, measured: Sequence[Measured]) -> str:
    """The comparison in words: which interval, which end, which of how many."""
    estimate, is_max = decisive.estimate, rule.max is not None
    ends = f"{estimate.low:.4g} to {estimate.high:.4g}"
    where = _where(estimate, rule.limit, is_max)
    reason = f"{decisive.metric}: {100 * estimate.level:.4g} % interval {ends}, {where} the limit {rule.limit:.4g}"
    if len(measured) > 1:
        kind = "attacks" if len({entry.attack for entry in measured}) == len(measured) else "metrics"
        reason += f"; {_place(decisive, is_max)} of {len(measured)} {kind}"
    return reason


def _where(estimate: Estimate, limit: float, is_max: bool) -> str:
    """Which end of the interval lies on which side of the limit."""
    if is_max and estimate.low > limit:
        return "lower end over"
    if not is_max and estimate.high < limit:
        return "upper end under"
    if is_max and estimate.high <= limit:
        return "upper end at or under"
    return "lower end at or over" if not is_max and estimate.low >= limit else "which holds"


def _place(decisive: Measured, is_max: bool) -> str:
    if decisive.chosen:
        return f"{decisive.attack}, chosen as the strongest"
    return "largest" if is_max else "smallest"


def _needed(estimate: Estimate, limit: float) -> str:
    """How much more would decide an open comparison."""
    enough = records_needed_scaled(estimate, limit)
    if enough is None:
        return "the estimate is too near the limit for any number of records to decide"
    more = "records, and as many times the models," if "models" in estimate.over else estimate.over
    return f"about {enough:,} {more} instead of {estimate.n:,} would decide, if the estimate stays"


def _nothing(rule: MetricRule, candidate: str, covered: Sequence[AttackResult]) -> RuleVerdict:
    """ERROR: nothing to compare. A candidate without the metric has not passed."""
    blamed = [a for a in covered if a.status == "error"] or list(covered)
    states = "; ".join(_state(attack) for attack in blamed)
    return RuleVerdict(
        candidate=candidate,
        rule=rule.id,
        metric=rule.metric,
        verdict=Verdict.ERROR,
        attack=blamed[0].id if blamed else None,
        estimate=None,
        limit=rule.limit,
        reason=f"this candidate has no {rule.metric}" + (f": {states}" if states else ""),
    )


def _state(attack: AttackResult) -> str:
    if attack.status == "ok":
        return f"{attack.id} does not give this metric"
    return f"{attack.id} {'failed' if attack.status == 'error' else 'was not run'} ({attack.reason})"


def _require_match(rule: MetricRule, policy: Policy, evidence: Evidence) -> None:
    """Refuse a rule that can judge nothing, unless every attack it covers failed or could not run.

    In that case the metric's name cannot be checked, and the rule ends in ERROR for the attacks' sake.
    """
    if any(measured_by(rule, candidate) for candidate in evidence.candidates):
        return
    covered = [attack for candidate in evidence.candidates for attack in covered_by(rule, candidate)]
    if covered and all(attack.status != "ok" for attack in covered):
        return
    names = sorted({name for candidate in evidence.candidates for name, _ in candidate.metrics()})
    nearest = difflib.get_close_matches(rule.metric, names, n=3, cutoff=0.0)
    hint = f"nearest are {', '.join(nearest)}" if nearest else "which has none"
    raise UsageError(
        f"{policy.source}: rule {rule.id!r}: metric={rule.metric!r} matches no metric of the evidence; {hint}"
    )
