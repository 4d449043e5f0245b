"""What canaries said about epsilon, in plain words."""

from __future__ import annotations

from .evidence import Audit

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
