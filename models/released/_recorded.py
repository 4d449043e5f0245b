"""Recorded answers: one file of a target or of a reference model, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...harness.errors import UsageError
from ...harness.protocols import RecordedReference
from ...harness.table_columns import flags, ids, users
from ...harness.tablefile import SUFFIXES, TableFile, read
from ...harness.types import Float64, Ints
from ._answers import Reading

if TYPE_CHECKING:
    from .predictions import Predictions

INSIDE = ("references", "reference_member")
"""Arrays of an NPZ file with the answers of reference models and what those were trained on."""


_FEW_CLASSES = 20
"""Classes up to which labels may have gaps."""


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

    table: TableFile
    y: Ints
    n_classes: int
    member: NDArray[np.int8]
    raw: NDArray[Any]
    units: Ints | None
    ids: list[str] | None


def read_recorded(source: Predictions, path: Path) -> Recorded:
    """Read a file of the target or of a reference model.

    Raises:
        UsageError: it cannot be read, has no such column, columns of different lengths, labels out of range, a
            membership flag that is none or constant, a user that is missing, or ids that repeat.
    """
    table = _table(source, path)
    y, raw = _labels(table, source.label, source.classes), _outputs(source, table)
    n_classes = _classes(source, y, raw)
    if y.max() >= n_classes:
        bad = int((y >= n_classes).argmax())
        raise UsageError(f"{table.at(source.label, bad)}: {y[bad]}: must be one of 0..{n_classes - 1}")
    every = np.ones(len(y), dtype=np.bool_)
    return Recorded(
        table=table,
        y=y,
        n_classes=n_classes,
        member=flags(table, source.member, every),
        raw=raw,
        units=None if source.user_id is None else users(table, source.user_id, every),
        ids=None if source.record_id is None else ids(table, source.record_id, every).tolist(),
    )


def read_references(source: Predictions, target: Recorded, folder: Path) -> tuple[RecordedReference, ...]:
    """Read every file of `folder`, in the order of their names.

    Raises:
        UsageError: no such folder, no file in it, or one that does not hold the records of `target`, whose flags say
            neither 1 nor 0, or whose answers are none.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UsageError(f"{folder}: holds no file that ends in {', '.join(SUFFIXES)}")
    return tuple(_reference(source, target, path) for path in paths)


def _reference(source: Predictions, target: Recorded, path: Path) -> RecordedReference:
    found = read_recorded(source, path)
    order = _order(target, found)
    if (found.member < 0).any():
        row = int(found.member.argmin())
        raise UsageError(f"{found.table.at(source.member, row)}: says nothing; a reference model's must be 1 or 0")
    reading = Reading(source.answers, target.n_classes, str(path))
    return RecordedReference(path.stem, reading.all_at_once(found.raw, len(order))[order], found.member[order] == 1)


def _order(target: Recorded, found: Recorded) -> Ints:
    """Rows of a reference file in the order of the target's: int64 (n,)."""
    path, expected = found.table.source, target.table.source.name
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
        raise UsageError(f"{path}: holds other rows than {expected}: their labels differ at its row {bad + 1}")
    return order


def _table(source: Predictions, path: Path) -> TableFile:
    """The file, checked for every column that `source` names and, of an NPZ file, for the answers."""
    single = {field: getattr(source, field) for field in ("label", "member", "user_id", "record_id")}
    named = [(name, field) for field, name in single.items() if name is not None]
    named += [(name, "sensitive") for name in source.sensitive]
    text = {name for name, field in named if field != "label"}
    if source.classes is not None:
        text |= {source.label, source.outputs}
    table = read(path, text, (source.label, source.answers, *INSIDE))
    for name, field in named:
        table.require(name, field)
    if table.archive:
        table.require(source.answers, "answers")
        table.same_rows([source.answers, *(name for name, _ in named)])
    return table


def _outputs(source: Predictions, table: TableFile) -> NDArray[Any]:
    """The answers as they stand in the file."""
    if source.answers == "labels":
        name = "labels" if table.archive else source.outputs
        table.require(name, "outputs")
        return _labels(table, name, source.classes)
    if table.archive:
        return table.columns[source.answers]
    rests = source.classes or _numbered(source, table)
    for rest in rests:
        table.require(f"{source.outputs}{rest}", "outputs")
    return np.column_stack([_numbers(table, f"{source.outputs}{rest}") for rest in rests])


def _numbered(source: Predictions, table: TableFile) -> list[str]:
    """0, 1, ... up to the largest number that a column of answers has in its name, or the first that has none."""
    rests = [name.removeprefix(source.outputs) for name in table.names if name.startswith(source.outputs)]
    last = max((int(rest) for rest in rests if rest.isdecimal()), default=1)
    return [f"{i}" for i in range(min(last, max(len(rests), 1)) + 1)]


def _classes(source: Predictions, y: Ints, raw: NDArray[Any]) -> int:
    """Number of classes: as named, else as many as columns, else as the labels say."""
    if source.classes is not None:
        return len(source.classes)
    if source.answers == "labels":
        return _as_the_labels_say(source, y, raw)
    return raw.shape[1] if raw.ndim == 2 else 2


def _as_the_labels_say(source: Predictions, y: Ints, raw: NDArray[Any]) -> int:
    """One more than the largest label, unless most classes up to it do not occur: one wrong digit makes thousands."""
    found = np.union1d(y, raw)
    n_classes = max(2, int(found[-1]) + 1)
    if n_classes > max(2 * len(found), _FEW_CLASSES):
        raise UsageError(
            f"{source.path}: label {int(found[-1])}: {len(found)} different labels occur, of {n_classes} classes up to "
            "this one; mend the file, or name the `classes`"
        )
    return n_classes


def _labels(table: TableFile, name: str, classes: Sequence[str] | None) -> Ints:
    """Labels int64 (n,): places in `classes`, or, where these are None, whole numbers from 0."""
    if classes is None:
        numbers = _numbers(table, name)
        wrong = (numbers < 0) | (numbers % 1 != 0)
        if wrong.any():
            bad = int(wrong.argmax())
            raise UsageError(f"{table.at(name, bad)}: {numbers[bad]:g}: must be a whole number >= 0")
        return numbers.astype(np.int64)
    texts, code = table.texts(name).tolist(), {text: i for i, text in enumerate(classes)}
    for row, text in enumerate(texts):
        if text not in code:
            raise UsageError(f"{table.at(name, row)}: {text!r}: must be one of {', '.join(classes)}")
    return np.array([code[text] for text in texts], dtype=np.int64)


def _numbers(table: TableFile, name: str) -> Float64:
    """A column of finite numbers, none of which is missing: float64 (n,)."""
    numbers = table.numbers(name)
    if np.isnan(numbers).any():
        raise UsageError(f"{table.at(name, int(np.isnan(numbers).argmax()))}: the number is missing")
    return numbers
