"""Records as a model takes them that knows its columns by name: a pandas data frame, of the file's own cells if it can.

A model that was trained on the columns of a table is asked with what stands in them. Names that the data do not have
are a guess, so their order counts only where they say no more than that: numbers, or x0, x1 and so on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...harness.columns import RecordColumns
from ...harness.errors import UsageError, shortened
from ...harness.types import Dataset, Float32
from ._answers import Ask


@dataclass(frozen=True, eq=False)
class Frames:
    """Makes data frames of records.

    Attributes:
        names: what the model calls its columns, in its order.
        taken: for each the column of the file that it is; empty where it is a feature.
        columns: the columns of the file; None where the data have none.
    """

    names: tuple[str | int, ...]
    taken: tuple[str, ...]
    columns: RecordColumns | None

    def __call__(self, x: Float32) -> Any:
        """The data frame of records (n, *shape).

        Raises:
            UsageError: as `RecordColumns.frame`.
            NotApplicable: as `RecordColumns.frame`.
        """
        flat = x.reshape(len(x), -1)
        if self.columns is None or not self.taken:
            import pandas as pd  # type: ignore[import-untyped]

            return pd.DataFrame({name: flat[:, i] for i, name in enumerate(self.names)})
        return self.columns.frame(flat, self.taken).set_axis(list(self.names), axis=1)

    @property
    def notes(self) -> tuple[str, ...]:
        """How a model was asked, for its evidence; nothing where the data have no columns."""
        if self.columns is None:
            return ()
        if not self.taken:
            return ("it was asked with the features that the file's columns became, in their order",)
        how = "by name" if self.names == self.taken else "in their order, as it calls them otherwise"
        return (f"it was asked with the cells of the file's columns, {how}",)


def all_cells(columns: RecordColumns | None, source: str) -> Frames:
    """Frames of all the columns that features came from.

    Raises:
        UsageError: there are none.
    """
    if columns is None:
        raise UsageError(f"{source}: records: frame: the records are no rows of a CSV or Parquet table, see `table`")
    return Frames(columns.names, columns.names, columns)


def frames_for(names: Sequence[str | int], dataset: Dataset, source: str) -> Frames:
    """How records become the columns that a model takes.

    By name where the data have them all; in their order where the data have no names, or the model's are but numbers.

    Args:
        names: what the model calls its columns, in its order.
        dataset: the records.
        source: where the model is, for errors.

    Raises:
        UsageError: the data lack a column, or have another number of them.
    """
    if dataset.columns is None:
        return frames_in_order(names, dataset, source)
    missing = [f"{name}" for name in names if name not in dataset.columns.names]
    if not missing:
        taken = tuple(f"{name}" for name in names)
        return Frames(taken, taken, dataset.columns)
    if len(missing) == len(names) and _only_numbered(missing):
        return frames_in_order(names, dataset, source)
    raise UsageError(
        f"{source}: takes columns that are no features of the data: {shortened(', '.join(missing))} (those that "
        "`sensitive` or an id names are features only where `features` lists them)"
    )


def frames_in_order(names: Sequence[str | int], dataset: Dataset, source: str) -> Frames:
    """The columns of the file, or the features of records, in their order under the names of the model.

    Raises:
        UsageError: there are as many of neither.
    """
    wanted, columns, width = tuple(names), dataset.columns, int(dataset.x[0].size)
    if columns is not None and len(wanted) == len(columns.names):
        return Frames(wanted, columns.names, columns)
    if len(wanted) == width:
        return Frames(wanted, (), columns)
    found = width if columns is None else len(columns.names)
    raise UsageError(f"{source}: takes {len(wanted)} columns, the records have {found}")


def _only_numbered(names: Sequence[str]) -> bool:
    """Whether names are numbers behind one common beginning, in ascending order."""
    start = names[0].rstrip("0123456789")
    ends = [name.removeprefix(start) for name in names if name.startswith(start)]
    numbers = [int(end) for end in ends if re.fullmatch("[0-9]{1,9}", end)]
    return len(numbers) == len(names) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@dataclass(frozen=True, eq=False)
class Framed:
    """A model that is asked with data frames, as one that is asked with records."""

    ask: Callable[[Any], Any]
    frames: Frames

    def __call__(self, x: Float32) -> Any:
        """Answers on records (n, *shape), as they came."""
        return self.ask(self.frames(x))


def by_columns(ask: Callable[[Any], Any], names: Sequence[str] | None, dataset: Dataset, source: str) -> Ask:
    """How a model is asked that takes tables: with data frames where it has names for its columns, else flat arrays.

    Raises:
        UsageError: as `frames_for`.
    """
    if names is not None:
        return Framed(ask, frames_for([str(name) for name in names], dataset, source))
    return lambda x: ask(x.reshape(len(x), -1))


def by_arrays(ask: Ask, names: Sequence[str | int], dataset: Dataset, source: str) -> Ask:
    """How a model is asked that takes arrays of numbers, and whose signature names the columns that they came from.

    Raises:
        UsageError: as `frames_for`.
    """
    return Framed(lambda frame: ask(frame.to_numpy(dtype=float)), frames_for(names, dataset, source))


def notes_of(ask: Ask) -> tuple[str, ...]:
    """What the evidence says about how a model was asked."""
    return ask.frames.notes if isinstance(ask, Framed) else ()
