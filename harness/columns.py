"""Where the features of a record came from: the columns of the user's file, and the way back to its cells.

A model that somebody else trained on those columns is asked with cells, such as `clerk`, not with the codes, indicators
and scaled numbers that records hold here. The cells of a record of the file are kept, not computed back: features are
rounded to float32 and cut to declared ranges.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import NotApplicable, UsageError

_ROUNDING = 4e-7
"""How far a number may be from what it was, as a share of the largest, after it was a feature in float32."""


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers, which is one feature.

    Attributes:
        name: of the column.
        range: declared smallest and largest value, which are 0 and 1 among the features; None: numbers as they are.
    """

    name: str
    range: tuple[float, float] | None = None

    @property
    def width(self) -> int:
        """Number of features."""
        return 1

    def features(self, numbers: NDArray[np.float64]) -> NDArray[np.float32]:
        """Features of numbers (n,): float32 (n, 1)."""
        made = numbers.astype(np.float32) if self.range is None else scaled(numbers, *self.range)
        return made[:, None]

    def cells(self, features: NDArray[np.float32]) -> NDArray[Any]:
        """Numbers of features (n, 1) in the unit of the file: float64 (n,)."""
        low, high = self.range or (0.0, 1.0)
        return np.asarray(low + features[:, 0].astype(np.float64) * (high - low))


@dataclass(frozen=True)
class CategoryColumn:
    """A column of categories, which is one feature of codes 0, 1, ... or one indicator a category.

    Attributes:
        name: of the column.
        values: its categories by code, as cells of the file.
        coded: whether it is one feature of codes.
    """

    name: str
    values: tuple[Any, ...]
    coded: bool = False

    @property
    def width(self) -> int:
        """Number of features."""
        return 1 if self.coded else len(self.values)

    def cells(self, features: NDArray[np.float32]) -> NDArray[Any]:
        """Categories of features (n, width): objects (n,).

        Raises:
            NotApplicable: a number is no code, or not exactly one indicator is set.
        """
        if self.coded:
            code = features[:, 0]
            off = (code != np.rint(code)) | (code < 0) | (code >= len(self.values))
            what = "{:g} is the code of no category"
        else:
            code = features.argmax(axis=1)
            off = (features != np.eye(self.width, dtype=np.float32)[code]).any(axis=1)
            what = "the indicators are not those of one category"
        if off.any():
            raise NotApplicable(f"column {self.name!r}: {what.format(features[off][0, 0])}")
        cells = np.empty(len(self.values), dtype=object)
        cells[:] = self.values
        return np.asarray(cells[code.astype(np.int64)])


@dataclass(frozen=True, eq=False)
class RecordColumns:
    """The columns that the features of flat records came from, in the order of the features.

    Attributes:
        columns: each column.
        x: float32 (rows, width), the records of the file as features.
        file: pandas frame of these rows and columns, the cells of the file as pandas reads them.
    """

    columns: tuple[NumberColumn | CategoryColumn, ...]
    x: NDArray[np.float32]
    file: Any

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def width(self) -> int:
        """Number of features."""
        return sum(column.width for column in self.columns)

    def frame(self, x: NDArray[np.float32], names: Sequence[str]) -> Any:
        """Cells of records (n, width) in the columns `names`: a pandas frame.

        Records of the file have its cells, in the types that pandas gave them. Others, such as one that an attack
        moved, have what their features say: numbers in the file's unit, and categories.

        Raises:
            UsageError: two records of the file have the same features, but other cells in these columns.
            NotApplicable: a record stands for no cells, or has another number of features.
        """
        if x.ndim != 2 or x.shape[1] != self.width:
            raise NotApplicable(f"records of shape {x.shape[1:]} are none of a table with {self.width} features")
        rows = self._rows(x)
        here, others = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
        known = self.file[list(names)].iloc[rows[here]].set_axis(here)
        if len(here):
            self._refuse_clashes(names)
        if not len(others):
            return known
        import pandas as pd  # type: ignore[import-untyped]

        made = self._made(x[others], names).set_axis(others)
        return pd.concat([known, made]).sort_index() if len(here) else made

    def digest(self, x: NDArray[np.float32]) -> str:
        """SHA-256 of the cells that records (n, width) have in the file, in all columns, with names and types.

        Records that are none of the file add nothing: their features say all.
        """
        about = f"{[(column.name, column.width) for column in self.columns]} {self.file.dtypes.to_dict()}"
        rows = self._rows(x)
        cells = self.file.iloc[rows[rows >= 0]].to_csv(index=False)
        return hashlib.sha256(f"{about}\n{cells}".encode()).hexdigest()

    def _rows(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """The first row of the file with each record's features, -1 where there is none: (n,)."""
        return np.array([self._row_of.get(record.tobytes(), -1) for record in x], dtype=np.int64)

    def _made(self, x: NDArray[np.float32], names: Sequence[str]) -> Any:
        """What the features of records say about their cells."""
        import pandas as pd

        ends = np.cumsum([column.width for column in self.columns])
        blocks = dict(zip(self.names, np.split(x, ends[:-1], axis=1), strict=True))
        own = {column.name: column for column in self.columns}
        made = pd.DataFrame({name: own[name].cells(blocks[name]) for name in names})
        for name in names:
            if pd.api.types.is_integer_dtype(self.file[name].dtype) and made[name].dtype.kind == "f":
                made[name] = whole_again(made[name].to_numpy())
        return made

    @cached_property
    def _row_of(self) -> dict[bytes, int]:
        """The first row with each record's features."""
        rows: dict[bytes, int] = {}
        for row, record in enumerate(self.x):
            rows.setdefault(record.tobytes(), row)
        return rows

    @cached_property
    def _clashes(self) -> dict[str, tuple[int, int]]:
        """Two rows with the same features and different cells, for each column that has such rows."""
        first = self._rows(self.x)
        found = {}
        for name in self.names:
            here, there = self.file[name].reset_index(drop=True), self.file[name].iloc[first].reset_index(drop=True)
            # Nullable columns say neither yes nor no about a cell and a gap, which differ.
            other = ((here != there) & ~(here.isna() & there.isna())).to_numpy(dtype=np.bool_, na_value=True)
            if other.any():
                row = int(other.argmax())
                found[name] = (int(first[row]), row)
        return found

    def _refuse_clashes(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self._clashes:
                cells = [f"{self.file[name].iloc[row]}" for row in self._clashes[name]]
                raise UsageError(
                    f"column {name!r}: {cells[0]} and {cells[1]} are one feature, cut to the declared range or rounded "
                    "to float32, and nothing else tells these two records apart: widen the range, or name the column "
                    "in `categorical`"
                )


def whole_again(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers (n,) that were whole before they became features: those that float32 moved a little are whole again."""
    span = np.abs(numbers).max(initial=1.0)
    return np.where(np.abs(numbers - np.rint(numbers)) <= _ROUNDING * span, np.rint(numbers), numbers)


def scaled(numbers: NDArray[np.floating[Any]], low: float, high: float) -> NDArray[np.float32]:
    """`numbers` with [low, high] moved to [0, 1] and clipped there."""
    return np.clip((numbers.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)
