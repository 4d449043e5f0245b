"""What else the evidence records, in plain words: protection, claims, released models, users, duplicates, trust."""

from __future__ import annotations

from collections.abc import Iterator

from .evidence import AUDIT, SINGLE, Candidate, DataRecord, Evidence, Origin, Unmeasured
from .metric_words import metric_label
from .types import PrivacyClaim

RELEASED = "released model, trained elsewhere"
TRUSTED = "Read because of --trust, although reading can run code; what that code did was not checked."
_IS_PRIMARY = ", the primary attack"
_TPR = "tpr_at_fpr_"
_KINDS = {"none": "no defence", "heuristic": "heuristic defence", "formal": "formal claim"}
_NEIGHBOURS = {
    "add_or_remove_one": "one {} added or removed",
    "zero_out_one": "one {} zeroed out",
    "replace_one": "one {} replaced by another",
}
_SAMPLERS = {
    "poisson": "Poisson sampling",
    "shuffled": "shuffled batches",
    "fixed_size": "batches of one size, drawn anew for each step",
    "none": "no batches",
}
_ACCOUNTANTS = {
    "pld": "pld accountant",
    "rdp": "rdp accountant",
    "gaussian": "Gaussian accountant",
    "closed_form": "epsilon in closed form, by a theorem",
}


def kind(candidate: Candidate) -> str:
    """What protects a candidate; of a model that was trained elsewhere nothing is known."""
    if candidate.origin is not None:
        return RELEASED
    if candidate.guarantee == "formal" and candidate.claim is None:
        return "formal defence, no claim"
    return _KINDS[candidate.guarantee]


def claim_words(candidate: Candidate) -> str:
    """The formal claim, or that there is none and why."""
    if candidate.origin is not None:
        return f"nothing known or claimed ({RELEASED})"
    if candidate.claim is None:
        return "no formal claim" + (" (heuristic defence)" if candidate.guarantee == "heuristic" else "")
    users = " for each user" if candidate.claim.unit == "user" else ""
    return f"\u03b5\u00a0=\u00a0{candidate.claim.epsilon:.4g}, \u03b4\u00a0=\u00a0{delta_words(candidate.claim)}{users}"


def delta_words(claim: PrivacyClaim) -> str:
    """Delta in digits that no line break tears apart."""
    return f"{claim.delta:.2g}".replace("e-0", "e-").replace("-", "\u2011")


def claim_terms(claim: PrivacyClaim) -> str:
    """What a claim's epsilon is about and how it was computed."""
    whose = " with all of that user's records" if claim.unit == "user" else ""
    neighbours = _NEIGHBOURS[claim.neighbouring].format(claim.unit)
    return f"{neighbours}{whose}; {_SAMPLERS[claim.sampler]}; {_ACCOUNTANTS[claim.accountant]}"


def answers_words(origin: Origin) -> str:
    """What a released model answers with."""
    if origin.answers == "labels":
        return "LABELS ONLY: attacks that need probabilities cannot run"
    return "probabilities"


def digest_words(origin: Origin) -> str:
    """The digest of what a released model's answers depend on, or that there is none."""
    return origin.sha256 or "not known: what answers can change without a trace"


def queries_words(origin: Origin) -> str:
    """What the released model was asked, and what did not have to be asked again."""
    kept = f"; {origin.kept_answers:,} answers were kept from an earlier run" if origin.kept_answers else ""
    return f"{origin.queries:,} records asked about{kept}"


def origin_sentence(candidate: Candidate, origin: Origin) -> str:
    """A released model in one line."""
    digest = f"sha256 {origin.sha256[:16]}" if origin.sha256 else "no digest"
    parts = [
        f"{candidate.id}: {RELEASED}: {origin.component} {origin.source}, {digest}",
        f"answers: {answers_words(origin)}",
        f"references: {origin.references}",
        queries_words(origin),
        *origin.notes,
    ]
    return "; ".join(parts)


def users_sentence(data: DataRecord) -> str:
    """Whom the results are about; empty where records stand for themselves."""
    if data.users is None:
        return ""
    return (
        f"{data.records:,} records of {data.users:,} users. Membership results are about users: all records of a user "
        "are in the training data or none is, and a user's score is the mean over the records."
    )


