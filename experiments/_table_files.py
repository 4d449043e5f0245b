"""A table file whose features are columns or, in an NPZ file, one array."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness import tablefile
from ..harness.errors import UsageError
from ..harness.types import Float64

_LARGEST = float(np.finfo(np.float32).max)
"""What a feature can hold."""
_HINT = " (a column of categories must be named in `categorical` or `values`)"


@dataclass(frozen=True, eq=False)
class Columns(tablefile.TableFile):
    """A table that was read.

    Attributes:
        matrix: the features of an NPZ file, (n, *shape); None for CSV and Parquet, whose features are columns.
    """

    matrix: NDArray[Any] | None = None

    def numbers(self, name: str, most: float = _LARGEST, hint: str = _HINT) -> Float64:
        """A column as numbers that float32 can hold, NaN where missing.

        Raises:
            UsageError: a cell is neither missing nor such a number.
        """
        return super().numbers(name, most, hint)


def cells_of(table: Columns) -> Any:
    """A pandas frame of the file as `pandas.read_csv` or `read_parquet` gives it to who asks for nothing special.

    Where a comma is followed by a blank and a quoted comma, that fails; then blanks after commas are passed over.

    Raises:
        UsageError: pandas sees other rows or columns.
    """
    import pandas as pd  # type: ignore[import-untyped]

    if table.source.suffix.lower() == ".parquet":
        frames = [pd.read_parquet(table.source)]
        frames = [frame if frame.index.names == [None] else frame.reset_index() for frame in frames]
    else:
        frames = [_csv_frame(table.source), _csv_frame(table.source, skipinitialspace=True)]
    rows = len(next(iter(table.columns.values())))
    for frame in frames:
        frame.columns = [str(name).strip() for name in frame.columns]
        if tuple(frame.columns) == table.names and len(frame) == rows:
            return frame
    raise UsageError(f"{table.source}: pandas reads other rows or columns than the {rows} rows of its header's columns")


def _csv_frame(path: Path, **options: bool) -> Any:
    import pandas as pd

    try:
        return pd.read_csv(path, low_memory=False, **options)  # read in parts, a column may have two types
    except ValueError:  # a row with more cells than the header
        return pd.DataFrame()


def read(path: Path, text: Collection[str], matrix: str) -> Columns:
    """Read a table by its suffix.

    Args:
        path: the file.
        text: columns of labels, categories, ids and flags, whose cells are kept as they are written.
        matrix: name of the array of features, in an NPZ file.

    Raises:
        UsageError: there is no such file, it is another format or has no rows; an NPZ file without features, or with
            arrays of other lengths.
    """
    table = tablefile.read(path, text, (matrix,), tablefile.MISSING_IN_CSV)
    if not table.archive:
        return Columns(path, table.names, table.columns, table.gaps)
    if matrix not in table.names:
        raise UsageError(f"{path}: no array {matrix!r} of features (known: {', '.join(table.names)})")
    features = table.columns[matrix]
    if features.ndim < 2:
        raise UsageError(f"{path}: array {matrix!r} has shape {features.shape}: must have at least two dimensions")
    table.same_rows((matrix, *table.columns))
    return Columns(path, table.names, table.columns, table.gaps, features)
