"""Cells of a table as features in [0, 1], by ranges and categories that are declared and not measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..harness.columns import scaled
from ..harness.types import Float32, Float64, Ints


@dataclass(frozen=True)
class Number:
    """A numeric column with its declared range.

    Attributes:
        low: becomes 0, as everything below it.
        high: becomes 1, as everything above it.
        scale: `log` for amounts that differ by orders of magnitude: log(1 + value), of `low` and `high` too.
    """

    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"


@dataclass(frozen=True)
class Category:
    """A column of categories with all its declared values, one feature each in this order."""

    values: tuple[str, ...]


Codebook = dict[int, Number | Category]
"""What stands in each used column of a published table, by the column's number."""


def encoded(cells: NDArray[np.str_], codebook: Codebook) -> Float32:
    """Features of the used columns of `cells` (n, columns), in the codebook's order: float32 (n, width) in [0, 1]."""
    blocks = []
    for column, meaning in codebook.items():
        if isinstance(meaning, Category):
            blocks.append(indicators(codes(cells[:, column], meaning.values), len(meaning.values)))
        else:
            blocks.append(_scaled_as(cells[:, column].astype(np.float64), meaning)[:, None])
    return np.hstack(blocks)


def codes(texts: Sequence[str] | NDArray[np.str_], values: Sequence[str]) -> Ints:
    """Position of each text in `values`, -1 for one that is not there: int64 (n,)."""
    position = {value: code for code, value in enumerate(values)}
    return np.array([position.get(str(text), -1) for text in texts], dtype=np.int64)


def indicators(code: Ints, width: int) -> Float32:
    """One-hot rows (n, width) of codes 0 .. width - 1; a code of -1 gives a row of zeros."""
    return np.asarray(code[:, None] == np.arange(width), dtype=np.float32)


def _scaled_as(numbers: Float64, meaning: Number) -> Float32:
    if meaning.scale == "log":
        return scaled(np.log1p(numbers), float(np.log1p(meaning.low)), float(np.log1p(meaning.high)))
    return scaled(numbers, meaning.low, meaning.high)
