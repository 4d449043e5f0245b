"""Membership of users instead of records: for data that tell whose records they are.

A user is a member with all records or with none, so records of one user are no independent trials. An attack's scores
are brought together to one number a user, and everything that follows is about users.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .evidence import AttackResult, Candidate, Comparison, Control, Group, Strongest, Vulnerability
from .types import Bools, Dataset, Estimate, Float32, Float64, Ints, Over, ScoreTable

_OVER: dict[Over, Over] = {"records": "users", "models and records": "models and users"}


def users_of(dataset: Dataset, pool: Ints) -> Ints | None:
    """Number of the user of each audit record, 0 .. users - 1: int64 (n,); None where records stand for themselves."""
    if dataset.units is None:
        return None
    return np.asarray(np.unique(dataset.units[pool], return_inverse=True)[1], dtype=np.int64)


def by_user(table: ScoreTable, users: Ints) -> ScoreTable:
    """Scores of users: the mean over those records of a user that the attack answered for.

    Args:
        table: scores of records; all records of a user are members of a target, or none.
        users: int64 (n,), numbers of the users, 0 .. u - 1.

    Returns:
        Arrays (t, u). A mean, not a sum: how many records a user has says nothing about membership.
    """
    count = int(users.max()) + 1

    def summed(values: Float64) -> Float64:
        return np.stack([np.bincount(users, weights=row, minlength=count) for row in values])

    answered = summed(table.scored.astype(np.float64))
    total = summed(np.where(table.scored, table.scores, 0.0))
    member = summed(table.member.astype(np.float64)) > 0
    return ScoreTable(table.targets, total / np.maximum(answered, 1.0), member, answered > 0)


def of_users(member: Bools, users: Ints) -> Bools:
    """Masks of users, bool (t, u), from masks of records (t, n) in which all records of a user are alike."""
    _, first = np.unique(users, return_index=True)
    return np.asarray(member[:, first])


def mean_of_users(columns: Float32, users: Ints) -> Float32:
    """Mean of each column over the records of each user.

    Args:
        columns: float32 (n, d).
        users: int64 (n,), numbers of the users, 0 .. u - 1, each with a record.

    Returns:
        float32 (u, d). Rounded from float64, so that equal records give equal means whatever their number.
    """
    _, starts, counts = np.unique(np.sort(users), return_index=True, return_counts=True)
    together = columns[np.argsort(users, kind="stable")]
    sums = np.add.reduceat(together, starts, axis=0, dtype=np.float64)
    return np.asarray(sums / counts[:, None], dtype=np.float32)


def control_about_users(control: Control) -> Control:
    """The control with every metric said to be over users."""
    return control.model_copy(update={"metrics": {name: _said(e) for name, e in control.metrics.items()}})


def about_users(candidate: Candidate) -> Candidate:
    """The candidate with every membership result said to be over users."""
    looked = candidate.vulnerability
    return candidate.model_copy(
        update={
            "attacks": tuple(_attack(attack) for attack in candidate.attacks),
            "strongest": {name: _strongest(found) for name, found in candidate.strongest.items()},
            "comparisons": tuple(_comparison(found) for found in candidate.comparisons),
            "groups": tuple(_group(found) for found in candidate.groups),
            "vulnerability": None if looked is None else _vulnerability(looked),
        }
    )


def _attack(attack: AttackResult) -> AttackResult:
    if attack.family != "membership":
        return attack
    return attack.model_copy(update={"metrics": {name: _said(e) for name, e in attack.metrics.items()}})


def _strongest(found: Strongest) -> Strongest:
    return found.model_copy(update={"estimate": _said(found.estimate)})


def _comparison(found: Comparison) -> Comparison:
    if found.metric.startswith("utility/"):
        return found
    return found.model_copy(update={"difference": _said(found.difference)})


def _group(found: Group) -> Group:
    return found.model_copy(update={"metrics": {name: _said(e) for name, e in found.metrics.items()}})


def _vulnerability(found: Vulnerability) -> Vulnerability:
    stability = None if found.stability is None else _said(found.stability)
    shares = {name: _said(estimate) for name, estimate in found.shares.items()}
    return found.model_copy(update={"shares": shares, "stability": stability})


def _said(estimate: Estimate) -> Estimate:
    return replace(
        estimate, over=_OVER.get(estimate.over, estimate.over), method=estimate.method.replace("records", "users")
    )
