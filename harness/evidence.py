"""evidence.json: the one record of a run. Gate, report, JUnit and MLflow are functions of it and of nothing else.

The JSON Schema published beside this file (`evidence.schema.json`) is generated from these classes;
`python -m privassay.harness.evidence` writes it, a test compares the two. NaN and infinity are refused.

Metrics are addressed as `FAMILY/ATTACK/METRIC`, e.g. `mia/lira/tpr_at_fpr_0.01`, `inversion/art_miface/lift`, and
`utility/heldout_accuracy`: the same names in policies and in MLflow.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .errors import InfrastructureError, UsageError
from .types import STRONGEST, Answers, AuditedEpsilon, Estimate, Family, Guarantee, PrivacyClaim, ThreatModel, Verdict

SCHEMA_VERSION: Literal["1"] = "1"
SCHEMA_FILE = Path(__file__).with_name("evidence.schema.json")
AUDIT, GROUPS, SINGLE = "audit", "groups", "single records"
"""What `Unmeasured` calls results of a candidate that have no name of a metric."""
METRIC_PREFIX: dict[Family, str] = {"membership": "mia", "inversion": "inversion", "attribute": "attribute"}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AttackResult(_Record):
    """One attack on one candidate. `metrics` is empty unless `status` is ok; `reason` is empty if it is."""

    id: str = Field(pattern=r"^[^/]+$")
    component: str
    family: Family
    implementation: str
    threat_model: ThreatModel
    status: Literal["ok", "not_run", "error"]
    reason: str
    metrics: dict[str, Estimate]

    def metric_name(self, metric: str) -> str:
        """Full name of one of its metrics."""
        return f"{METRIC_PREFIX[self.family]}/{self.id}/{metric}"


class Strongest(_Record):
    """The strongest of several membership attacks by one metric, free of the optimism of having chosen it.

    By default `attack` is that of `of` whose interval at level 1 - alpha / (attacks) has the largest lower end, and
    `estimate` has that interval (Bonferroni). With `metrics.strongest: split` it was chosen on one half of the records
    and measured on the other half. `estimate.method` says which.
    """

    attack: str
    of: tuple[str, ...]
    estimate: Estimate


class Comparison(_Record):
    """This candidate less `baseline`, another candidate, by one metric on the same records and targets."""

    baseline: str
    metric: str
    difference: Estimate


class Group(_Record):
    """One attack on the records of one group. `small`: too few for a judgement; shown, never compared.

    `attack` is null in evidence that was written before it was named there: the primary attack.
    """

    column: str
    value: str
    attack: str | None = None
    members: int
    outsiders: int
    small: bool
    metrics: dict[str, Estimate]


class Vulnerability(_Record):
    """How often single records are flagged by an attack, over the target models that trained on them.

    Attributes:
        attack: the attack.
        fpr: false positive rate of each target's threshold.
        models: target models that trained on each record.
        shares: share of the records that are flagged so often, by name.
        stability: rank correlation of the records' mean places between two halves of the models; null with too few.
    """

    attack: str
    fpr: float
    models: int
    shares: dict[str, Estimate]
    stability: Estimate | None


class Unmeasured(_Record):
    """What has no number although the run was to give one, and why.

    `what`: `groups`, `groups by COLUMN`, `single records`, `tpr_at_fpr_F` or `audit`.
    """

    what: str
    reason: str


class Audit(_Record):
    """What canaries said about epsilon. `claimed` is null where nothing is claimed.

    Attributes:
        id: the method: `one_run`, `one_run_fdp` or `multi_run`.
        canaries: how many records it looks at in each training run, each put in by its own fair coin.
        kind: what they were.
        models: training runs that were looked at.
        guesses: guesses made over all of them, a number fixed before.
        right: how many were right.
        epsilon: what follows.
        claimed: epsilon that is claimed at the same delta, for the claim's own neighbours: the bound is about records
            that are added or removed.
        ceiling: the largest epsilon that so many canaries and guesses could prove.
        contradicts: whether a lower bound lies above a claim for the same neighbours.
        note: why no bound contradicts the claim: it is for other neighbours. Empty where one could.
    """

    id: str
    canaries: int
    kind: str
    models: int
    guesses: int
    right: int
    epsilon: AuditedEpsilon
    claimed: float | None
    ceiling: float
    contradicts: bool
    note: str = ""


class Origin(_Record):
    """Where a released model came from, one that somebody else trained, and how it was asked.

    Attributes:
        component: the door: `predictions`, `python`, `mlflow`, `endpoint`, `file` or a third party's.
        source: a file's name, an address without credentials, a registry's name.
        sha256: digest of what its answers depend on; empty where that cannot be known, as with an endpoint.
        answers: `probabilities`, or `labels` only.
        references: where its reference models come from, in words.
        queries: records that this run asked it about.
        kept_answers: answers that an earlier run had kept in the store and that were not asked for again.
        notes: what a reader must know, in words.
    """

    component: str
    source: str
    sha256: str
    answers: Answers
    references: str
    queries: int
    kept_answers: int
    notes: tuple[str, ...]


class Candidate(_Record):
    """One model behind one defence. `claim` is null where nothing formal is claimed, never infinity.

    `strongest` goes by metric; its full names are `mia/strongest/METRIC`. `origin` is null where this run trained it.
    """

    id: str
    model: str
    defense: str
    guarantee: Guarantee
    claim: PrivacyClaim | None
    utility: dict[str, Estimate]
    attacks: tuple[AttackResult, ...]
    strongest: dict[str, Strongest] = {}
    comparisons: tuple[Comparison, ...] = ()
    groups: tuple[Group, ...] = ()
    vulnerability: Vulnerability | None = None
    audits: tuple[Audit, ...] = ()
    unmeasured: tuple[Unmeasured, ...] = ()
    origin: Origin | None = None

    def metrics(self) -> Iterator[tuple[str, Estimate]]:
        """Every estimate with its full name."""
        for name, estimate in self.utility.items():
            yield f"utility/{name}", estimate
        for attack in self.attacks:
            for name, estimate in attack.metrics.items():
                yield attack.metric_name(name), estimate
        for name, found in self.strongest.items():
            yield f"{METRIC_PREFIX['membership']}/{STRONGEST}/{name}", found.estimate


class Control(_Record):
    """A check of the instrument itself. A control that did not pass makes every verdict ERROR."""

    id: str
    expectation: str
    status: Literal["passed", "failed", "error"]
    reason: str
    metrics: dict[str, Estimate]


class RuleVerdict(_Record):
    """One policy rule applied to one candidate. `attack` is the one that decided, where attacks are compared."""

    candidate: str
    rule: str
    metric: str
    verdict: Verdict
    attack: str | None
    estimate: Estimate | None
    limit: float | None
    reason: str


class Artifact(_Record):
    """A file beside evidence.json. Restricted files hold per-record results: personal data themselves."""

    path: str
    sha256: str
    restricted: bool


class Duplicates(_Record):
    """Records that occur more than once; counts of records.

    Attributes:
        repeated: records with a twin anywhere in the data set.
        across: audit records whose twin is on the other side of the split, for the model with the most of them: a right
            answer about the one is a wrong one about the other.
    """

    repeated: int
    across: int


class TrustedFileRecord(_Record):
    """A file that can run code and was read all the same, because `--trust` was given."""

    path: str
    sha256: str


class DataRecord(_Record):
    """The data set and how it was split; counts of records. `users` is null where records stand for themselves.

    `grid` is the smallest and largest of the numbers that classes stand for, null where classes are classes. `left_out`
    says what of the user's file are no records, and why; empty where all of it are.
    """

    name: str
    sha256: str
    licence: str
    public: bool
    records: int
    shape: tuple[int, ...]
    classes: int
    pool: int
    auxiliary: int
    split_sha256: str
    users: int | None = None
    grid: tuple[float, float] | None = None
    duplicates: Duplicates | None = None
    left_out: str = ""


class Provenance(_Record):
    """Who could repeat this run, with what."""

    code: dict[str, str | bool | None]
    packages: dict[str, str]
    machine: dict[str, str | int | None]
    seeds: dict[str, int]
    data: DataRecord
    trusted: tuple[TrustedFileRecord, ...] = ()


class SuiteRecord(_Record):
    """The suite that chose attacks of the run, by the number of reference models, and why these."""

    name: str
    reference_models: int
    attacks: tuple[str, ...]
    reason: str


class Evidence(_Record):
    """One evaluation. `experiment` is the configuration as resolved, defaults included.

    `primary` is the membership attack that was named as the result before the run, null where none was; `suite` is null
    where the experiment named every attack itself.
    """

    schema_version: Literal["1"]
    run_id: str
    created: str
    experiment: dict[str, Any]
    provenance: Provenance
    candidates: tuple[Candidate, ...]
    controls: tuple[Control, ...]
    primary: str | None = None
    suite: SuiteRecord | None = None
    policy_sha256: str | None
    verdicts: tuple[RuleVerdict, ...]
    artifacts: tuple[Artifact, ...]

    @field_validator("candidates")
    @classmethod
    def _distinct(cls, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        if len({candidate.id for candidate in candidates}) < len(candidates):
            raise ValueError("two candidates have the same id")
        return candidates

    def candidate(self, candidate_id: str) -> Candidate:
        """Return the candidate with this id.

        Raises:
            UsageError: there is none.
        """
        for candidate in self.candidates:
            if candidate.id == candidate_id:
                return candidate
        known = ", ".join(c.id for c in self.candidates)
        raise UsageError(f"candidate {candidate_id!r}: not in the evidence, which has {known}")


def evidence_path(path: Path) -> Path:
    """`DIR` or `DIR/evidence.json`, as the commands accept it, to the file."""
    return path / "evidence.json" if path.is_dir() else path


def read(path: Path) -> Evidence:
    """Read and validate evidence.

    Raises:
        UsageError: the file cannot be read or does not follow the schema.
    """
    try:
        return Evidence.model_validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UsageError(f"{path}: not evidence of schema {SCHEMA_VERSION}: {where}: {first['msg']}") from error


def write(evidence: Evidence, path: Path) -> None:
    """Write evidence as JSON, all or nothing."""
    write_atomically(path, evidence.model_dump_json(indent=1).encode() + b"\n")


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside `path`, flush to disk, rename: a reader sees the old file or the new one.

    Raises:
        InfrastructureError: the disk refused.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise InfrastructureError(f"{path}: cannot be written ({error.strerror})") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def json_schema() -> str:
    """The JSON Schema of evidence.json, as published."""
    schema = Evidence.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(json_schema())
