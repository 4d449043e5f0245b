"""A table of the user's own, CSV, Parquet or NPZ, with a declared schema."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from ..harness.checks import one_of, require
from ..harness.errors import UsageError
from ..harness.table_columns import flags, groups, ids, users
from ..harness.tablefile import MISSING, MISSING_IN_CSV, SUFFIXES
from ..harness.types import Bools, Dataset
from ._table_features import Missing, Schema, features
from ._table_files import Columns, read
from ._table_target import LEAST_VALUES, MOST_VALUES, Target, class_target, number_target


@dataclass(frozen=True)
class Table:
    """Records of a CSV, Parquet or NPZ file, in the order of the file.

    A column with a declared range or declared values is transformed by them alone: numbers are scaled to [0, 1] and
    clipped there, categories become one feature a value. Declare what is publicly known, not what was measured on the
    records. Every other column is prepared by each model from its own members (`Dataset.to_fit`): numbers are
    standardised, categories become one feature a category that the members have. Features keep the order of
    `features`. A number is kept as float32, which is exact for whole numbers up to 16,777,216.

    CSV: commas, UTF-8, a header line, cells may be quoted. NPZ: arrays of one dimension stand for columns, and the
    features are one array of numbers (n, *shape), `x` or the one that `features` names; `ranges` gives its one range.

    Attributes:
        path: the file; .csv, .parquet or .npz.
        target: column of the classes. They are numbered in the order of its declared values, else sorted.
        features: columns that are features; by default all that no other field but `categorical`, `ranges` and
            `values` names.
        categorical: columns of categories without declared values.
        ranges: declared smallest and largest value of numeric columns.
        values: declared categories of columns, all that may occur.
        sensitive: columns whose groups the report compares; features only if `features` names them. A missing cell
            belongs to the group `?`.
        record_id: column of names of records, no two alike.
        user_id: column that says who a record is about.
        member: column that says whether somebody else's model trained on the record: 1, true, yes; 0, false, no;
            empty or -1 for records of the population that it was never asked about.
        positive: the value of a binary target that becomes class 1.
        grid: for regression: the target is a number, rounded to so many values, at least 11, evenly spaced over its
            declared range in `ranges`; 101 are enough for most. A tenth of the range should be free at both ends.
        missing: what is done about cells that are empty, `?` or null; in CSV also those that pandas takes for missing,
            such as NA and None, whatever column they stand in. `refuse`: nothing may be missing. `drop`: records with
            a missing target or feature are left out. `category`: in columns of categories `?` is one more category,
            and numbers may not be missing.
        name: name of the data set; by default the file's.
        licence: terms under which the records may be used.
        public: whether records may be shown in a report.
    """

    path: Path
    target: str
    features: tuple[str, ...] | None = None
    categorical: tuple[str, ...] = ()
    ranges: Mapping[str, tuple[float, float]] | None = None
    values: Mapping[str, tuple[str, ...]] | None = None
    sensitive: tuple[str, ...] = ()
    record_id: str | None = None
    user_id: str | None = None
    member: str | None = None
    positive: str | None = None
    grid: int | None = None
    missing: Missing = "refuse"
    name: str | None = None
    licence: str = "not stated"
    public: bool = False

    def __post_init__(self) -> None:
        suffix = self.path.suffix.lower()
        require(suffix in SUFFIXES, "path", str(self.path), f"a file in {', '.join(SUFFIXES)}")
        one_of(get_args(Missing), missing=self.missing)
        if suffix == ".npz" and self.features is not None:
            require(len(self.features) == 1, "features", self.features, "the name of one array in an NPZ file")
        for column, (low, high) in (self.ranges or {}).items():
            allowed = "two finite numbers, the smaller one first"
            require(math.isfinite(low) and math.isfinite(high) and low < high, f"ranges.{column}", (low, high), allowed)
            categories = column in self.categorical or column in (self.values or {})
            require(not categories, f"ranges.{column}", (low, high), "left out: the column holds categories")
        for column, listed in (self.values or {}).items():
            distinct = bool(listed) and len(set(listed)) == len(listed)
            require(distinct, f"values.{column}", listed, "different values, at least one")
            gaps = [value for value in listed if suffix == ".csv" and value in MISSING_IN_CSV and value not in MISSING]
            allowed = (
                "without what is a gap in CSV, as for pandas; set missing to category, or save the table as Parquet"
            )
            require(not gaps, f"values.{column}", ", ".join(gaps), allowed)
        self._check_grid()
        others = {self.target, self.record_id, self.user_id, self.member}
        for column in self.features or ():
            require(column not in others, "features", column, "a column that is not target, id or membership flag")

    def _check_grid(self) -> None:
        ranged = self.target in (self.ranges or {})
        if self.grid is None:
            require(not ranged, f"ranges.{self.target}", "the target", "a feature; for regression set grid, e.g. 101")
            return
        require(LEAST_VALUES <= self.grid <= MOST_VALUES, "grid", self.grid, f"{LEAST_VALUES} to {MOST_VALUES}")
        require(ranged, "grid", self.grid, f"left out, or ranges must declare the range of the target {self.target!r}")
        require(self.positive is None, "positive", self.positive, "left out where grid makes the target a number")

    def load(self) -> Dataset:
        """Read, check and return the records.

        Returns:
            x float32 (n, width) or (n, *shape), bounds (0, 1) for the columns that are not in `to_fit`.

        Raises:
            UsageError: no such file or column, a cell that is not what the schema says, repeated or missing ids, one
                class only, a constant membership flag.
        """
        columns = self._read()
        targets = columns.texts(self.target)
        made = features(columns, self._schema(columns), self._labelled(columns, targets))
        kept = made.kept
        if not kept.any():
            raise UsageError(f"{self.path}: every row has a missing cell: none stays")
        target = self._target(targets, kept)
        if self.record_id is not None:
            ids(columns, self.record_id, kept)
        return Dataset(
            name=self.name or self.path.stem,
            x=made.x,
            y=target.y,
            n_classes=target.n_classes,
            bounds=(0.0, 1.0),
            public=self.public,
            licence=self.licence,
            sensitive={name: groups(columns, name, kept) for name in self.sensitive},
            units=None if self.user_id is None else users(columns, self.user_id, kept),
            released_member=None if self.member is None else flags(columns, self.member, kept),
            to_fit=made.to_fit,
            grid=target.grid,
            class_names=target.names,
            columns=made.columns,
            left_out=_left_out(self.path.name, kept, int((targets == "").sum())),
        )

    def _target(self, targets: NDArray[np.str_], kept: Bools) -> Target:
        where = f"{self.path}: target {self.target!r}"
        if self.grid is not None:
            return number_target(targets, kept, np.linspace(*(self.ranges or {})[self.target], self.grid), where)
        return class_target(targets, kept, (self.values or {}).get(self.target), self.positive, where)

    def _read(self) -> Columns:
        """The table, with every name that the schema mentions."""
        lists = {"categorical": self.categorical, "values": tuple(self.values or ()), "sensitive": self.sensitive}
        single = {field: getattr(self, field) for field in ("target", "record_id", "user_id", "member")}
        named = lists | {field: (name,) for field, name in single.items() if name is not None}
        matrix = self.features[0] if self.features else "x"
        columns = read(self.path, {name for names in named.values() for name in names}, matrix)
        if columns.matrix is None:
            named |= {"features": self.features or (), "ranges": tuple(self.ranges or ())}
        for field, names in named.items():
            for name in names:
                columns.require(name, field)
        return columns

    def _schema(self, columns: Columns) -> Schema:
        others = {self.target, self.record_id, self.user_id, self.member, *self.sensitive}
        chosen = self.features or tuple(name for name in columns.names if name not in others)
        if columns.matrix is not None:
            chosen = self.features or ("x",)
        if not chosen:
            raise UsageError(f"{self.path}: no column is left for features")
        return Schema(chosen, self.categorical, self.ranges or {}, self.values or {}, self.missing)

    def _labelled(self, columns: Columns, targets: NDArray[np.str_]) -> Bools:
        """Rows that stay as far as the target goes."""
        present = np.asarray(targets != "")
        if self.missing != "drop" and not present.all():
            row = int((~present).argmax())
            raise UsageError(
                f"{self.path}: target {self.target!r}, row {row + 1}: the label is missing, as are "
                f"{int((~present).sum()) - 1} more; fill them in, or set missing to drop"
                f"{columns.why_missing(self.target, row)}"
            )
        return present


def _left_out(file: str, kept: Bools, unlabelled: int) -> str:
    """How many rows have a missing cell, and how many of them no label."""
    if kept.all():
        return ""
    without = f", {unlabelled:,} of them that of the target" if unlabelled else ""
    return f"{int((~kept).sum()):,} of {len(kept):,} rows of {file} are left out: a cell is missing{without}"
