"""What an evaluation becomes in MLflow, as plain values: a function of evidence.json and the files it lists.

Names in MLflow may hold letters, digits, `_ - . : /` and spaces, at most 250 characters; names in evidence
come from the user's experiment file. A name that has to be altered gets a piece of its digest, so that two
names never become one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar

from . import evidence as records
from .errors import UsageError
from .evidence import Artifact, Candidate, Evidence
from .record_words import RELEASED, duplicates_sentence
from .wording import overall, release_candidate

HEADLINES = ("tpr_at_fpr_0.01", "auc", "lift", "heldout_accuracy", "heldout_r2", "epsilon")
"""Last parts of the metric names that the parent run repeats for every candidate."""
DERIVED_FILES = ("evidence.json", "report.html", "junit.xml")
"""Files that cannot be listed in evidence.json because they are made from it."""

_KEY_LIMIT = 240  # MLflow's 250 less the ending "/high"
_VALUE_LIMIT = 6000
_PARAMETER_LIMIT = 100
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class RunPlan:
    """One MLflow run."""

    name: str
    tags: Mapping[str, str]
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class InputPlan:
    """Part of a data set as a run's input. `digest` is short for the display, the full ones are in `tags`."""

    name: str
    digest: str
    context: str
    source: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class TrackingPlan:
    """Everything that is logged for one evaluation.

    Attributes:
        experiment: name of the MLflow experiment.
        evidence_sha256: digest of evidence.json; with the run id, what makes two loggings the same.
        created: time of the evidence, milliseconds since 1970; the time of every run and metric.
        parent: the evaluation.
        children: one run for each candidate.
        inputs: the pool and the auxiliary records.
        uploads: files to copy, with the folder they get among the run's artefacts; nothing restricted.
    """

    experiment: str
    evidence_sha256: str
    created: int
    parent: RunPlan
    children: tuple[RunPlan, ...]
    inputs: tuple[InputPlan, ...]
    uploads: tuple[tuple[Path, str], ...]


def plan(folder: Path) -> TrackingPlan:
    """Read `folder/evidence.json` and say what to log. Touches no server.

    Raises:
        UsageError: there is no valid evidence, or a file does not have the digest that the evidence lists.
    """
    from .report import summary_markdown

    path = folder / "evidence.json"
    evidence = records.read(path)
    sha256 = records.file_sha256(path)
    parent = _parent(evidence, sha256)
    return TrackingPlan(
        experiment=f"privassay/{evidence.experiment.get('name', 'unnamed')}",
        evidence_sha256=sha256,
        created=_milliseconds(evidence.created, path),
        parent=replace(parent, tags={**parent.tags, "mlflow.note.content": summary_markdown(evidence)}),
        children=tuple(_child(evidence, candidate) for candidate in evidence.candidates),
        inputs=_inputs(evidence),
        uploads=tuple(_uploads(folder, evidence.artifacts)),
    )


def clean_name(name: str) -> str:
    """`name` as MLflow accepts it for a metric or a parameter; unchanged where it already is.

    >>> clean_name("mia/lira/tpr_at_fpr_0.01")
    'mia/lira/tpr_at_fpr_0.01'
    >>> clean_name("mia/lira (online)/auc")
    'mia/lira _online_/auc-66decdeb'
    """
    allowed = re.sub(r"[^A-Za-z0-9_\-.: /]", "_", name)
    clean = "/".join(part for part in allowed.split("/") if part not in ("", ".", ".."))
    if clean == name and 0 < len(clean) <= _KEY_LIMIT:
        return name
    return f"{clean[: _KEY_LIMIT - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _parent(evidence: Evidence, sha256: str) -> RunPlan:
    data = evidence.provenance.data
    parameters, left_out = _parameters(evidence.experiment)
    failed = [f"{c.id} {c.status}: {c.reason}" for c in evidence.controls if c.status != "passed"]
    tags: dict[str, object] = {
        "privassay.run_id": evidence.run_id,
        "privassay.evidence_sha256": sha256,
        "privassay.schema_version": evidence.schema_version,
        "privassay.verdict": overall(evidence),
        "privassay.release_candidate": release_candidate(evidence),
        "privassay.controls": "; ".join(failed) or ("passed" if evidence.controls else "none"),
        "privassay.data_sha256": data.sha256,
        "privassay.split_sha256": data.split_sha256,
        "privassay.policy_sha256": evidence.policy_sha256,
        "privassay.users": data.users,
        "privassay.duplicates": duplicates_sentence(data),
        "privassay.rows_left_out": data.left_out,
        "privassay.trusted_files": "; ".join(f"{f.path} {f.sha256}" for f in evidence.provenance.trusted),
        "privassay.git_commit": evidence.provenance.code.get("git_commit"),
        "privassay.git_dirty": evidence.provenance.code.get("git_dirty"),
        "privassay.parameters_left_out": left_out,
        "mlflow.source.name": "privassay",
    }
    metrics = (
        (f"{candidate.id}/{name}", value)
        for candidate in evidence.candidates
        for name, value in _metrics(candidate)
        if name.rpartition("/")[2] in HEADLINES
    )
    return RunPlan(
        name=f"{evidence.experiment.get('name', 'unnamed')} {evidence.run_id[:12]}",
        tags=_tags(tags),
        parameters=parameters,
        metrics=dict(_unique(metrics)),
    )


