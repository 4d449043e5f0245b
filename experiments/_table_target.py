"""The target of a table: labels that become classes, or numbers that are rounded to a public grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..harness.errors import UsageError
from ..harness.types import Bools, Float64, Ints
from ._table_encoding import codes

LEAST_VALUES, MOST_VALUES = 11, 1001
"""Values of a grid. With fewer, targets are rounded to a tenth of their range; more cost memory and tell nothing."""


@dataclass(frozen=True, eq=False)
class Target:
    """Targets of the rows that stay.

    Attributes:
        y: int64 (n,), 0 .. n_classes - 1.
        n_classes: classes, or values of the grid.
        names: of the classes, in order; empty for numbers.
        grid: float64 (n_classes,), for numbers.
    """

    y: Ints
    n_classes: int
    names: tuple[str, ...] = ()
    grid: Float64 | None = None


def class_target(
    targets: NDArray[np.str_], kept: Bools, declared: Sequence[str] | None, positive: str | None, where: str
) -> Target:
    """Labels as classes.

    Args:
        targets: labels of all rows, (rows,).
        kept: bool (rows,), which rows stay, at least one.
        declared: all classes in order; None for those found, sorted.
        positive: of two classes the one that becomes class 1.
        where: file and column, for errors.

    Raises:
        UsageError: one class only, no classes, or one that was not declared.
    """
    labels = targets[kept]
    found = sorted({str(label) for label in labels}, key=_order)
    classes = list(declared or found)
    if len(found) < 2:
        raise UsageError(f"{where}: every label is {found[0]!r}; at least two classes are needed")
    if len(found) > max(2, len(labels) / 2):
        raise UsageError(
            f"{where}: {len(found)} different labels in {len(labels)} records: must be classes; for a number set grid "
            "(tables only)"
        )
    if positive is not None:
        if len(classes) != 2 or positive not in classes:
            raise UsageError(f"{where}: positive={positive!r}: must be one of two classes, not {classes[:20]}")
        classes.sort(key=lambda label: label == positive)
    y = codes(labels, classes)
    if (y < 0).any():
        row = int(np.flatnonzero(kept)[(y < 0).argmax()])
        raise UsageError(
            f"{where}, row {row + 1}: {str(targets[row])!r} is none of the declared values ({', '.join(classes)})"
        )
    return Target(y, len(classes), tuple(classes))


def number_target(targets: NDArray[np.str_], kept: Bools, grid: Float64, where: str) -> Target:
    """Numbers as indices of the nearest values of `grid` (k,), ascending.

    A number outside the range is refused: cut to it, it would be another target than the owner's.

    Args:
        targets: cells of all rows, (rows,).
        kept: bool (rows,), which rows stay, at least one.
        grid: float64 (k,), ascending.
        where: file and column, for errors.

    Raises:
        UsageError: a cell that stays is no number or outside the range, or all are rounded to one value.
    """
    rows = np.flatnonzero(kept)
    numbers = np.array([_number(targets[row], f"{where}, row {row + 1}") for row in rows])
    outside = ~((numbers >= grid[0]) & (numbers <= grid[-1]))
    if outside.any():
        first = int(outside.argmax())
        raise UsageError(
            f"{where}, row {rows[first] + 1}: {numbers[first]:g} is outside the declared range "
            f"[{grid[0]:g}, {grid[-1]:g}], as are {int(outside.sum()) - 1} more"
        )
    y = nearest(numbers, grid)
    if len(np.unique(y)) < 2:
        raise UsageError(
            f"{where}: every number is rounded to {grid[y[0]]:g}: declare a narrower range or a finer grid"
        )
    return Target(y, len(grid), grid=grid)


def nearest(numbers: Float64, grid: Float64) -> Ints:
    """Index of the nearest value of an ascending `grid` (k,) for each of `numbers` (n,), the lower of two: int64."""
    return np.searchsorted((grid[1:] + grid[:-1]) / 2, numbers, side="left").astype(np.int64)


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"{where}: {str(text)!r} is no number; leave grid out for classes") from error


def _order(label: str) -> tuple[bool, float, str]:
    """Numbers by their value, before other texts by theirs."""
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label