def duplicates_sentence(data: DataRecord) -> str:
    """Records that occur more than once, and what that does to the results; empty where nobody counted."""
    found = data.duplicates
    if found is None:
        return ""
    if not found.repeated:
        return "No record occurs more than once."
    total = f"{found.repeated:,} of {data.records:,} records occur more than once"
    if not found.across:
        return f"{total}; none of the audited ones has a twin on the other side of membership."
    return (
        f"{total}. {found.across:,} of the audited ones have a twin on the other side of membership: one copy is in "
        "the training data, the other is not. What an attack rightly finds out about the one counts as a false alarm "
        "on the other, so attacks look weaker than they are."
    )


def trusted_sentence(evidence: Evidence) -> str:
    """Files that can run code and were read; empty where none was."""
    files = evidence.provenance.trusted
    if not files:
        return ""
    named = ", ".join(f"{file.path} (sha256 {file.sha256[:16]})" for file in files)
    return f"{TRUSTED} {named}."


def exposed_by(candidate: Candidate, primary: str | None) -> str:
    """By which attack groups and single records of a candidate are, and why by that one; empty where it has neither."""
    named = [group.attack or primary for group in candidate.groups]
    by = candidate.vulnerability.attack if candidate.vulnerability else next(iter(named), None)
    if by is None:
        return ""
    if by == primary:
        return f"{by}{_IS_PRIMARY}"
    why = "no primary attack was named" if primary is None else f"the primary attack, {primary}, gave no result here"
    return f"{by}, an attack that was fixed in advance: {why}"


def unexposed(candidate: Candidate) -> list[Unmeasured]:
    """What is missing among groups and single records."""
    return [gap for gap in candidate.unmeasured if gap.what != AUDIT and not gap.what.startswith(_TPR)]


def unstated_rates(candidate: Candidate) -> list[Unmeasured]:
    """False positive rates of the experiment at which attacks state no TPR."""
    return [gap for gap in candidate.unmeasured if gap.what.startswith(_TPR)]


def failed_audits(candidate: Candidate) -> list[Unmeasured]:
    """Audits that were asked for and failed."""
    return [gap for gap in candidate.unmeasured if gap.what == AUDIT]


def unmeasured_words(gap: Unmeasured) -> str:
    """What has no number, and why."""
    what = metric_label(gap.what) if gap.what.startswith(_TPR) else gap.what
    return f"{what} not measured: {gap.reason}"


def exposure_sentences(evidence: Evidence) -> Iterator[str]:
    """What has no number, and by which attack groups are where that is not the primary one, a line for all alike."""
    said: dict[str, list[str]] = {}
    for candidate in evidence.candidates:
        by = exposed_by(candidate, evidence.primary)
        if by and not by.endswith(_IS_PRIMARY):
            what = "groups and single records" if candidate.vulnerability else "groups"
            said.setdefault(f"{what} by {by}", []).append(candidate.id)
        for gap in candidate.unmeasured:
            if gap.what == SINGLE and candidate.origin is not None:
                continue  # one model is never enough for that: the report says so, and no line of every run
            said.setdefault(unmeasured_words(gap), []).append(candidate.id)
    for words, names in said.items():
        every = len(names) == len(evidence.candidates) > 1
        yield f"{'all candidates' if every else ', '.join(names)}: {words}"


def record_sentences(evidence: Evidence) -> Iterator[str]:
    """Every record that has something to say, one line each: for the terminal and the one-page summary."""
    for candidate in evidence.candidates:
        if candidate.origin is not None:
            yield origin_sentence(candidate, candidate.origin)
    data = evidence.provenance.data
    found = data.duplicates
    yield from filter(None, [users_sentence(data), data.left_out, trusted_sentence(evidence)])
    if found is not None and found.repeated:
        yield duplicates_sentence(data)
    yield from exposure_sentences(evidence)
    for candidate in evidence.candidates:
        if candidate.claim is not None and candidate.claim.statement:
            yield f"{candidate.id}: the library that trained makes a privacy statement of its own: see report.html."
