"""Classes as a model calls them, and their numbers in the data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from ...harness.errors import UsageError, shortened
from ...harness.types import Dataset, Ints

_SHOWN = 10
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def class_numbers(labels: Sequence[Any], names: tuple[str, ...], n_classes: int) -> Ints:
    """Numbers 0 .. n_classes - 1 of classes, -1 for what is none: int64 (n,).

    Where all classes are named by numbers, such as 1 and 2 or 0.0 and 1.0, numbers are names and compare by value, so
    1, 1.0 and the text "1.0" are one class. Else numbers count the classes from 0. Other texts and truth values are
    names.

    Args:
        labels: classes as a model calls them.
        names: names of the classes, in order; empty where these have numbers only.
        n_classes: number of classes.

    >>> class_numbers(["no", "yes", "maybe"], ("no", "yes"), 2).tolist()
    [0, 1, -1]
    >>> class_numbers([2.0, 1, "1.0", 0], ("1", "2"), 2).tolist()
    [1, 0, 0, -1]
    >>> class_numbers([1.0, "0"], ("no", "yes"), 2).tolist()
    [1, 0]
    """
    place = {name: i for i, name in enumerate(names)}
    values = [_value(name) for name in names]
    distinct = len(set(values)) == len(values)  # "1" and "01" may be two classes: then only texts tell them apart
    by_value = {value: i for i, value in enumerate(values) if distinct}
    if not names or None in values:
        by_value = {float(i): i for i in range(n_classes)}

    def number(label: object) -> int:
        found = place.get(f"{label}".strip(), -1)
        return found if found >= 0 else by_value.get(_value(label), -1)

    return np.array([number(label) for label in labels], dtype=np.int64)


def _value(label: object) -> float | None:
    """The number that a label is or, as a text, writes; None where it is none."""
    if isinstance(label, str):
        return float(label) if _NUMBER.fullmatch(label.strip()) else None
    return float(label) if isinstance(label, Real) and not isinstance(label, bool) else None


def only_counted(names: Sequence[Any]) -> bool:
    """Whether names of columns are 0, 1, 2 and so on in this order, as a data frame has them that was given none."""
    return [_value(name) for name in names] == list(range(len(names)))


@dataclass(frozen=True, eq=False)
class Columns:
    """Answers whose columns have names.

    Attributes:
        names: what the model calls the columns.
        table: one row a record.
        counted: whether the names are no more than the places of the columns.
    """

    names: tuple[Any, ...]
    table: Any
    counted: bool = False


def columns_of_answers(raw: Any) -> Columns | None:
    """Answers with their names, out of a pandas data frame or of one mapping a record; None where they have none.

    Raises:
        UsageError: mappings have other keys than the first one.
    """
    if isinstance(raw, Columns):
        return raw
    if hasattr(raw, "columns") and hasattr(raw, "to_numpy"):
        names = tuple(raw.columns)
        return Columns(names, raw.to_numpy(), only_counted(names))
    if not isinstance(raw, list) or not raw or not isinstance(raw[0], Mapping):
        return None
    names = tuple(raw[0])
    for i, row in enumerate(raw):
        if not isinstance(row, Mapping) or set(row) != set(names):
            raise UsageError(f"the answer for record {i + 1} has other names than that for record 1")
    return Columns(names, [[row[name] for name in names] for row in raw], only_counted(names))


@dataclass(frozen=True)
class ClassOrder:
    """The classes of the data, and which of them each column of a model is.

    Attributes:
        names: of the classes in the data, in order; empty where these have numbers only.
        n_classes: how many.
        stated: the classes in the order of the model's columns, where its owner says; empty: the order of the data.
    """

    names: tuple[str, ...]
    n_classes: int
    stated: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.stated and not self._by_name_only():
            raise UsageError(
                f"`classes` names {_listed(self.stated)}, must name the classes of the data, each of them once: "
                f"{classes_in_words(self.names, self.n_classes)}"
            )

    @property
    def of_unnamed(self) -> Ints:
        """Class of each column that has no name, int64 (n_classes,): as stated, or the order of the data."""
        if not self.stated:
            return np.arange(self.n_classes)
        return class_numbers(self.stated, self.names, self.n_classes)

    @property
    def numbers_are_names(self) -> bool:
        """Whether a number that a model gives is the name of a class and not its place."""
        return not self.names or all(_value(name) is not None for name in self.names)

    def of_labels(self, labels: Sequence[Any]) -> Ints:
        """Classes of labels, int64 (n,), -1 for what is none; a number that is no name is a place in `stated`."""
        found = class_numbers(labels, self.stated or self.names, self.n_classes)
        return np.where(found >= 0, self.of_unnamed[found], -1)

    def of_columns(self, columns: Columns) -> Ints:
        """Class of each of as many named columns as there are classes: int64 (n_classes,), a permutation.

        Names count by themselves. Those that only count the columns, and with `stated` those that name no class at
        all, leave the order to `of_unnamed`.

        Raises:
            UsageError: some name is none of the classes, or there twice; or `stated` says otherwise.
        """
        if columns.counted and self.stated:
            return self.of_unnamed
        found = self.of_labels(columns.names)
        if sorted(found.tolist()) == list(range(self.n_classes)):
            if self.stated and not np.array_equal(found, self.of_unnamed):
                raise UsageError(
                    f"the model calls its columns {_listed(columns.names)}, `classes` says {_listed(self.stated)}; "
                    "leave it out, or say what the model says"
                )
            return found
        silent = only_counted(columns.names) or (found < 0).all()
        if columns.counted or (self.stated and silent):
            return self.of_unnamed
        raise UsageError(
            f"its classes are {_listed(columns.names)}, those of the data are "
            f"{classes_in_words(self.names, self.n_classes)}: call the columns by these names, or say in "
            "`classes` which column is which class"
        )

    def of_one_column(self, columns: Columns | None) -> int:
        """Which of two classes a single column is about, 0 or 1: the one of its name, else the second."""
        second = int(self.of_unnamed[1])
        if columns is None or (columns.counted and not isinstance(columns.names[0], str)):
            return second
        found = int(self.of_labels(columns.names)[0])
        if self.stated and found not in (-1, second):
            raise UsageError(
                f"the model calls its column {_listed(columns.names)}, the second of `classes` is {self.stated[1]}"
            )
        return second if found < 0 else found

    def _by_name_only(self) -> bool:
        """Whether `stated` names every class once, and does not count them where they have names."""
        found = class_numbers(self.stated, self.names, self.n_classes)
        by_name = self.numbers_are_names or set(self.stated) == set(self.names)
        return by_name and sorted(found.tolist()) == list(range(self.n_classes))


def classes_of(dataset: Dataset) -> str:
    """The classes of the data, for errors."""
    return classes_in_words(dataset.class_names, dataset.n_classes)


def classes_in_words(names: tuple[str, ...], n_classes: int) -> str:
    """Classes by their names, or by their numbers where they have none."""
    if not names:
        return f"0..{n_classes - 1}"
    return _listed(names)


def _listed(names: Sequence[Any]) -> str:
    return shortened(", ".join(f"{name}" for name in names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
