"""Groups of records: how an attack does on each class and on each value of a sensitive column.

All groups are judged at the same threshold, which each target's whole population of non-members sets. A group with a
threshold of its own would hide that its members are found more easily, or its outsiders accused more often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from .checks import require
from .errors import NotApplicable
from .evidence import Group
from .metrics import LEAST_FALSE_POSITIVES, auc_metric, member_records, nonmember_records
from .stats import Resampling, crossed_mean
from .types import Bools, Dataset, Estimate, Float64, Ints, ScoreTable
from .users import users_of
from .vulnerability import flags

SMALL = 50
"""Distinct members or outsiders below which a group is not judged.

With 50 records none flagged still allows 7 % (Clopper-Pearson, 95 %), and the AUC of one model has a standard error
of 0.08: such rows differ from each other by chance alone.
"""

LEAST_SHOWN = 10
"""Distinct members or outsiders below which a group has no metrics: they would be results about single people."""

MOST_VALUES = 50
"""Values a column may have; the smallest are put together as `OTHER`."""

OTHER = "other"


def group_columns(dataset: Dataset, pool: Ints) -> dict[str, NDArray[np.str_]]:
    """The columns to group by: `class`, then those of `dataset.sensitive`; each (n,), aligned with `pool`.

    Where the target is a number, there is no `class`: a hundred values are no groups.
    Where the data tell users apart, each is (users,), and only columns stand there in which no user has two values;
    `varying_columns` says which are left out.

    Raises:
        UsageError: a sensitive column is called `class` or has another length than the data set.
    """
    columns, users = _of_records(dataset, pool), users_of(dataset, pool)
    if users is None:
        return columns
    of_first = {name: _of_first(values, users) for name, values in columns.items()}
    return {name: found for name, found in of_first.items() if np.array_equal(found[users], columns[name])}


def varying_columns(dataset: Dataset, pool: Ints) -> dict[str, str]:
    """Columns that `group_columns` leaves out because users have several values of them, each with that reason.

    Raises:
        UsageError: as `group_columns`.
    """
    columns, users = _of_records(dataset, pool), users_of(dataset, pool)
    if users is None:
        return {}
    found = {}
    for name, values in columns.items():
        several = len(np.unique(users[values != _of_first(values, users)[users]]))
        if several:
            found[name] = f"{several:,} of {users.max() + 1:,} users have several values of it; results are about users"
    return found


def _of_records(dataset: Dataset, pool: Ints) -> dict[str, NDArray[np.str_]]:
    """Every column to group by, each (n,)."""
    names = np.array(dataset.class_names or range(dataset.n_classes)).astype(np.str_)
    columns = {} if dataset.grid is not None else {"class": names[dataset.y[pool]]}
    for name, values in dataset.sensitive.items():
        about = f"{dataset.name}: sensitive column {name}"
        require(name != "class", about, name, "another name: class is always reported")
        found = np.asarray(values, dtype=np.str_)
        require(found.shape == (len(dataset),), f"{about}: shape", found.shape, f"({len(dataset)},)")
        columns[name] = found[pool]
    return columns


def _of_first(values: NDArray[np.str_], users: Ints) -> NDArray[np.str_]:
    """The value of each user's first record: (users,)."""
    return np.asarray(values[np.unique(users, return_index=True)[1]])


def groups(
    table: ScoreTable, columns: Mapping[str, NDArray[np.str_]], fprs: Sequence[float], resampling: Resampling
) -> tuple[Group, ...]:
    """An attack on the records of each group.

    Metrics of a group: `auc`, its members against its outsiders; and for each F of `fprs` that the whole table can
    resolve (`metrics.LEAST_FALSE_POSITIVES` of its non-members, one of each target's) `tpr_at_fpr_F` and
    `realised_fpr_at_fpr_F`: the share of the group's members and of its outsiders that are flagged at each target's
    threshold for all its non-members (`vulnerability.flags`: an outsider is judged by the other outsiders, so chance
    makes both rates equal). Targets for which the group has no such records are left out of the mean.

    Intervals: crossed bootstrap over model pairs and the group's records. The thresholds stay as they are; their
    noise is in the differences between models. Each interval stands for one group. Of many groups some stand out by
    chance.

    Args:
        table: scores of one attack.
        columns: strings (n,) by name of the column, aligned with the audit records.
        fprs: between 0 and 1.
        resampling: level, repetitions and seed.

    Returns:
        By column, then by value, numbers in their order and `OTHER` last. `small` groups have fewer than `SMALL`
        distinct members or outsiders; those with fewer than `LEAST_SHOWN` have no metrics.
    """
    flagged = {fpr: flags(table, fpr) for fpr in fprs if _resolved(table, fpr)}
    found = []
    for column, values in columns.items():
        merged = _merged(values)
        for value in sorted(set(merged.tolist()), key=lambda v: (v == OTHER, v.zfill(9) if v.isdigit() else v)):
            here = merged == value
            part = table.part(here)
            members, outsiders = member_records(part), nonmember_records(part)
            fewest = min(members, outsiders)
            rates = {fpr: where[:, here] for fpr, where in flagged.items()}
            metrics = _metrics(part, rates, resampling) if fewest >= LEAST_SHOWN else {}
            small = fewest < SMALL
            found.append(
                Group(column=column, value=value, members=members, outsiders=outsiders, small=small, metrics=metrics)
            )
    return tuple(found)


def _resolved(table: ScoreTable, fpr: float) -> bool:
    """As in `metrics.membership_metrics`."""
    fewest = int((table.scored & ~table.member).sum(axis=1).min())
    return fpr * nonmember_records(table) >= LEAST_FALSE_POSITIVES and fpr * fewest >= 1


def _merged(values: NDArray[np.str_]) -> NDArray[np.str_]:
    """`values` with the rarest as `OTHER` where there are more than `MOST_VALUES`."""
    names, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(names) <= MOST_VALUES:
        return values
    names = names.astype(np.promote_types(names.dtype, f"<U{len(OTHER)}"))
    names[np.argsort(-counts, kind="stable")[MOST_VALUES - 1 :]] = OTHER
    return np.asarray(names[place])


def _metrics(part: ScoreTable, flagged: Mapping[float, Bools], resampling: Resampling) -> dict[str, Estimate]:
    """Metrics of the records in `part`; `flagged` bool (t, n) by rate."""
    found = {}
    with suppress(NotApplicable):  # no target has both members and outsiders in this group
        found["auc"] = auc_metric(part, resampling)
    for fpr, where in flagged.items():
        found[f"tpr_at_fpr_{fpr:g}"] = _rate(where, part.scored & part.member, part.targets, resampling)
        found[f"realised_fpr_at_fpr_{fpr:g}"] = _rate(where, part.scored & ~part.member, part.targets, resampling)
    return found


def _rate(flagged: Bools, counted: Bools, targets: Ints, resampling: Resampling) -> Estimate:
    """Share of the `counted` (t, n) records that are flagged, over the targets that have some."""
    some = counted.any(axis=1)
    values: Float64 = flagged[some].astype(np.float64)
    found = crossed_mean(values, counted[some], targets[some], resampling)
    method = f"threshold of each target for all its non-members; {found.method}"
    return Estimate(found.value, found.low, found.high, found.level, method, found.n, found.over)
