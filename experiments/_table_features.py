"""Features of a table: declared columns are scaled or one-hot, the others are left to each model to prepare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..harness.errors import UsageError
from ..harness.types import Bools, ColumnsToFit, Float32, Float64, Ints
from ._table_encoding import codes, indicators, scaled
from ._table_files import Columns

Missing = Literal["refuse", "drop", "category"]
UNKNOWN = "?"
"""The category of a missing cell, and the group of a missing sensitive one."""


@dataclass(frozen=True)
class Schema:
    """What is declared of the columns that are features.

    Attributes:
        features: their names in order.
        categorical: those of categories without declared values.
        ranges: declared ranges of numeric columns.
        values: declared categories.
        missing: how missing cells are treated.
    """

    features: tuple[str, ...]
    categorical: tuple[str, ...]
    ranges: Mapping[str, tuple[float, float]]
    values: Mapping[str, tuple[str, ...]]
    missing: Missing


@dataclass(frozen=True, eq=False)
class Features:
    """Features of the rows that stay.

    Attributes:
        x: float32 (n, *shape); columns that are not fitted lie in [0, 1].
        to_fit: columns that each model prepares; None where there are none.
        kept: bool (rows of the file,), which rows stay: all but those dropped for missing cells.
    """

    x: Float32
    to_fit: ColumnsToFit | None
    kept: Bools


def features(columns: Columns, schema: Schema, kept: Bools) -> Features:
    """Make the features of a table.

    Args:
        columns: the table.
        schema: what is declared.
        kept: bool (rows,), rows that stay, before missing features are looked at.

    Raises:
        UsageError: a cell is missing, is no number or none of the declared categories, or the declarations do not
            fit the table.
    """
    if columns.matrix is not None:
        return _of_matrix(columns, columns.matrix, schema, kept)
    blocks: list[Float32] = []
    standardise, encode, width = [], [], 0
    for name in schema.features:
        if name in schema.values or name in schema.categorical:
            texts = columns.texts(name)
            kept = kept & _present(columns, name, texts == "", schema)
            block = _categories(columns, name, texts, schema)
            encode += [] if name in schema.values else [width]
        else:
            numbers = columns.numbers(name)
            kept = kept & _present(columns, name, np.isnan(numbers), schema)
            block = _numeric(numbers, schema.ranges.get(name))[:, None]
            standardise += [] if name in schema.ranges else [width]
        blocks.append(block)
        width += block.shape[1]
    to_fit = ColumnsToFit(tuple(standardise), tuple(encode)) if standardise or encode else None
    return Features(np.hstack(blocks)[kept], to_fit, kept)


def _of_matrix(columns: Columns, matrix: NDArray[np.generic], schema: Schema, kept: Bools) -> Features:
    """Features of an NPZ file: one array of numbers with one range, or flat and prepared by each model."""
    name, where = schema.features[0], f"{columns.source}: array {schema.features[0]!r}"
    if schema.categorical or name in schema.values:
        raise UsageError(f"{where} holds numbers: an NPZ file has no categorical features")
    if matrix.dtype.kind not in "biuf":
        raise UsageError(f"{where} has type {matrix.dtype}: must hold numbers")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinity
        numbers: Float32 = matrix.astype(np.float32)
    finite = np.isfinite(numbers).reshape(len(numbers), -1).all(axis=1)
    kept = kept & finite if schema.missing == "drop" else kept
    if not finite[kept].all():
        raise UsageError(f"{where}, row {int((kept & ~finite).argmax()) + 1} holds NaN or infinity: must be finite")
    numbers = numbers[kept]
    if name in schema.ranges:
        return Features(scaled(numbers, *schema.ranges[name]), None, kept)
    if numbers.ndim > 2:
        raise UsageError(
            f"{where} has shape {matrix.shape}: pictures need a declared range, ranges: {{{name}: [0, 255]}}"
        )
    return Features(numbers, ColumnsToFit(standardise=tuple(range(numbers.shape[1]))), kept)


def _present(columns: Columns, name: str, absent: Bools, schema: Schema) -> Bools:
    """Rows that stay as far as this column goes."""
    categories = name in schema.values or name in schema.categorical
    if schema.missing == "drop":
        return ~absent
    if absent.any() and not (schema.missing == "category" and categories):
        allowed = "drop or category" if categories else "drop"
        raise UsageError(
            f"{columns.source}: column {name!r}, row {int(absent.argmax()) + 1}: the cell is missing, as are "
            f"{int(absent.sum()) - 1} more in this column; fill them in, or set missing to {allowed}"
        )
    return np.ones(len(absent), dtype=np.bool_)


def _numeric(numbers: Float64, declared: tuple[float, float] | None) -> Float32:
    numbers = np.nan_to_num(numbers)  # rows with missing cells do not stay
    return numbers.astype(np.float32) if declared is None else scaled(numbers, *declared)


def _categories(columns: Columns, name: str, texts: NDArray[np.str_], schema: Schema) -> Float32:
    """One-hot over the declared values, (n, values), or codes of all values, (n, 1)."""
    as_category = schema.missing == "category"
    texts = np.where(texts == "", UNKNOWN, texts) if as_category else texts
    if name not in schema.values:
        # A code is but a name: each model makes features of those that its own members have.
        return np.unique(texts, return_inverse=True)[1].reshape(-1, 1).astype(np.float32)
    values = schema.values[name]
    if as_category and UNKNOWN not in values:
        values = (*values, UNKNOWN)
    code = codes(texts, values)
    _check_declared(columns, name, texts, code, values)
    return indicators(code, len(values))


def _check_declared(columns: Columns, name: str, texts: NDArray[np.str_], code: Ints, values: tuple[str, ...]) -> None:
    unknown = (code < 0) & (texts != "")
    if unknown.any():
        row = int(unknown.argmax())
        raise UsageError(
            f"{columns.source}: column {name!r}, row {row + 1}: {str(texts[row])!r} is none of the declared values "
            f"({', '.join(values)})"
        )
