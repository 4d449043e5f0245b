"""Networks in ONNX files: a graph of listed operations, no code."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...harness.errors import UsageError, told
from ...harness.types import Dataset, Float32
from ._answers import Ask
from ._class_names import Columns, columns_of_answers
from ._frames import Framed, frames_for

_NUMBERS = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
_TEXTS = "tensor(string)"


def by_onnx(path: Path, dataset: Dataset) -> Ask:
    """How a graph is asked: its first output that is a table of floats, one row a record.

    A list with a mapping from class to probability for each record, which converters of scikit-learn models write, is
    such a table, with the classes as names of its columns. A graph with one input gets the features. One with
    several, as converters make of a pipeline on named columns, gets the cells of the file's column in each, (n, 1).

    Raises:
        UsageError: ONNX Runtime is not installed, the file cannot be read, or inputs have no column.
    """
    try:
        onnxruntime = importlib.import_module("onnxruntime")  # may be absent, also where types are checked
    except ImportError as error:
        raise UsageError(f"{path}: needs ONNX Runtime ({error}): install the extra [onnx]") from error
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no common base
        raise UsageError(f"{path}: cannot be read ({told(error)})") from error

    def answer(given: dict[str, Any]) -> Any:
        for out in session.run(None, given):
            columns = columns_of_answers(out)
            table = np.asarray(out if columns is None else columns.table)
            if table.ndim == 2 and table.dtype.kind == "f":
                return table if columns is None else Columns(columns.names, table)
        raise UsageError(f"{path}: has no output that is a table of floats, one row a record")

    return _one_input(session, answer) if len(session.get_inputs()) == 1 else _columns(session, answer, path, dataset)


def _one_input(session: Any, answer: Callable[[dict[str, Any]], Any]) -> Ask:
    (only,) = session.get_inputs()

    def ask(x: Float32) -> Any:
        return answer({only.name: x.astype(np.float32, copy=False)})

    return ask


def _columns(session: Any, answer: Callable[[dict[str, Any]], Any], path: Path, dataset: Dataset) -> Ask:
    kinds = {given.name: given.type for given in session.get_inputs()}
    for name, kind in kinds.items():
        if kind not in (*_NUMBERS, _TEXTS):
            raise UsageError(f"{path}: input {name!r} is a {kind}: must be one of {', '.join((*_NUMBERS, _TEXTS))}")

    def ask(frame: Any) -> Any:
        return answer({name: _cells(frame[name], kind, path) for name, kind in kinds.items()})

    return Framed(ask, frames_for(tuple(kinds), dataset, path.name))


def _cells(column: Any, kind: str, path: Path) -> np.ndarray[Any, Any]:
    """A column of a pandas frame as an input of this kind takes it: (n, 1); nothing is translated."""
    fits = column.map(lambda cell: _fits(cell, kind)).to_numpy(dtype=np.bool_)
    if not fits.all():
        raise UsageError(f"{path}: input {column.name!r} is a {kind}, the file's column has {column[~fits].iloc[0]!r}")
    return np.asarray(column.to_numpy(_NUMBERS.get(kind, object)))[:, None]


def _fits(cell: Any, kind: str) -> bool:
    if kind == _TEXTS or not isinstance(cell, bool | int | float | np.number | np.bool_):
        return kind == _TEXTS and isinstance(cell, str)
    dtype = _NUMBERS[kind]
    return issubclass(dtype, np.floating) or bool(np.isfinite(cell) and np.asarray(cell).astype(dtype) == cell)
