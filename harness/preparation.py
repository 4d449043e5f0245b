"""Columns prepared by a model's own members: means, deviations and categories that no other record can touch.

Statistics of all records would leak: the inputs of a model would depend on people who are no members of it, and who
is a member could be told from them. So each model fits and keeps its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import UsageError
from .types import ColumnsToFit, Float32, Ints

LIMIT = 10.0
"""Standardised values are clipped to so many deviations, so that prepared records have bounds that no record sets."""


@dataclass(frozen=True)
class Prepared:
    """How one model prepares records: fitted once on its members, then the same for every record.

    A prepared record has the raw columns that are not encoded, in their order, then for each encoded column one
    indicator a category.

    Attributes:
        width: columns of a raw record.
        raw_bounds: smallest and largest value of the columns that are used as they are.
        means: of the standardised columns, by column.
        deviations: the same columns' standard deviations; 1 where the members do not differ.
        categories: codes that the members have, increasing, by encoded column.
    """

    width: int
    raw_bounds: tuple[float, float]
    means: Mapping[int, float] = field(default_factory=dict)
    deviations: Mapping[int, float] = field(default_factory=dict)
    categories: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int]:
        """Shape of a prepared record."""
        return (self.width - len(self.categories) + sum(len(codes) for codes in self.categories.values()),)

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value that a prepared feature may take."""
        low, high = self.raw_bounds
        if self.means:
            low, high = min(low, -LIMIT), max(high, LIMIT)
        if self.categories:
            low, high = min(low, 0.0), max(high, 1.0)
        return low, high

    def apply(self, x: Float32) -> Float32:
        """Prepare raw records (n, width): float32 (n, *shape). A category that no member has gives zeros only.

        Raises:
            UsageError: the records have another shape.
        """
        if x.ndim != 2 or x.shape[1] != self.width:
            raise UsageError(f"records of shape {x.shape[1:]}: this model prepares records of shape ({self.width},)")
        kept = np.setdiff1d(np.arange(self.width), list(self.categories))
        prepared = x.copy()
        if self.means:
            columns = list(self.means)
            moved = x[:, columns] - np.array(list(self.means.values()))
            moved /= np.array([self.deviations[column] for column in columns])
            prepared[:, columns] = np.clip(moved, -LIMIT, LIMIT)
        blocks = [x[:, [column]] == np.array(codes) for column, codes in self.categories.items()]
        return np.hstack([prepared[:, kept], *blocks]).astype(np.float32, copy=False)

    def as_json(self) -> dict[str, Any]:
        """Values that JSON can hold, exactly."""
        return {
            "width": self.width,
            "raw_bounds": list(self.raw_bounds),
            "means": {str(column): mean for column, mean in self.means.items()},
            "deviations": {str(column): deviation for column, deviation in self.deviations.items()},
            "categories": {str(column): list(codes) for column, codes in self.categories.items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Prepared:
        """What `as_json` gave, as it comes back from JSON."""
        low, high = values["raw_bounds"]
        return cls(
            width=values["width"],
            raw_bounds=(low, high),
            means={int(column): mean for column, mean in values["means"].items()},
            deviations={int(column): deviation for column, deviation in values["deviations"].items()},
            categories={int(column): tuple(codes) for column, codes in values["categories"].items()},
        )


def fit(columns: ColumnsToFit, x: Float32, rows: Ints, bounds: tuple[float, float]) -> Prepared:
    """Fit the preparation of one model on its members.

    Args:
        columns: which columns to standardise and to encode.
        x: float32 (n, width), all records.
        rows: int64 (m,), the model's members, at least one. No other row is read.
        bounds: smallest and largest value of the columns that are used as they are.

    Raises:
        UsageError: no members, records that are not flat, or a number that is no column.
    """
    if len(rows) == 0:
        raise UsageError("no members to fit the columns on")
    if x.ndim != 2:
        raise UsageError(f"records of shape {x.shape[1:]}: only flat records have columns to fit")
    fitted = (*columns.standardise, *columns.encode)
    if not all(0 <= column < x.shape[1] for column in fitted):
        raise UsageError(f"columns to fit {fitted}: must lie in 0..{x.shape[1] - 1}")
    numbers = x[np.ix_(rows, np.array(columns.standardise, dtype=np.int64))].astype(np.float64)
    means, deviations = numbers.mean(axis=0), numbers.std(axis=0)
    deviations[(numbers == numbers[0]).all(axis=0)] = 1.0  # rounding may leave equal values a tiny deviation
    return Prepared(
        width=x.shape[1],
        raw_bounds=bounds,
        means=dict(zip(columns.standardise, means.tolist(), strict=True)),
        deviations=dict(zip(columns.standardise, deviations.tolist(), strict=True)),
        categories={column: tuple(np.unique(x[rows, column]).astype(np.int64).tolist()) for column in columns.encode},
    )
