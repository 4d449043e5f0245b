"""Networks in ONNX files: a graph of listed operations, no code."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from ...harness.errors import UsageError, told
from ...harness.types import Float32
from ._answers import Ask


def by_onnx(path: Path) -> Ask:
    """How a graph is asked: its first output that is a table of floats, one row a record.

    A list with a mapping from class to probability for each record, which converters of scikit-learn models write, is
    such a table; its columns are the classes in their order.

    Raises:
        UsageError: ONNX Runtime is not installed, or the file cannot be read.
    """
    try:
        onnxruntime = importlib.import_module("onnxruntime")  # may be absent, also where types are checked
    except ImportError as error:
        raise UsageError(f"{path}: needs ONNX Runtime ({error}): install the extra [onnx]") from error
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no common base
        raise UsageError(f"{path}: cannot be read ({told(error)})") from error
    (first, *others) = [given.name for given in session.get_inputs()]
    if others:
        raise UsageError(f"{path}: has inputs {', '.join((first, *others))}, must have one")

    def ask(x: Float32) -> Any:
        tables = [_table(out) for out in session.run(None, {first: x.astype(np.float32, copy=False)})]
        floats = [table for table in tables if table.ndim == 2 and table.dtype.kind == "f"]
        if not floats:
            raise UsageError(f"{path}: has no output that is a table of floats, one row a record")
        return floats[0]

    return ask


def _table(out: Any) -> np.ndarray[Any, Any]:
    if isinstance(out, list) and all(isinstance(row, dict) for row in out):
        out = [[row[name] for name in sorted(row)] for row in out]
    return np.asarray(out)
