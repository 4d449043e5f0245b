"""Any training code: a function of the user's that trains a classifier and returns how to ask it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn

import numpy as np

from ..harness.checks import one_of
from ..harness.errors import NotApplicable, UsageError
from ..harness.types import Float32, Float64, Ints, TrainingData
from ..harness.user_code import UserFunction
from ._user import called, one_line
from .released._frames import all_cells

Given = Callable[[Float32], Any]
"""Makes what a user's function gets of records (n, *shape)."""

_NOTE = "models of a user's training function are not kept; their answers are"
_FILE = "NOTE.txt"
_CLIP = 1e-7
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class PythonTraining:
    """A classifier that the user's own code trains, with whatever library.

    The model cannot be saved without pickle, so it lives as long as the run; what a run keeps are its answers.

    Attributes:
        train: `train(x, y, n_classes, seed)` gets records and int64 labels (n,), its own copies, and returns a callable
            from records to probabilities (m, n_classes), or an object with `predict_proba` that does the same. All its
            randomness has to come from `seed`.
        records: what records are: `array`, float32 (n, *shape), or `frame`, a pandas data frame with the cells of the
            file in the columns that are features; of a CSV or Parquet table only. Then nothing is prepared here: means
            and categories of the members are the function's to find.
    """

    train: UserFunction
    records: Literal["array", "frame"] = "array"

    framework: ClassVar[str] = "python"
    keeps_models: ClassVar[bool] = False

    def __post_init__(self) -> None:
        one_of(("array", "frame"), records=self.records)

    @property
    def prepares_records(self) -> bool:
        """Whether records reach it as the data set has them, not prepared by its members."""
        return self.records == "frame"

    def check(self, few: TrainingData) -> None:
        """Make what the function would get of such records; it is not called, for it may take long.

        Raises:
            UsageError: records that are no rows of a table.
        """
        self._shown(few, np.arange(len(few.y)))

    def _shown(self, data: TrainingData, rows: Ints) -> tuple[Given, Any]:
        """What makes frames or arrays of records, and what it makes of `rows`."""
        given: Given = np.array if self.records == "array" else all_cells(data.columns, self.train.name)
        try:
            return given, given(data.x[rows])
        except NotApplicable as error:
            raise UsageError(f"{self.train.name}: records: frame: {error}") from error

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> FunctionModel:
        """Train on `rows` of `data`.

        Raises:
            UsageError: the function fails, or returns nothing that can be asked; records that are no rows of a table.
        """
        given, own = self._shown(data, rows)
        returned = called(self.train, own, data.y[rows], data.n_classes, seed)
        predict = getattr(returned, "predict_proba", returned)
        if not callable(predict):
            raise UsageError(
                f"{self.train.name}: returned a {type(returned).__name__}, must return a function from records to "
                "probabilities or an object with predict_proba"
            )
        return FunctionModel(predict, given, self.train, data.n_classes)

    def load(self, folder: Path, shape: tuple[int, ...], n_classes: int) -> ForgottenModel:  # noqa: ARG002
        """Return a model that says why it cannot be asked again.

        Raises:
            UsageError: `FunctionModel.save` did not write there.
        """
        if not (folder / _FILE).is_file():
            raise UsageError(f"{folder / _FILE}: not there, so no model of a training function was saved here")
        return ForgottenModel()


class FunctionModel:
    """A trained classifier, known only by its probabilities."""

    def __init__(self, predict: Callable[[Any], Any], given: Given, train: UserFunction, n_classes: int) -> None:
        """Wrap `predict`, which `train` returned and which takes what `given` makes of records."""
        self._predict = predict
        self._given = given
        self._train = train
        self._n_classes = n_classes

    def logits(self, x: Float32) -> Float32:
        """Logarithms of the probabilities, clipped at 1e-7: float32 (n, classes).

        Raises:
            UsageError: the user's code fails, or gives no probabilities.
            NotApplicable: a record stands for no row of the table that `frame` would show.
        """
        records = self._given(x)
        try:
            answers = self._predict(records)
        except Exception as error:  # whatever the user's code does
            raise UsageError(f"{self._train.name}: its model fails: {one_line(error, self._train)}") from error
        probabilities = checked_probabilities(answers, self._train.name, len(x), self._n_classes)
        return np.log(np.clip(probabilities, _CLIP, 1.0)).astype(np.float32)

    def class_gradient(self, x: Float32, labels: Ints) -> NoReturn:  # noqa: ARG002 - the protocol's signature
        """Refuse.

        Raises:
            NotApplicable: always.
        """
        raise NotApplicable("a model of a user's training function has no input gradients that are known here")

    def save(self, folder: Path) -> None:
        """Write a note that the model is not kept."""
        (folder / _FILE).write_text(f"{_NOTE}\n", encoding="utf-8")


class ForgottenModel:
    """Stands for a model that was not kept."""

    def logits(self, x: Float32) -> NoReturn:  # noqa: ARG002 - the protocol's signature
        """Refuse.

        Raises:
            NotApplicable: always.
        """
        raise NotApplicable(_NOTE)

    def class_gradient(self, x: Float32, labels: Ints) -> NoReturn:  # noqa: ARG002 - the protocol's signature
        """Refuse.

        Raises:
            NotApplicable: always.
        """
        raise NotApplicable(_NOTE)

    def save(self, folder: Path) -> None:
        """Write the note again."""
        (folder / _FILE).write_text(f"{_NOTE}\n", encoding="utf-8")


def checked_probabilities(answers: Any, name: str, records: int, n_classes: int) -> Float64:
    """Return `answers` as float64 (records, n_classes).

    Raises:
        UsageError: another shape, no numbers, negative ones, or rows whose sum is off 1 by more than 1e-3.
    """
    try:
        found = np.asarray(answers, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}: its model gives a {type(answers).__name__}, must give probabilities") from error
    if found.shape != (records, n_classes):
        raise UsageError(
            f"{name}: its model gives {found.shape} for {records} records, must give probabilities "
            f"{(records, n_classes)}, a column for every class"
        )
    if not np.isfinite(found).all():
        raise UsageError(f"{name}: its model gives NaN or infinity, must give probabilities")
    sums = found.sum(axis=1)
    off = np.abs(sums - 1)
    if found.min(initial=0.0) < 0 or off.max(initial=0.0) > _SUM_TOLERANCE:
        seen = f"{found.min():.4g}" if found.min() < 0 else f"a row that sums to {sums[off.argmax()]:.4g}"
        raise UsageError(
            f"{name}: its model gives {seen}, must give probabilities, at least 0 and each row with sum 1; logits need "
            "a softmax first"
        )
    return found
