"""Features of a table: declared columns are scaled or one-hot, the others are left to each model to prepare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..harness.columns import CategoryColumn, NumberColumn, RecordColumns, scaled
from ..harness.errors import UsageError
from ..harness.table_columns import UNKNOWN
from ..harness.types import Bools, ColumnsToFit, Float32, Float64, Ints
from ._table_encoding import codes, indicators
from ._table_files import Columns, cells_of

Missing = Literal["refuse", "drop", "category"]


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
        columns: the columns that features came from; None for an NPZ file, which has none.
    """

    x: Float32
    to_fit: ColumnsToFit | None
    kept: Bools
    columns: RecordColumns | None = None


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
    numbers: dict[str, Float64] = {}
    texts: dict[str, NDArray[np.str_]] = {}
    for name in schema.features:
        if name in schema.values or name in schema.categorical:
            texts[name] = columns.texts(name)
            kept = kept & _present(columns, name, texts[name] == "", schema)
        else:
            numbers[name] = columns.numbers(name)
            kept = kept & _present(columns, name, np.isnan(numbers[name]), schema)
    frame = cells_of(columns)[list(schema.features)]
    made: list[NumberColumn | CategoryColumn] = []
    blocks: list[Float32] = []
    for name in schema.features:
        if name in numbers:
            number = NumberColumn(name, schema.ranges.get(name))
            made.append(number)
            blocks.append(number.features(numbers[name]))
        else:
            category, block = _categories(columns, name, (texts[name], frame[name]), schema)
            made.append(category)
            blocks.append(block)
    x = np.hstack(blocks)[kept]
    return Features(x, _to_fit(made), kept, RecordColumns(tuple(made), x, frame[kept].reset_index(drop=True)))


def _to_fit(made: Sequence[NumberColumn | CategoryColumn]) -> ColumnsToFit | None:
    """Features of columns without a declared range or values; None where there are none."""
    starts = np.cumsum([0, *(column.width for column in made)]).tolist()
    placed = list(zip(made, starts, strict=False))
    standardise = tuple(at for column, at in placed if isinstance(column, NumberColumn) and column.range is None)
    encode = tuple(at for column, at in placed if isinstance(column, CategoryColumn) and column.coded)
    return ColumnsToFit(standardise, encode) if standardise or encode else None


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
        allowed, row = "drop or category" if categories else "drop", int(absent.argmax())
        raise UsageError(
            f"{columns.at(name, row)}: the cell is missing, as are {int(absent.sum()) - 1} more in this column; fill "
            f"them in, or set missing to {allowed}{columns.why_missing(name, row)}"
        )
    return np.ones(len(absent), dtype=np.bool_)


def _categories(
    columns: Columns, name: str, read: tuple[NDArray[np.str_], Any], schema: Schema
) -> tuple[CategoryColumn, Float32]:
    """A column of categories and its features: one-hot over the declared values, (n, values), or codes of all, (n, 1).

    Args:
        columns: the table.
        name: the column.
        read: its cells in all rows, (n,), as texts and as pandas gives them.
        schema: what is declared.
    """
    texts, cells = read
    as_category = schema.missing == "category"
    texts = np.where(texts == "", UNKNOWN, texts) if as_category else texts
    if name not in schema.values:
        # A code is but a name: each model makes features of those that its own members have.
        found, code = np.unique(texts, return_inverse=True)
        values = _as_cells(tuple(found.tolist()), code, cells)
        return CategoryColumn(name, values, coded=True), code.reshape(-1, 1).astype(np.float32)
    declared = schema.values[name]
    if as_category and UNKNOWN not in declared:
        declared = (*declared, UNKNOWN)
    code = codes(texts, declared)
    _check_declared(columns, name, texts, code, declared)
    return CategoryColumn(name, _as_cells(declared, code, cells)), indicators(code, len(declared))


def _as_cells(values: tuple[str, ...], code: Ints, cells: Any) -> tuple[Any, ...]:
    """Categories as pandas gives them; those that no row has as they are written."""
    found, rows = np.unique(code, return_index=True)
    seen = {int(one): cells.iloc[int(row)] for one, row in zip(found, rows, strict=True)}
    return tuple(seen.get(one, value) for one, value in enumerate(values))


def _check_declared(columns: Columns, name: str, texts: NDArray[np.str_], code: Ints, values: tuple[str, ...]) -> None:
    unknown = (code < 0) & (texts != "")
    if unknown.any():
        row = int(unknown.argmax())
        raise UsageError(
            f"{columns.source}: column {name!r}, row {row + 1}: {str(texts[row])!r} is none of the declared values "
            f"({', '.join(values)})"
        )
