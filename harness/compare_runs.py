"""This release against the approved one: two runs compared on the same records, from what lies beside their evidence.

Needs the restricted score files of both: single numbers of two reports do not say how much of a difference is chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .comparison import paired_differences
from .errors import NotApplicable, UsageError
from .evidence import METRIC_PREFIX, Candidate, Evidence, evidence_path, file_sha256, read
from .stats import Resampling
from .types import Estimate, ScoreTable


@dataclass(frozen=True, eq=False)
class Side:
    """One run and the candidate of it that is compared."""

    folder: Path
    evidence: Evidence
    candidate: Candidate

    @classmethod
    def of(cls, folder: Path, candidate: str | None) -> Side:
        """Read a run's folder; without a name its only candidate, or the release candidate.

        Raises:
            UsageError: the evidence cannot be read, or it is open which candidate is meant.
        """
        evidence = read(evidence_path(folder))
        name = candidate or evidence.experiment.get("release")
        if name is None and len(evidence.candidates) == 1:
            name = evidence.candidates[0].id
        if name is None:
            known = ", ".join(c.id for c in evidence.candidates)
            raise UsageError(f"{folder}: name one of its candidates ({known})")
        return cls(evidence_path(folder).parent, evidence, evidence.candidate(str(name)))

    def table(self, attack: str) -> ScoreTable:
        """Scores of an attack on the candidate.

        Raises:
            UsageError: the file is not there, or was changed.
        """
        path = f"restricted/scores/{self.candidate.id}/{attack}.npz"
        listed = {artifact.path: artifact.sha256 for artifact in self.evidence.artifacts}
        file = self.folder / path
        if path not in listed or not file.is_file():
            raise UsageError(f"{file}: not there; both runs need their restricted scores to be compared")
        if file_sha256(file) != listed[path]:
            raise UsageError(f"{file}: is not the file that the evidence lists; run the experiment again")
        with np.load(file, allow_pickle=False) as arrays:
            return ScoreTable(arrays["targets"], arrays["scores"], arrays["member"], arrays["scored"])


def compare(new: Side, approved: Side) -> dict[str, Estimate]:
    """Differences new - approved of every membership attack that both have, by full metric name.

    Raises:
        UsageError: the runs are not about the same records and memberships, or have no attack in common.
    """
    data, split = ("sha256", "split_sha256")
    for digest in (data, split):
        if getattr(new.evidence.provenance.data, digest) != getattr(approved.evidence.provenance.data, digest):
            what = "data" if digest == data else "split (pool.records, pool.models or seed)"
            raise UsageError(f"{new.folder} and {approved.folder}: another {what}; only the same records can be paired")
    metrics = new.evidence.experiment["metrics"]
    resampling = Resampling(metrics["level"], metrics["resamples"], int(new.evidence.experiment["seed"]))
    found: dict[str, Estimate] = {}
    for attack in _shared(new.candidate, approved.candidate):
        try:
            differences = paired_differences(
                new.table(attack), approved.table(attack), tuple(metrics["fprs"]), resampling
            )
        except NotApplicable:
            continue  # the attack was told, or drew, other records in the two runs
        prefix = f"{METRIC_PREFIX['membership']}/{attack}"
        found |= {f"{prefix}/{name}": difference for name, difference in differences.items()}
    if not found:
        raise UsageError(f"{new.folder} and {approved.folder}: no membership attack ran in both on the same targets")
    return found


def _shared(new: Candidate, approved: Candidate) -> list[str]:
    ran = {a.id for a in approved.attacks if a.status == "ok"}
    return [a.id for a in new.attacks if a.family == "membership" and a.status == "ok" and a.id in ran]
