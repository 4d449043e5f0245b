"""Recorded answers: one file of a target or of a reference model, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...harness.errors import UsageError
from ...harness.protocols import RecordedReference
from ...harness.types import Ints
from ._answers import Reading
from ._table import SUFFIXES, Table, read_table

if TYPE_CHECKING:
    from .predictions import Predictions

_FLAGS = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0, "": -1, "-1": -1, "-1.0": -1}


@dataclass(frozen=True, eq=False)
class Recorded:
    """One file, read.

    Attributes:
        table: its columns.
        y: int64 (n,), labels.
        n_classes: number of classes, at least 2.
        member: int8 (n,), 1, 0 or -1.
        raw: the answers, not yet checked: (n, classes), or (n,) for labels.
        units: int64 (n,), codes of users; None where no column names them.
        ids: identifiers (n,); None where no column names them.
    """

    table: Table
    y: Ints
    n_classes: int
    member: NDArray[np.int8]
    raw: NDArray[Any]
    units: Ints | None
    ids: list[str] | None


def read_recorded(source: Predictions, path: Path) -> Recorded:
    """Read the target's file.

    Raises:
        UsageError: it cannot be read, has no such column, columns of different lengths, labels out of range, a
            membership flag that is missing or constant, a user that is missing, or ids that repeat.
    """
    recorded = _read(source, path)
    flags = set(recorded.member.tolist()) - {-1}
    if flags != {0, 1}:
        found = f"is {flags.pop()} for every record" if flags else "is empty for every record"
        raise UsageError(f"{path}: {source.member} {found}; members and non-members are needed")
    return recorded


def read_references(source: Predictions, target: Recorded, folder: Path) -> tuple[RecordedReference, ...]:
    """Read every file of `folder`, in the order of their names.

    Raises:
        UsageError: no such folder, no file in it, or one that does not hold the records of `target`, whose flags say
            neither 1 nor 0, or whose answers are none.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if not paths:
        raise UsageError(f"{folder}: holds no file that ends in {', '.join(SUFFIXES)}")
    return tuple(_reference(source, target, path) for path in paths)


def _reference(source: Predictions, target: Recorded, path: Path) -> RecordedReference:
    found = _read(source, path)
    order = _order(target, found)
    if (found.member < 0).any():
        raise UsageError(f"{path}: {source.member} of record {int(found.member.argmin())} is empty: must be 1 or 0")
    if found.member.min() == found.member.max():
        raise UsageError(
            f"{path}: {source.member} is {found.member[0]} for every record: must tell the records that this reference "
            "model trained on from the others"
        )
    reading = Reading(source.answers, target.n_classes, str(path))
    return RecordedReference(path.stem, reading.all_at_once(found.raw, len(order))[order], found.member[order] == 1)


def _order(target: Recorded, found: Recorded) -> Ints:
    """Rows of a reference file in the order of the target's: int64 (n,)."""
    path, expected = found.table.path, target.table.path.name
    if len(found.y) != len(target.y):
        raise UsageError(f"{path}: holds {len(found.y)} records, {expected} holds {len(target.y)}")
    order = np.arange(len(target.y))
    if target.ids is not None and found.ids is not None:
        place = {name: i for i, name in enumerate(found.ids)}
        missing = next((name for name in target.ids if name not in place), None)
        if missing is not None:
            raise UsageError(f"{path}: lacks the record {missing!r} of {expected}")
        order = np.array([place[name] for name in target.ids], dtype=np.int64)
    if not np.array_equal(found.y[order], target.y):
        bad = int((found.y[order] != target.y).argmax())
        raise UsageError(f"{path}: holds other rows than {expected}: their labels differ at record {bad}")
    return order


def _read(source: Predictions, path: Path) -> Recorded:
    named = (source.user_id, source.record_id, *source.sensitive)
    texts = [source.member, *(name for name in named if name), *([source.label] if source.classes else [])]
    table = read_table(path, texts)
    y = table.labels(source.label, source.classes)
    raw = _outputs(source, table)
    n_classes = _classes(source, y, raw)
    if y.max() >= n_classes:
        bad = int((y >= n_classes).argmax())
        raise UsageError(f"{path}: {source.label} of record {bad} is {y[bad]}: must be one of 0..{n_classes - 1}")
    lengths = {name: len(table.column(name)) for name in (source.label, source.member, *filter(None, named))}
    if set(lengths.values()) != {len(raw)}:
        raise UsageError(f"{path}: answers for {len(raw)} records, but {lengths}")
    return Recorded(table, y, n_classes, _member(source, table), raw, _units(source, table), _ids(source, table))


def _outputs(source: Predictions, table: Table) -> NDArray[Any]:
    """The answers as they stand in the file."""
    arrays = table.path.suffix == ".npz"
    if source.answers == "labels":
        return table.labels("labels" if arrays else source.outputs, source.classes)
    if arrays:
        return table.column(source.answers)
    if source.classes is not None:
        return table.numbers([f"{source.outputs}{name}" for name in source.classes])
    rests = [name.removeprefix(source.outputs) for name in table.columns if name.startswith(source.outputs)]
    last = max((int(rest) for rest in rests if rest.isdecimal()), default=1)
    return table.numbers([f"{source.outputs}{i}" for i in range(last + 1)])


def _classes(source: Predictions, y: Ints, raw: NDArray[Any]) -> int:
    """Number of classes: as named, else as many as columns, else as the labels say."""
    if source.classes is not None:
        return len(source.classes)
    if source.answers == "labels":
        return max(2, int(y.max()) + 1, int(raw.max()) + 1)
    return raw.shape[1] if raw.ndim == 2 else 2


def _member(source: Predictions, table: Table) -> NDArray[np.int8]:
    flags = [text.lower() for text in table.texts(source.member)]
    for i, flag in enumerate(flags):
        if flag not in _FLAGS:
            raise UsageError(f"{table.path}: {source.member} of record {i} is {flag!r}: must be 1, 0 or empty")
    return np.array([_FLAGS[flag] for flag in flags], dtype=np.int8)


def _units(source: Predictions, table: Table) -> Ints | None:
    if source.user_id is None:
        return None
    users = table.texts(source.user_id)
    if "" in users:
        raise UsageError(f"{table.path}: {source.user_id} of record {users.index('')} is empty")
    return np.unique(users, return_inverse=True)[1].astype(np.int64)


def _ids(source: Predictions, table: Table) -> list[str] | None:
    if source.record_id is None:
        return None
    ids = table.texts(source.record_id)
    first: dict[str, int] = {}
    for i, name in enumerate(ids):
        if first.setdefault(name, i) != i:
            raise UsageError(f"{table.path}: {source.record_id} {name!r} is that of records {first[name]} and {i}")
    return ids
