"""Tables that a user brings: CSV, Parquet and NPZ files become named columns of texts and numbers.

Errors name the file, the column and the row. Rows are counted from 1, and a header is none.
"""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .types import Float64
from .yamlfile import did_you_mean

SUFFIXES = (".csv", ".parquet", ".npz")
MISSING = ("", "?")
"""Cells that say that a value is missing; nulls of Parquet and NaN do as well."""

MISSING_IN_CSV = (
    *MISSING, "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""What `pandas.read_csv` takes for missing as well: a model that is asked with the cells of a file gets NaN for it."""
_SHOWN = 20
_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True, eq=False)
class TableFile:
    """A file that was read.

    Attributes:
        source: the file, for errors.
        names: names of all its columns or arrays, in the order of the file.
        columns: those that were read, by name: (n,), or any shape in an NPZ file.
        gaps: texts that say that a value is missing.
    """

    source: Path
    names: tuple[str, ...]
    columns: Mapping[str, NDArray[Any]]
    gaps: tuple[str, ...] = MISSING

    @property
    def archive(self) -> bool:
        """Whether it is an NPZ file, whose arrays may have more than one axis."""
        return self.source.suffix.lower() == ".npz"

    def why_missing(self, name: str, row: int) -> str:
        """What errors add about a cell that is a text and yet missing; empty where no text stands there."""
        cell = self.columns[name][row]
        text = cell.strip() if isinstance(cell, str) else ""
        if text in MISSING or text not in self.gaps:
            return ""
        return f" ({text!r} is a gap in CSV, as for pandas; where it is a value, save the table as Parquet)"

    def at(self, name: str, row: int) -> str:
        """File, column and row, for errors; `row` is counted from 0 here, and from 1 in what is shown."""
        return f"{self.source}: column {name!r}, row {row + 1}"

    def require(self, name: str, field: str) -> None:
        """Refuse a name that is no column; `field` is where it was written."""
        if name not in self.names:
            more = ", ..." if len(self.names) > _SHOWN else ""
            raise UsageError(
                f"{self.source}: {field}: unknown column {name!r}{did_you_mean(name, self.names)} "
                f"(known: {', '.join(self.names[:_SHOWN])}{more})"
            )

    def same_rows(self, names: Sequence[str]) -> None:
        """Refuse arrays that have not as many rows as the first of `names` has."""
        rows = {name: len(self.columns[name]) for name in names}
        for name in names:
            if rows[name] != rows[names[0]]:
                raise UsageError(
                    f"{self.source}: array {name!r} has {rows[name]} rows, {names[0]!r} has {rows[names[0]]}"
                )

    def texts(self, name: str) -> NDArray[np.str_]:
        """A column as text without surrounding blanks, empty where missing; whole numbers have no decimal point.

        Raises:
            UsageError: an array has more than one axis.
        """
        import pandas as pd  # type: ignore[import-untyped]

        column, gaps = self._flat(name), frozenset(self.gaps)
        cells = zip(column.tolist(), pd.isna(column), strict=True)
        texts = ["" if absent else _text(cell) for cell, absent in cells]
        return np.array(["" if text in gaps else text for text in texts], dtype=np.str_)

    def numbers(self, name: str, most: float = _LARGEST, hint: str = "") -> Float64:
        """A column as numbers up to `most` in size: float64 (n,), NaN where missing.

        Raises:
            UsageError: a cell is neither missing nor such a number, which ends in `hint`; an array has more axes.
        """
        column = self._flat(name)
        if column.dtype.kind in "biuf":
            values = column.astype(np.float64)
            absent = np.isnan(values)
        else:
            texts = self.texts(name)
            values = np.array([_number(text) for text in texts], dtype=np.float64)
            absent = texts == ""
        bad = ~(np.abs(values) <= most) & ~absent
        if bad.any():
            row = int(bad.argmax())
            raise UsageError(f"{self.at(name, row)}: {_text(column[row])!r} is no finite number{hint}")
        return values

    def _flat(self, name: str) -> NDArray[Any]:
        column = self.columns[name]
        if column.ndim != 1:
            raise UsageError(f"{self.source}: array {name!r} has shape {column.shape}: must have one dimension")
        return column


def read(path: Path, text: Collection[str], arrays: Collection[str] = (), gaps: tuple[str, ...] = MISSING) -> TableFile:
    """Read a table by its suffix, one of `SUFFIXES`.

    Numbers are read to the last digit: the faster way of pandas makes ties of answers that are none.

    Args:
        path: the file.
        text: columns of labels, categories, ids and flags, whose cells are kept as they are written.
        arrays: further arrays of an NPZ file; those that neither names are not read.
        gaps: cells of CSV that say that a value is missing; in the other formats they are `MISSING`.

    Raises:
        UsageError: there is no such file, it is another format, or it has no rows.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        suffix = path.suffix.lower()
        table = _csv(path, text, gaps) if suffix == ".csv" else _READERS[suffix](path, text, arrays)
    except UsageError:
        raise
    except Exception as error:  # three libraries, each with errors of its own
        found = str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(f"{path}: not a table in {path.suffix} ({found})") from error
    if any(column.ndim == 0 or len(column) == 0 for column in table.columns.values()):
        raise UsageError(f"{path}: no rows")
    return table


def _csv(path: Path, text: Collection[str], gaps: tuple[str, ...]) -> TableFile:
    import pandas as pd

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
                na_values={name: list(gaps) for name in names if name not in text},
                skipinitialspace=True,
                encoding="utf-8-sig",
                low_memory=False,
                float_precision="round_trip",
            )
        except pd.errors.ParserWarning as error:
            raise UsageError(f"{path}: a row has more cells than the header, which has {len(names)}") from error
    return replace(_of_frame(path, frame), gaps=gaps)


def _parquet(path: Path, _: Collection[str], __: Collection[str]) -> TableFile:
    import pyarrow.parquet  # type: ignore[import-untyped]

    frame = pyarrow.parquet.read_table(path).to_pandas(ignore_metadata=True)
    # pandas keeps its own numbers of rows beside the columns when some were left out; they are no feature
    return _of_frame(path, frame[[name for name in frame.columns if not str(name).startswith("__index_level_")]])


def _of_frame(path: Path, frame: Any) -> TableFile:
    arrays = {
        str(name): column.to_numpy() if column.dtype.kind in "biuf" else column.to_numpy(dtype=object)
        for name, column in frame.items()
    }
    return TableFile(path, tuple(arrays), arrays)


def _npz(path: Path, text: Collection[str], more: Collection[str]) -> TableFile:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files if name in text or name in more}
        return TableFile(path, tuple(archive.files), arrays)


_READERS = {".parquet": _parquet, ".npz": _npz}


def _text(cell: object) -> str:
    if isinstance(cell, float) and abs(cell) < 2**53 and cell.is_integer():
        return str(int(cell))  # a column of whole numbers with gaps is one of floats
    return str(cell).strip()


def _number(text: str) -> float:
    if not text.isascii() or "_" in text:  # Python reads more than pandas would: 1_000, digits of any script
        return float("nan")
    try:
        return float(text)
    except ValueError:
        return float("nan")
