"""Reading a table: CSV, Parquet or NPZ become named columns of texts and numbers."""

from __future__ import annotations

import csv
import warnings
import zipfile
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness.errors import UsageError
from ..harness.types import Float64
from ..harness.yamlfile import did_you_mean

SUFFIXES = (".csv", ".parquet", ".npz")
MISSING = ("", "?")
"""Cells that say that a value is missing; nulls of Parquet do as well."""
_SHOWN = 20
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Columns:
    """A table that was read.

    Attributes:
        source: the file, for errors.
        frame: a pandas frame, one column a name.
        matrix: the features of an NPZ file, (n, *shape); None for CSV and Parquet, whose features are columns.
    """

    source: Path
    frame: Any
    matrix: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def names(self) -> list[str]:
        """Names of the columns in the order of the file."""
        return [str(name) for name in self.frame.columns]

    def require(self, name: str, field: str) -> None:
        """Refuse a name that is no column; `field` is where it was written."""
        known = self.names
        if name not in known:
            more = ", ..." if len(known) > _SHOWN else ""
            raise UsageError(
                f"{self.source}: {field}: unknown column {name!r}{did_you_mean(name, known)} "
                f"(known: {', '.join(known[:_SHOWN])}{more})"
            )

    def texts(self, name: str) -> NDArray[np.str_]:
        """A column as text without surrounding blanks, empty where missing; whole numbers have no decimal point."""
        column = self.frame[name]
        cells = zip(column.tolist(), column.isna(), strict=True)
        return np.array(["" if absent else _text(cell) for cell, absent in cells], dtype=np.str_)

    def numbers(self, name: str) -> Float64:
        """A column as numbers, NaN where missing.

        Raises:
            UsageError: a cell is neither missing nor a finite number.
        """
        column = self.frame[name]
        if column.dtype.kind in "biuf":
            values = np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
            bad = np.abs(values) > _LARGEST
        else:
            texts = self.texts(name)
            values = np.array([_number(text) for text in texts], dtype=np.float64)
            bad = ~(np.abs(values) <= _LARGEST) & (texts != "")
        if bad.any():
            row = int(bad.argmax())
            raise UsageError(
                f"{self.source}: column {name!r}, row {row + 1}: {_text(column.iloc[row])!r} is no finite number (a "
                f"column of categories must be named in `categorical` or `values`)"
            )
        return values


def read(path: Path, text: Collection[str], matrix: str) -> Columns:
    """Read a table by its suffix.

    Args:
        path: the file.
        text: columns of labels, categories, ids and flags, whose cells are kept as they are written.
        matrix: name of the array of features, in an NPZ file.

    Raises:
        UsageError: there is no such file, it is another format or has no rows.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        columns = _READERS[path.suffix.lower()](path, text, matrix)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: not a table in {path.suffix} ({str(error).partition(chr(10))[0]})") from error
    if len(columns) == 0:
        raise UsageError(f"{path}: no rows")
    return columns


def _csv(path: Path, text: Collection[str], _: str) -> Columns:
    import pandas as pd  # type: ignore[import-untyped]

    with path.open(newline="", encoding="utf-8-sig") as file:
        header = next((row for row in csv.reader(file, skipinitialspace=True) if row), None)
    if header is None:
        raise UsageError(f"{path}: the file is empty")
    names = [name.strip() for name in header]
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise UsageError(f"{path}: {times} columns are named {name!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # cells beyond the header would be cut off
        try:
            frame = pd.read_csv(
                path,
                header=0,
                names=names,
                index_col=False,
                dtype={name: str for name in names if name in text},
                keep_default_na=False,
                na_values=list(MISSING),
                skipinitialspace=True,
                encoding="utf-8-sig",
                low_memory=False,
            )
        except pd.errors.ParserWarning as error:
            raise UsageError(f"{path}: a row has more cells than the header, which has {len(names)}") from error
    return Columns(path, frame)


def _parquet(path: Path, _: Collection[str], __: str) -> Columns:
    import pyarrow.parquet  # type: ignore[import-untyped]

    return Columns(path, pyarrow.parquet.read_table(path).to_pandas(ignore_metadata=True))


def _npz(path: Path, text: Collection[str], matrix: str) -> Columns:
    import pandas as pd

    with np.load(path, allow_pickle=False) as archive:
        if matrix not in archive.files:
            raise UsageError(f"{path}: no array {matrix!r} of features (known: {', '.join(archive.files)})")
        features = archive[matrix]
        arrays = {name: archive[name] for name in archive.files if name in text}
    for name, array in {matrix: features, **arrays}.items():
        wanted = "at least two dimensions" if name == matrix else "one dimension"
        if (array.ndim < 2) if name == matrix else (array.ndim != 1):
            raise UsageError(f"{path}: array {name!r} has shape {array.shape}: must have {wanted}")
        if len(array) != len(features):
            raise UsageError(f"{path}: array {name!r} has {len(array)} rows, {matrix!r} has {len(features)}")
    return Columns(path, pd.DataFrame(arrays, index=range(len(features))), features)


_READERS = {".csv": _csv, ".parquet": _parquet, ".npz": _npz}


def _text(cell: object) -> str:
    if isinstance(cell, float) and abs(cell) < 2**53 and cell.is_integer():
        return str(int(cell))  # a column of whole numbers with gaps is one of floats
    text = str(cell).strip()
    return "" if text in MISSING else text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
