"""Checks on records before anything is computed from them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from .errors import UsageError
from .types import Bools, Dataset, Ints, Split

_BLOCK = 4096
_LARGEST_CODE = 2**24
"""Whole numbers up to here are exact in float32."""


@dataclass(frozen=True)
class Duplicates:
    """Records that are equal in every feature and in the label, as counts.

    A non-member with a twin among the members is scored as a member is, so every attack looks weaker than it is on
    records of their own; a twin in the auxiliary data is a record that the attacker's sample holds.

    Attributes:
        records: records of the data set that occur more than once.
        audited: audit records that have a twin among the audit records.
        across: audit records with a twin on the other side of the membership border, in the model with the most.
        auxiliary: auxiliary records that have a twin among the audit records.
    """

    records: int
    audited: int
    across: int
    auxiliary: int


def check_dataset(dataset: Dataset, source: str) -> None:
    """Refuse records that would make every later number meaningless.

    Raises:
        UsageError: no records, values that are not finite or out of bounds, labels out of range, one class only;
            users, membership flags or groups of other lengths or with other values than `Dataset` says; a user with
            members and others; columns to fit that are not there, twice there or hold no codes; a grid of other
            length or order.
    """
    x, y = dataset.x, dataset.y
    where = f"{source}: {dataset.name}"
    if len(y) == 0 or x.size == 0:
        raise UsageError(f"{where}: no records")
    if len(x) != len(y):
        raise UsageError(f"{where}: {len(x)} records but {len(y)} labels")
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).reshape(len(x), -1).any(axis=1).argmax())
        raise UsageError(f"{where}: record {bad} holds NaN or infinity; features must be finite")
    _check_fit(dataset, where)
    _check_bounds(dataset, where)
    if y.min() < 0 or y.max() >= dataset.n_classes:
        raise UsageError(f"{where}: labels span {y.min()}..{y.max()}, must lie in 0..{dataset.n_classes - 1}")
    if len(np.unique(y)) < 2:
        raise UsageError(f"{where}: all {len(y)} records have label {y[0]}; at least two classes are needed")
    _check_grid(dataset, where)
    _check_columns(dataset, where)


def duplicates(dataset: Dataset) -> int:
    """Number of records that occur more than once, equal in every feature and in the label."""
    return int(_twins(_kinds(dataset)).sum())


def duplicates_across(dataset: Dataset, split: Split) -> Duplicates:
    """Count the records that have a twin, where it matters for an evaluation."""
    kinds = _kinds(dataset)
    audited, auxiliary = kinds[split.pool], kinds[split.auxiliary]
    return Duplicates(
        records=int(_twins(kinds).sum()),
        audited=int(_twins(audited).sum()),
        across=max(_across(audited, member) for member in split.member),
        auxiliary=int(np.isin(auxiliary, audited).sum()),
    )


def _across(kinds: Ints, member: Bools) -> int:
    """Records whose twin is on the other side: of a kind that has members and non-members."""
    both = np.intersect1d(kinds[member], kinds[~member])
    return int(np.isin(kinds, both).sum())


def _twins(kinds: Ints) -> Bools:
    _, inverse, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse.reshape(-1)] > 1)


def _kinds(dataset: Dataset) -> Ints:
    """A number for each record, int64 (n,), equal for equal records.

    64 bits of BLAKE2b: that two of 50,000 different records get the same number has probability 7e-11.
    """
    digests = []
    for start in range(0, len(dataset), _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = dataset.x[rows].reshape(len(dataset.y[rows]), -1) + np.float32(0)  # -0 becomes 0
        for record, label in zip(block, dataset.y[rows], strict=True):
            digests.append(hashlib.blake2b(record.tobytes() + label.tobytes(), digest_size=8).digest())
    return np.frombuffer(b"".join(digests), dtype=np.int64)


def _check_bounds(dataset: Dataset, where: str) -> None:
    """Columns that are fitted have no bounds."""
    x, (low, high) = dataset.x, dataset.bounds
    if dataset.to_fit is not None:
        x = np.delete(x, [*dataset.to_fit.standardise, *dataset.to_fit.encode], axis=1)
    if x.size and (x.min() < low or x.max() > high):
        raise UsageError(f"{where}: features span [{x.min():g}, {x.max():g}], outside the bounds [{low:g}, {high:g}]")


def _check_fit(dataset: Dataset, where: str) -> None:
    if dataset.to_fit is None:
        return
    fitted = (*dataset.to_fit.standardise, *dataset.to_fit.encode)
    if dataset.x.ndim != 2:
        raise UsageError(f"{where}: records of shape {dataset.shape} have no columns to fit: must be flat")
    width = dataset.x.shape[1]
    if len(set(fitted)) < len(fitted) or not all(0 <= column < width for column in fitted):
        raise UsageError(f"{where}: columns to fit {fitted}: must be different ones of 0..{width - 1}")
    for column in dataset.to_fit.encode:
        codes = dataset.x[:, column]
        if codes.min() < 0 or codes.max() > _LARGEST_CODE or (codes != np.rint(codes)).any():
            raise UsageError(f"{where}: column {column} is to be encoded but does not hold codes 0, 1, ...")


def _check_grid(dataset: Dataset, where: str) -> None:
    grid = dataset.grid
    if grid is None:
        return
    if grid.dtype != np.float64 or grid.shape != (dataset.n_classes,):
        raise UsageError(f"{where}: grid is {grid.dtype} {grid.shape}: must be float64 ({dataset.n_classes},)")
    if not np.isfinite(grid).all() or not (np.diff(grid) > 0).all():
        raise UsageError(f"{where}: grid: must be finite and ascending, no value twice")


def _check_columns(dataset: Dataset, where: str) -> None:
    """Columns beside the features: users, membership, groups."""
    records = len(dataset)
    beside = {f"sensitive column {name!r}": column for name, column in dataset.sensitive.items()}
    for name, column in (beside | {"units": dataset.units, "released_member": dataset.released_member}).items():
        if column is not None and column.shape != (records,):
            raise UsageError(f"{where}: {name} has shape {column.shape}: must be ({records},)")
    units, member = dataset.units, dataset.released_member
    if units is not None and units.dtype != np.int64:
        raise UsageError(f"{where}: units has type {units.dtype}: must be int64")
    if member is None:
        return
    if member.dtype != np.int8 or not np.isin(member, (-1, 0, 1)).all():
        raise UsageError(f"{where}: released_member: must be int8, each 1, 0 or -1")
    if not {0, 1} <= set(member.tolist()):
        raise UsageError(f"{where}: released_member: must hold members (1) and non-members (0)")
    if units is not None:
        mixed = np.intersect1d(units[member == 1], units[member != 1])
        if len(mixed):
            raise UsageError(
                f"{where}: user {mixed[0]} has records that are members and records that are not, as have "
                f"{len(mixed) - 1} other users; a user must be on one side"
            )
