"""Networks in ONNX files: a graph of listed operations, no code."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...harness.errors import NotApplicable, UsageError, told
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
    several, as converters make of a pipeline on named columns, gets the cells of the file's column in each, (n, 1); so
    does one whose only input is one column with the name of the file's.

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

    return _columns(session, answer, path, dataset) if _by_column(session, dataset) else _one_input(session, answer)


def _by_column(session: Any, dataset: Dataset) -> bool:
    """Whether inputs are columns: there are several, or the only one is a single column of the data by its name."""
    inputs = session.get_inputs()
    if len(inputs) > 1 or dataset.columns is None:
        return len(inputs) > 1
    return inputs[0].name in dataset.columns.names and inputs[0].shape[1:] == [1]


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
        return answer({name: _cells(frame[name], kind) for name, kind in kinds.items()})

    frames = frames_for(tuple(kinds), dataset, path.name)
    try:
        for name, kind in kinds.items() if frames.taken else ():
            _cells(frames(dataset.x)[name], kind)  # all at once: a run shall not find an odd cell half-way
    except NotApplicable as error:
        raise UsageError(f"{path}: {error}") from error
    return Framed(ask, frames)


def _cells(column: Any, kind: str) -> np.ndarray[Any, Any]:
    """A column of a pandas frame as an input of this kind takes it: (n, 1); nothing is translated.

    Raises:
        NotApplicable: a cell is of another kind, as a number between two whole ones that an attack made.
    """
    fits = column.map(lambda cell: _fits(cell, kind)).to_numpy(dtype=np.bool_)
    if not fits.all():
        raise NotApplicable(f"input {column.name!r} is a {kind}, which {column[~fits].iloc[0]!r} is not")
    return np.asarray(column.to_numpy(_NUMBERS.get(kind, object)))[:, None]


def _fits(cell: Any, kind: str) -> bool:
    if kind == _TEXTS or not isinstance(cell, bool | int | float | np.number | np.bool_):
        return kind == _TEXTS and isinstance(cell, str)
    dtype = _NUMBERS[kind]
    return issubclass(dtype, np.floating) or bool(np.isfinite(cell) and np.asarray(cell).astype(dtype) == cell)
