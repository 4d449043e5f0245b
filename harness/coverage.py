"""What was tested and what was not, against public catalogues of attacks; limits of the evidence; glossary.

Identifiers: MITRE ATLAS 5.6, NIST AI 100-2 E2025, EDPB Opinion 28/2024 paragraph 55. An identifier says which
attack a row speaks about: a pointer for a human reviewer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .evidence import AttackResult, Candidate, Evidence
from .power import smallest_certifiable
from .types import Family, PrivacyClaim


@dataclass(frozen=True)
class Kind:
    """A kind of attack; `family` is None where this tool has none."""

    name: str
    family: Family | None
    supports: str


KINDS = (
    Kind("Membership inference", "membership", "ATLAS AML.T0024.000; NISTAML.033; EDPB Opinion 28/2024 ¶55 (i)"),
    Kind("Model inversion", "inversion", "ATLAS AML.T0024.001; NISTAML.032; EDPB Opinion 28/2024 ¶55 (iv)"),
    Kind("Attribute inference", "attribute", "EDPB Opinion 28/2024 ¶55 (i)"),
    Kind("Property inference", None, "NISTAML.034"),
    Kind("Model extraction", None, "ATLAS AML.T0024.002; NISTAML.031"),
    Kind("Data reconstruction", None, "NISTAML.032; EDPB Opinion 28/2024 ¶55 (v)"),
)

GLOSSARY = (
    (
        "Member, outsider",
        "A record that the model was trained on; a record of the same kind that it was not.",
    ),
    ("Membership inference", "Telling from a model whether a given record was among its training data."),
    ("Model inversion", "Reconstructing from a model what a typical record of a class looks like."),
    (
        "TPR at 1 % FPR",
        "Share of members that an attack flags when it may wrongly flag 1 % of the outsiders.",
    ),
    (
        "Realised FPR",
        "Share of outsiders flagged when the threshold is set on one half of the records and counted on the "
        "other: what guessing finds at that threshold. It can exceed the nominal rate; ties can keep it under.",
    ),
    ("AUC", "Chance that the attack ranks a member above an outsider; 0.5 is guessing."),
    ("Advantage", "Largest difference of TPR and FPR. An average over records: it hides the worst-off ones."),
    (
        "Lift over baseline",
        "How much more often reconstructions are recognised as their class than the mean image.",
    ),
    ("Interval", "Range that the estimate's error plausibly covers; verdicts compare its ends with limits."),
    ("Prior, posterior", "Chance that a person is a member before, and after, the attack flagged them."),
    (
        "ε, δ",
        "Differential privacy: whatever the attack, membership odds change at most e^ε-fold, but for δ.",
    ),
    ("Reference models", "Models that the attacker trained himself to learn how members are answered."),
    ("Released model", "A model that somebody else trained: nothing is known about its training, nothing is claimed."),
    ("Front", "The candidates that no other one beats in accuracy and leakage, by point estimates."),
)


@dataclass(frozen=True)
class Row:
    """One line of the coverage table; `status` is TESTED, NO RESULT or NOT TESTED."""

    kind: Kind
    status: str
    detail: str


def coverage(evidence: Evidence) -> list[Row]:
    """Every kind of attack, with how far this run tested it."""
    return [_row(kind, evidence) for kind in KINDS]


def _row(kind: Kind, evidence: Evidence) -> Row:
    attacks = [a for c in evidence.candidates for a in c.attacks if a.family == kind.family]
    if not attacks:
        return Row(kind, "NOT TESTED", "no attack of this kind in the run")
    total = len(evidence.candidates)
    counts = [f"{name} ({_ran(attacks, name)} of {total} candidates)" for name in dict.fromkeys(a.id for a in attacks)]
    status = "TESTED" if any(a.status == "ok" for a in attacks) else "NO RESULT"
    return Row(kind, status, ", ".join(counts))


def _reach(evidence: Evidence) -> str:
    """What so many members can show at best; empty where their number is not known."""
    data = evidence.provenance.data
    whom, count = "members", data.pool if not _one_target(evidence) else data.pool // 2  # of one target: half the pool
    if data.users is not None or _released(evidence):
        whom, count = "users" if data.users is not None else "members", _counted(evidence)
    if not count:
        return ""
    level = evidence.experiment.get("metrics", {}).get("level", 0.95)
    return (
        f" With {count:,} {whom} no rate below {100 * smallest_certifiable(count, level):.2g} % can be "
        "shown, even if nobody is flagged: below that a policy limit stays inconclusive."
    )


def _counted(evidence: Evidence) -> int:
    """How many members, or users, the true positive rates are over; 0 where no attack gave one."""
    attacks = [a for c in evidence.candidates for a in c.attacks if a.family == "membership"]
    return max((e.n for a in attacks for name, e in a.metrics.items() if name.startswith("tpr_at_")), default=0)


def _one_target(evidence: Evidence) -> bool:
    section = evidence.experiment.get("pool")
    return isinstance(section, dict) and section.get("targets") == 1


def _released(evidence: Evidence) -> list[Candidate]:
    return [candidate for candidate in evidence.candidates if candidate.origin is not None]


def _ran(attacks: list[AttackResult], name: str) -> int:
    return sum(a.id == name and a.status == "ok" for a in attacks)


def limits(evidence: Evidence) -> list[str]:
    """Assumptions and limits that belong beside the numbers."""
    lines = [
        "Resistance shown here is evidence for the attacks listed only, at the strength they were run; an "
        "attack that was not tried, or a better version of one that was, may do better.",
        "Rates are averages over records. Single records, often unusual ones, can be exposed far more.",
        "The strongest attack is picked on the same records it is measured on, which favours the attacker: "
        "its rate is optimistic for him, and so errs on the side of caution. No limit is called broken by it alone.",
        *_about_models(evidence),
        *_about_data(evidence),
        "A TPR is given at a false-alarm rate only where enough outsiders were there to measure that rate."
        + _reach(evidence),
        "A heuristic defence carries no epsilon. A formal claim holds under its listed assumptions only.",
        *_about_claims(evidence),
        "EDPB Opinion 28/2024 ¶55 also names exfiltration and regurgitation of training data; they concern "
        "generative models and are not tested here.",
        "The catalogue identifiers support a reviewer in placing the results. They are no statement about "
        "any legal or normative requirement. This report is technical evidence and not legal advice.",
    ]
    if not evidence.controls:
        lines.insert(0, "No control of the instrument was run: that the attacks would notice a leak was not shown.")
    return lines


def _about_models(evidence: Evidence) -> Iterator[str]:
    """What one may conclude from: these weights, or the way in which they were trained."""
    released = _released(evidence)
    if len(released) < len(evidence.candidates):
        if _one_target(evidence):
            yield (
                "Each candidate was attacked as one target model. The numbers speak about this one set of weights, not "
                "about this way of training: how far they would move with other halves or other seeds was not measured."
            )
        else:
            yield (
                "Several models were trained the same way on random halves of the records, and each served as a "
                "target. The numbers speak about this way of training, not about one particular set of weights."
            )
    if released:
        yield (
            "Released models were trained elsewhere. The numbers speak about this one set of weights, not about a way "
            "of training. Nothing is known about a defence, and who was a member is what the data say: members and "
            "non-members may differ in more than membership, and a wrong flag makes every attack look weaker."
        )
    if silent := [c.id for c in released if c.origin is not None and c.origin.answers == "labels"]:
        yield (
            f"{', '.join(silent)}: answers with labels only, so attacks that need probabilities did not run. That they "
            "found nothing is not a result."
        )


def _about_data(evidence: Evidence) -> Iterator[str]:
    data = evidence.provenance.data
    if data.users is not None:
        yield (
            "Membership results are about users. A user's score is the mean over the user's records; an attacker who "
            "weighs the records otherwise may do better."
        )
    if data.duplicates is not None and data.duplicates.across:
        yield (
            f"{data.duplicates.across:,} audited records have a twin on the other side of membership. What is rightly "
            "found out about one counts as a false alarm on the other, so attacks look weaker than they are."
        )
    if evidence.provenance.trusted:
        yield (
            "Files that can run code were read because of --trust. What their code did besides giving a model was not "
            "checked, and it ran with the rights of this run."
        )


def _about_claims(evidence: Evidence) -> Iterator[str]:
    """How claims are set beside a game in which one record takes the place of another."""
    claims: list[PrivacyClaim] = [c.claim for c in evidence.candidates if c.claim is not None]
    if any(claim.neighbouring != "replace_one" for claim in claims):
        yield (
            "A formal claim about one record added, removed or zeroed out is not about the game that is measured. The "
            "models compared here train on halves of a fixed size: where a record is out, another one is in. What such "
            "a claim allows an attack is therefore computed for two changes: 2 ε and (1 + e^ε) δ."
        )
    if any(claim.neighbouring == "replace_one" for claim in claims):
        yield (
            "A formal claim about one record that is replaced by another is about the very change between the models "
            "compared here: what it allows an attack is computed with its ε and δ as they are."
        )
    if any(claim.unit == "user" for claim in claims):
        yield "A formal claim for each user covers all records of that user together."
    if evidence.provenance.data.users is not None and any(claim.unit == "record" for claim in claims):
        yield (
            "Results here are about users, some formal claims about single records. Such a claim says less about a "
            "user with several records, so what it allows an attack is not computed."
        )
