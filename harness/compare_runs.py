"""This release against the approved one: two runs compared on the same records, from what lies beside their evidence.

Needs the restricted score files of both: single numbers of two reports do not say how much of a difference is chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .comparison import paired_differences
from .config import parameters
from .errors import NotApplicable, UsageError
from .evidence import METRIC_PREFIX, Candidate, Evidence, evidence_path, file_sha256, read
from .stats import Resampling
from .suite import suite_for
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

    def attacks(self) -> dict[str, tuple[str, dict[str, object]]]:
        """Component and parameters of every membership attack that gave a result, by its name.

        Parameters are those of the experiment's section, else of the suite's. What is not set there is not in it.
        """
        suite = self.evidence.suite
        chosen = {} if suite is None else suite_for(suite.reference_models).attacks
        sections = {**chosen, **self.evidence.experiment["attacks"]}
        return {
            ran.id: (ran.component, parameters(sections.get(ran.id, {})))
            for ran in self.candidate.attacks
            if ran.family == "membership" and ran.status == "ok"
        }

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


@dataclass(frozen=True, eq=False)
class Compared:
    """What two runs differ in.

    Attributes:
        differences: new - approved, by full metric name; those of the new run's primary attack first.
        left_out: why a membership attack of either run is not among them, by its name.
    """

    differences: dict[str, Estimate]
    left_out: dict[str, str]


def compare(new: Side, approved: Side) -> Compared:
    """Differences of every membership attack that both runs have.

    Raises:
        UsageError: the runs are not about the same records and memberships, have no attack in common, or an attack has
            another component or other parameters in one of them.
    """
    data, split = ("sha256", "split_sha256")
    for digest in (data, split):
        if getattr(new.evidence.provenance.data, digest) != getattr(approved.evidence.provenance.data, digest):
            what = "data" if digest == data else "split (pool.records, pool.models or seed)"
            raise UsageError(f"{new.folder} and {approved.folder}: another {what}; only the same records can be paired")
    metrics = new.evidence.experiment["metrics"]
    resampling = Resampling(metrics["level"], metrics["resamples"], int(new.evidence.experiment["seed"]))
    found: dict[str, Estimate] = {}
    left_out = dict.fromkeys(_unshared(new, approved), "gave a result in one run only")
    for attack in sorted(_shared(new, approved), key=lambda name: name != new.evidence.primary):
        try:
            differences = paired_differences(
                new.table(attack), approved.table(attack), tuple(metrics["fprs"]), resampling
            )
        except NotApplicable as reason:  # the attack was told, or drew, other records in the two runs
            left_out[attack] = str(reason)
            continue
        prefix = f"{METRIC_PREFIX['membership']}/{attack}"
        found |= {f"{prefix}/{name}": difference for name, difference in differences.items()}
    if not found:
        raise UsageError(f"{new.folder} and {approved.folder}: no membership attack ran in both on the same targets")
    return Compared(found, left_out)


def _unshared(new: Side, approved: Side) -> list[str]:
    """Names of the attacks that gave a result in one of them only."""
    own, other = new.attacks(), approved.attacks()
    return [*(name for name in own if name not in other), *(name for name in other if name not in own)]


def _shared(new: Side, approved: Side) -> list[str]:
    """Names of the attacks that gave a result in both."""
    own, other = new.attacks(), approved.attacks()
    shared = [name for name in own if name in other]
    for name in shared:
        if own[name] != other[name]:
            raise UsageError(
                f"{new.folder} and {approved.folder}: {name} is {_in_words(*own[name])} in one and "
                f"{_in_words(*other[name])} in the other; give both the same section, or another name"
            )
    return shared


def _in_words(component: str, settings: Mapping[str, object]) -> str:
    listed = ", ".join(f"{name}={value}" for name, value in sorted(settings.items()))
    return f"{component} ({listed or 'no parameters set'})"
