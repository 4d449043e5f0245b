"""Columns of a CSV, Parquet or NPZ file, with errors that name file, column and record."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ...harness.errors import UsageError
from ...harness.types import Float64, Ints
from ._answers import told

SUFFIXES = (".csv", ".parquet", ".npz")


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of one file by name; those of an NPZ file may have more than one axis.

    Attributes:
        path: the file.
        columns: arrays by name.
    """

    path: Path
    columns: Mapping[str, NDArray[Any]]

    def column(self, name: str) -> NDArray[Any]:
        """One column as the file has it.

        Raises:
            UsageError: there is no such column; the nearest is named.
        """
        if name not in self.columns:
            nearest = difflib.get_close_matches(name, self.columns, n=1)
            hint = f", did you mean {nearest[0]!r}?" if nearest else f" (it has {', '.join(list(self.columns)[:8])})"
            raise UsageError(f"{self.path}: has no column {name!r}{hint}")
        return self.columns[name]

    def texts(self, name: str) -> list[str]:
        """One column as text (n,); what is missing is the empty text."""
        return ["" if _missing(value) else str(value).strip() for value in self.column(name).tolist()]

    def numbers(self, names: Sequence[str]) -> Float64:
        """Columns beside each other: float64 (n, len(names)).

        Raises:
            UsageError: no such column, or a value that is no finite number.
        """
        values = [_floats(self.column(name)) for name in names]
        for name, column in zip(names, values, strict=True):
            if not np.isfinite(column).all():
                bad = int(np.isfinite(column).argmin())
                found = self.column(name)[bad]
                raise UsageError(f"{self.path}: column {name!r} of record {bad} is {found!r}: must be a finite number")
        return np.column_stack(values)

    def labels(self, name: str, classes: Sequence[str] | None) -> Ints:
        """One column of labels: int64 (n,).

        Args:
            name: the column.
            classes: names of the classes in order; None where the labels are numbers from 0.

        Raises:
            UsageError: no such column, a number below 0 or no whole one, or a name that is no class.
        """
        if classes is None:
            numbers = self.numbers([name])[:, 0]
            wrong = (numbers < 0) | (numbers % 1 != 0)
            if wrong.any():
                bad = int(wrong.argmax())
                raise UsageError(
                    f"{self.path}: {name} of record {bad} is {numbers[bad]:g}: must be a whole number >= 0"
                )
            return numbers.astype(np.int64)
        texts, code = self.texts(name), {text: i for i, text in enumerate(classes)}
        for i, text in enumerate(texts):
            if text not in code:
                raise UsageError(f"{self.path}: {name} of record {i} is {text!r}: must be one of {', '.join(classes)}")
        return np.array([code[text] for text in texts], dtype=np.int64)


def read_table(path: Path, texts: Sequence[str]) -> Table:
    """Read a file.

    Args:
        path: ends in .csv, .parquet or .npz.
        texts: columns of a CSV file that are text even where they look like numbers.

    Raises:
        UsageError: another suffix, no such file, it cannot be read, or it holds no records.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: must end in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        columns = _arrays(path) if path.suffix == ".npz" else _frame(path, texts)
    except (OSError, ValueError, ImportError, BadZipFile) as error:  # pandas's and pyarrow's errors are ValueErrors
        raise UsageError(f"{path}: cannot be read ({told(error)})") from error
    if not columns or any(values.ndim == 0 or not len(values) for values in columns.values()):
        raise UsageError(f"{path}: holds no records")
    return Table(path, columns)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _frame(path: Path, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    import pandas as pd  # type: ignore[import-untyped]

    frame = pd.read_parquet(path) if path.suffix == ".parquet" else _csv(path, texts)
    return {str(name): frame[name].to_numpy() for name in frame.columns}


def _csv(path: Path, texts: Sequence[str]) -> Any:
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(
                path,
                dtype=dict.fromkeys(texts, str),
                na_filter=False,
                low_memory=False,
                float_precision="round_trip",  # the default changes last digits, and with them ties
                index_col=False,
            )
        except pd.errors.EmptyDataError:
            return pd.DataFrame()
        except pd.errors.ParserWarning as error:
            raise ValueError("its rows have more fields than its first line has names") from error


def _floats(column: NDArray[Any]) -> Float64:
    """float64 (n,), NaN where a value is no number."""
    if column.ndim == 1 and column.dtype.kind in "iufb":
        return column.astype(np.float64)
    import pandas as pd

    return np.asarray(pd.to_numeric(pd.Series(list(column)), errors="coerce"), dtype=np.float64)


def _missing(value: object) -> bool:
    return value is None or str(value) == "<NA>" or (isinstance(value, float) and np.isnan(value))
