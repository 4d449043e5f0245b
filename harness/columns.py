"""Where the features of a record came from: the columns of the user's file, and the way back to its cells.

A model that somebody else trained on those columns is asked with cells, such as `clerk`, not with the codes, indicators
and scaled numbers that records hold here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import NotApplicable, UsageError

Cell = str | int | float | bool

_RESOLVED = 2.0**-24
"""Largest error of a float32 in [0, 1]."""

_DIGITS = 18
"""Decimals that are tried for a number, counted from the size of its range."""


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers, which is one feature.

    Attributes:
        name: of the column.
        range: declared smallest and largest value, which are 0 and 1 among the features; None: numbers as they are.
        whole: whether the file holds whole numbers only.
        clipped: whether the range cut off numbers of the file.
    """

    name: str
    range: tuple[float, float] | None = None
    whole: bool = False
    clipped: bool = False

    @property
    def width(self) -> int:
        """Number of features."""
        return 1

    def features(self, numbers: NDArray[np.float64]) -> NDArray[np.float32]:
        """Features of numbers (n,): float32 (n, 1)."""
        made = numbers.astype(np.float32) if self.range is None else scaled(numbers, *self.range)
        return made[:, None]

    def cells(self, features: NDArray[np.float32]) -> NDArray[Any]:
        """Numbers of features (n, 1): int64 (n,) in a column of whole numbers, else float64 (n,).

        Whole numbers are exact up to 16,777,216, and in a range that is no wider. Others are the shortest decimals that
        become these very features.

        Raises:
            UsageError: the range cut off numbers of the file.
            NotApplicable: a number is not whole where the column's are.
        """
        if self.clipped:
            raise UsageError(
                f"column {self.name!r}: cells of the file lie outside its declared range {list(self.range or ())} and "
                "were cut to it, so the model would be asked about other records: widen the range"
            )
        return self._whole(features[:, 0]) if self.whole else self._decimal(features[:, 0])

    def _whole(self, feature: NDArray[np.float32]) -> NDArray[np.int64]:
        low, high = self.range or (0.0, 0.0)
        numbers = feature.astype(np.float64) if self.range is None else _unscaled(feature, low, high)
        nearest = np.rint(numbers)
        off = np.abs(numbers - nearest) > (high - low) * _RESOLVED
        if off.any():
            raise NotApplicable(f"column {self.name!r}: {numbers[off][0]:g} is no whole number, as its cells are")
        return nearest.astype(np.int64)

    def _decimal(self, feature: NDArray[np.float32]) -> NDArray[np.float64]:
        if self.range is None:
            return feature.astype(np.str_).astype(np.float64)  # numpy writes the shortest text of a float32
        low, high = self.range
        exact = _unscaled(feature, low, high)
        found, left = exact.copy(), np.arange(len(exact))
        first = -math.floor(math.log10(high - low))
        for digits in range(first, first + _DIGITS):
            rounded = np.round(exact[left], digits)
            same = (rounded >= low) & (rounded <= high) & (scaled(rounded, low, high) == feature[left])
            found[left[same]] = rounded[same]
            left = left[~same]
            if not len(left):
                break
        return found


@dataclass(frozen=True)
class CategoryColumn:
    """A column of categories, which is one feature of codes 0, 1, ... or one indicator a category.

    Attributes:
        name: of the column.
        values: its categories by code, as cells of the file.
        coded: whether it is one feature of codes.
    """

    name: str
    values: tuple[Cell, ...]
    coded: bool = False

    @property
    def width(self) -> int:
        """Number of features."""
        return 1 if self.coded else len(self.values)

    def cells(self, features: NDArray[np.float32]) -> NDArray[Any]:
        """Categories of features (n, width): (n,), of the type that `values` have.

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
        return np.array(self.values)[code.astype(np.int64)]


@dataclass(frozen=True)
class RecordColumns:
    """The columns that the features of a flat record came from, in the order of the features.

    Attributes:
        columns: each column.
    """

    columns: tuple[NumberColumn | CategoryColumn, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def width(self) -> int:
        """Number of features."""
        return sum(column.width for column in self.columns)

    def cells(self, x: NDArray[np.float32], names: Sequence[str] | None = None) -> Mapping[str, NDArray[Any]]:
        """Cells of records, as the file has them.

        A missing cell that became a category of its own is `?`.

        Args:
            x: float32 (n, width).
            names: the columns that are wanted; None: all.

        Returns:
            For each wanted column an array (n,): texts, int64, float64 or bool.

        Raises:
            UsageError: a declared range cut off cells of the file in a wanted column.
            NotApplicable: a record stands for no cells, or has another number of features.
        """
        if x.ndim != 2 or x.shape[1] != self.width:
            raise NotApplicable(f"records of shape {x.shape[1:]} are none of a table with {self.width} features")
        ends = np.cumsum([column.width for column in self.columns])
        blocks = zip(self.columns, np.split(x, ends[:-1], axis=1), strict=True)
        return {column.name: column.cells(block) for column, block in blocks if names is None or column.name in names}


def scaled(numbers: NDArray[np.floating[Any]], low: float, high: float) -> NDArray[np.float32]:
    """`numbers` with [low, high] moved to [0, 1] and clipped there."""
    return np.clip((numbers.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)


def _unscaled(feature: NDArray[np.float32], low: float, high: float) -> NDArray[np.float64]:
    return np.asarray(low + feature.astype(np.float64) * (high - low))