def _child(evidence: Evidence, candidate: Candidate) -> RunPlan:
    settings: dict[str, object] = {
        "candidate": candidate.id,
        "model": candidate.model,
        "defense": candidate.defense,
        "models": _section(evidence, "models", candidate.model),
        "defenses": _section(evidence, "defenses", candidate.defense),
    }
    if candidate.origin is not None:
        settings["targets"] = _section(evidence, "targets", candidate.model)
    if candidate.claim is not None:
        claim = candidate.claim
        settings["dp"] = {
            name: getattr(claim, name) for name in ("unit", "neighbouring", "sampler", "accountant", "event")
        }
    parameters, left_out = _parameters(settings)
    worst = overall(evidence, candidate.id)
    decided = [rule for rule in evidence.verdicts if rule.candidate == candidate.id and rule.verdict.value == worst]
    tags: dict[str, object] = {
        "privassay.run_id": evidence.run_id,
        "privassay.verdict": worst,
        "privassay.verdict_reason": "; ".join(f"{rule.rule}: {rule.reason}" for rule in decided),
        "dp.guarantee": RELEASED if candidate.origin else candidate.guarantee,
        "dp.library_statement": candidate.claim.statement if candidate.claim else "",
        "privassay.parameters_left_out": left_out,
        "mlflow.source.name": "privassay",
    }
    if candidate.origin is not None:
        tags |= {f"privassay.origin.{name}": _origin_text(value) for name, value in candidate.origin}
    missing = [a for a in candidate.attacks if a.status != "ok"]
    tags["privassay.not_measured"] = "; ".join(f"{gap.what}: {gap.reason}" for gap in candidate.unmeasured)
    tags |= {clean_name(f"privassay.attack.{a.id}"): f"{a.status}: {a.reason}" for a in missing}
    estimates = (
        (f"{name}{end}", value)
        for name, estimate in candidate.metrics()
        for end, value in (("/low", estimate.low), ("/high", estimate.high))
    )
    return RunPlan(
        name=candidate.id,
        tags=_tags(tags),
        parameters=parameters,
        metrics=dict(_unique([*_metrics(candidate), *estimates])),
    )


def _origin_text(value: object) -> str:
    """One field of a released model's origin: text, a count, or notes."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _parameters(settings: Mapping[str, object]) -> tuple[dict[str, str], int | None]:
    """The first hundred settings, and how many more there are, if any."""
    found = dict(_unique(_flat(settings)))
    return dict(islice(found.items(), _PARAMETER_LIMIT)), max(0, len(found) - _PARAMETER_LIMIT) or None


def _tags(tags: Mapping[str, object]) -> dict[str, str]:
    """Tags that have something to say, as text."""
    return {name: _shorten(str(value)) for name, value in tags.items() if value not in (None, "")}


def _metrics(candidate: Candidate) -> Iterator[tuple[str, float]]:
    """Point values; those of the claim only where there is one: "nothing claimed" is not a number."""
    for name, estimate in candidate.metrics():
        yield name, estimate.value
    if candidate.claim is not None:
        yield "dp/epsilon", candidate.claim.epsilon
        yield "dp/delta", candidate.claim.delta


def _section(evidence: Evidence, kind: str, name: str) -> object:
    """Settings of one model or defence from the experiment; empty where it has none."""
    section = evidence.experiment.get(kind)
    return section.get(name, {}) if isinstance(section, dict) else {}


def _flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of nested settings as `a.b.c` and text; lists stay whole, as JSON."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, _shorten(value if isinstance(value, str) else json.dumps(value))


def _unique(pairs: Iterable[tuple[str, _Value]]) -> Iterator[tuple[str, _Value]]:
    """The pairs with names as MLflow accepts them.

    Raises:
        UsageError: a name comes twice; MLflow would show only the last value.
    """
    seen = set()
    for name, value in pairs:
        clean = clean_name(name)
        if clean in seen:
            raise UsageError(f"evidence.json: {name!r} stands for two values; names must differ")
        seen.add(clean)
        yield clean, value


def _shorten(text: str) -> str:
    return text if len(text) <= _VALUE_LIMIT else text[: _VALUE_LIMIT - 1] + "…"


def _inputs(evidence: Evidence) -> tuple[InputPlan, ...]:
    """Pool and auxiliary records. The part is in the name: MLflow merges inputs of equal name and digest."""
    data = evidence.provenance.data
    source = json.dumps({"tags": {"catalogue": data.name, "licence": data.licence}})
    parts = (("pool", "members_and_non_members", data.pool), ("auxiliary", "auxiliary", data.auxiliary))
    return tuple(
        InputPlan(
            name=f"{data.name}/{part}",
            digest=data.sha256[:8],
            context=context,
            source=source,
            tags={
                "privassay.data_sha256": data.sha256,
                "privassay.split_sha256": data.split_sha256,
                "privassay.records": str(count),
            },
        )
        for part, context, count in parts
    )


def _uploads(folder: Path, artifacts: Sequence[Artifact]) -> Iterator[tuple[Path, str]]:
    """Unrestricted files with the folder they get in the run. What any entry calls restricted stays here."""
    root = folder.resolve()
    restricted = {(root / artifact.path).resolve() for artifact in artifacts if artifact.restricted}
    digests: dict[Path, str | None] = {
        (root / name).resolve(): None for name in DERIVED_FILES if (root / name).is_file()
    }
    digests |= {(root / artifact.path).resolve(): artifact.sha256 for artifact in artifacts}
    for path, sha256 in digests.items():
        if path in restricted or path.is_relative_to(root / "restricted"):
            continue
        if not path.is_relative_to(root):
            raise UsageError(f"{folder}/evidence.json: artifacts: {path} lies outside the folder")
        if sha256 and not (path.is_file() and records.file_sha256(path) == sha256):
            raise UsageError(f"{path}: not the file that evidence.json lists (missing, or another SHA-256)")
        yield path, path.parent.relative_to(root).as_posix()


def _milliseconds(created: str, path: Path) -> int:
    try:
        moment = datetime.fromisoformat(created)
    except ValueError as error:
        raise UsageError(f"{path}: created={created!r}: must be an ISO 8601 date and time") from error
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1000)
