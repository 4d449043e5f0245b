"""Records as a model takes them that knows its columns by name: a pandas data frame, of the file's own cells if it can.

A model that was trained on the columns of a table is asked with what stands in them: texts, and numbers in the file's
unit. One that was trained on as many columns as records have features gets the features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...harness.columns import RecordColumns
from ...harness.errors import UsageError
from ...harness.types import Dataset, Float32
from ._answers import Ask, shortened


@dataclass(frozen=True, eq=False)
class Frames:
    """Makes data frames of records.

    Attributes:
        names: what the model calls its columns, in its order.
        taken: for each the column of the file that it is; empty where it is a feature.
        columns: the columns of the file; None where the model takes features.
    """

    names: tuple[str | int, ...]
    taken: tuple[str, ...] = ()
    columns: RecordColumns | None = None

    def __call__(self, x: Float32) -> Any:
        """The data frame of records (n, *shape).

        Raises:
            UsageError: as `RecordColumns.cells`.
            NotApplicable: as `RecordColumns.cells`.
        """
        import pandas as pd  # type: ignore[import-untyped]

        flat = x.reshape(len(x), -1)
        if self.columns is None:
            return pd.DataFrame({name: flat[:, i] for i, name in enumerate(self.names)})
        cells = self.columns.cells(flat, self.taken)
        return pd.DataFrame({name: cells[own] for name, own in zip(self.names, self.taken, strict=True)})

    @property
    def note(self) -> str:
        """How a model was asked, for its evidence; empty where it got the features."""
        if self.columns is None:
            return ""
        how = "by name" if self.names == self.taken else "in their order, as it calls them otherwise"
        return f"it was asked with the cells of the file's columns, {how}"


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

    By name where the data have them all; by position where they have as many columns and know none of the names; as
    features, by position, where there are as many of these.

    Args:
        names: what the model calls its columns, in its order.
        dataset: the records.
        source: where the model is, for errors.

    Raises:
        UsageError: none of the three.
    """
    wanted, columns, width = tuple(names), dataset.columns, int(dataset.x[0].size)
    known = columns.names if columns is not None else ()
    missing = [f"{name}" for name in wanted if name not in known]
    if columns is not None and not missing:
        return Frames(wanted, tuple(str(name) for name in wanted), columns)
    if columns is not None and len(missing) == len(wanted) == len(known):
        return Frames(wanted, known, columns)
    if len(wanted) == width and len(known) != width:
        return Frames(wanted)
    if columns is None or len(missing) == len(wanted):
        raise UsageError(f"{source}: takes {len(wanted)} columns, the records have {len(known) or width}")
    raise UsageError(f"{source}: takes columns that are no features of the data: {shortened(', '.join(missing))}")


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


def notes_of(ask: Ask) -> tuple[str, ...]:
    """What the evidence says about how a model was asked."""
    return (ask.frames.note,) if isinstance(ask, Framed) and ask.frames.note else ()
