"""The run on one page of Markdown: MLflow's run note, cut at 8000 characters, and CI step summaries."""

from __future__ import annotations

from collections.abc import Sequence

from . import metric_words, record_words, wording
from .coverage import coverage
from .evidence import Candidate, Evidence, RuleVerdict
from .front import IS_DP_SGD, against_dp_sgd, front
from .types import Estimate, Verdict

MOST_CHARACTERS = 8000
_FOR_CANDIDATES = 3900
_FOR_FINDINGS = 1500
_FOR_RECORDS = 1200
_LONGEST_NAME, _LONGEST_REASON, _LONGEST_SENTENCE = 60, 240, 480
_COLUMNS = (
    "Candidate", "Verdict", "Held-out accuracy", "Strongest attack", "TPR at 1 % FPR", "AUC", "Lift", "Claim"
)  # fmt: skip
_WORST_FIRST = ("ERROR", "FAIL", "INCONCLUSIVE", "NO POLICY", "PASS")


def summary_markdown(evidence: Evidence) -> str:
    """One page of Markdown, at most 8000 characters: verdict, candidates, rules not met, coverage.

    The release candidate comes first, then candidates and rules worst first; what does not fit is counted in a
    last line. Names from the user's files are shortened and escaped.
    """
    text = "\n".join(
        [
            *_head(evidence),
            "",
            _row_of(*_COLUMNS),
            "|---|---|---:|---|---:|---:|---:|---|",
            *_fitting([_row(evidence, c) for c in _ordered(evidence)], _FOR_CANDIDATES, "candidates"),
            "",
            *_fitting(_findings(evidence), _FOR_FINDINGS, "findings"),
            "",
            *_fitting(_records(evidence), _FOR_RECORDS, "remarks"),
            "",
            *_foot(evidence),
        ]
    )
    if len(text) > MOST_CHARACTERS:
        raise AssertionError(f"summary of {len(text)} characters: the parts' budgets do not add up")
    return text


def _head(evidence: Evidence) -> list[str]:
    passed = sum(control.status == "passed" for control in evidence.controls)
    policy = f"`{evidence.policy_sha256[:16]}`" if evidence.policy_sha256 else "none applied"
    name = _text(str(evidence.experiment.get("name", evidence.run_id)), _LONGEST_NAME)
    return [
        f"# {wording.overall(evidence)}: privacy evaluation {name}",
        "",
        _text(wording.headline(evidence), _LONGEST_SENTENCE),
        "",
        f"Controls: {passed} of {len(evidence.controls)} passed. Policy: {policy}. "
        f"Run: {_text(evidence.run_id, _LONGEST_NAME)}, {_text(evidence.created, _LONGEST_NAME)}.",
    ]


def _ordered(evidence: Evidence) -> list[Candidate]:
    worst_first = sorted(evidence.candidates, key=lambda c: _WORST_FIRST.index(wording.overall(evidence, c.id)))
    return sorted(worst_first, key=lambda c: c.id != wording.release_candidate(evidence))


def _row(evidence: Evidence, candidate: Candidate) -> str:
    found = wording.strongest(candidate)
    metrics = found.attack.metrics if found else {}
    lifts = [a.metrics["lift"] for a in candidate.attacks if "lift" in a.metrics]
    lift = max(lifts, key=lambda estimate: estimate.low, default=None)
    cells = [
        _text(candidate.id, _LONGEST_NAME),
        wording.overall(evidence, candidate.id),
        _cell(*metric_words.heldout(candidate)),
        _text(found.attack.id, _LONGEST_NAME) + wording.remark(evidence, found.attack) if found else "none ran",
        _cell(wording.HEADLINE, metrics.get(wording.HEADLINE)),
        _cell("auc", metrics.get("auc")),
        _cell("lift", lift),
        record_words.claim_words(candidate),
    ]
    return _row_of(*cells)


def _row_of(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(name: str, estimate: Estimate | None) -> str:
    if estimate is None:
        return "none"
    return f"{metric_words.number(name, estimate.value)} {metric_words.interval(name, estimate)}"


def _findings(evidence: Evidence) -> list[str]:
    controls = [
        f"- Control {_text(c.id, _LONGEST_NAME)} {c.status}: {_text(c.reason, _LONGEST_REASON)}"
        for c in evidence.controls
        if c.status != "passed"
    ]
    release = wording.release_candidate(evidence)
    unmet = [v for v in evidence.verdicts if v.verdict is not Verdict.PASS]
    unmet.sort(key=lambda v: (v.candidate != release, _WORST_FIRST.index(v.verdict.value)))
    return controls + [_finding(v) for v in unmet]


def _finding(verdict: RuleVerdict) -> str:
    by = f", by {_text(verdict.attack, _LONGEST_NAME)}" if verdict.attack else ""
    subject, rule = _text(verdict.candidate, _LONGEST_NAME), _text(verdict.rule, _LONGEST_NAME)
    return f"- {verdict.verdict.value} {subject}: {rule}{by}: {_text(verdict.reason, _LONGEST_REASON)}"


def _records(evidence: Evidence) -> list[str]:
    """The front, who is beaten by DP-SGD, and what else the evidence records."""
    found = front(evidence)
    lines = [f"On the front of accuracy and TPR at 1 % FPR: {', '.join(found.best)}."] if found.best else []
    beside = against_dp_sgd(evidence, found)
    for said in dict.fromkeys(beside.values()):
        if said != IS_DP_SGD:
            lines.append(f"Beside DP-SGD, {said}: {', '.join(name for name in beside if beside[name] == said)}.")
    return [f"- {_text(line, _LONGEST_SENTENCE)}" for line in (*lines, *record_words.record_sentences(evidence))]


def _foot(evidence: Evidence) -> list[str]:
    missing = [row.kind.name.lower() for row in coverage(evidence) if row.status != "TESTED"]
    return [
        f"Not tested or without result: {', '.join(missing) or 'nothing on the list of attacks'}.",
        "",
        "Intervals in brackets; the strongest attack is the one with the largest lower bound, which is "
        "optimistic for the attacker. Evidence for the attacks listed only, not legal advice. "
        "Details: report.html.",
    ]


def _fitting(lines: Sequence[str], budget: int, what: str) -> list[str]:
    kept: list[str] = []
    for line in lines:
        if sum(len(k) + 1 for k in kept) + len(line) > budget:
            return [*kept, "", f"… and {len(lines) - len(kept)} more {what} in report.html."]
        kept.append(line)
    return kept


def _text(text: str, longest: int) -> str:
    """`text` on one line, shortened, with the characters that Markdown or HTML would act on escaped."""
    text = " ".join(text.split())
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    for plain, escaped in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        ("|", "\\|"),
        ("`", "\\`"),
        ("*", "\\*"),
        ("[", "\\["),
    ):
        text = text.replace(plain, escaped)
    return text
