"""What every released model shares: asking in batches, and checking that what comes back is an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...harness.errors import PrivassayError, UsageError, located, shortened, told
from ...harness.types import Answers, Dataset, Float32, Float64
from ._class_names import ClassOrder, Columns, classes_in_words, columns_of_answers

AnswerForm = Literal["probabilities", "logits", "labels"]
"""What a model gives: probabilities, the scores whose softmax they are, or the number of its class only."""

FORMS: tuple[AnswerForm, ...] = ("probabilities", "logits", "labels")

Ask = Callable[[Float32], Any]
"""Takes records (n, *shape), gives answers in whatever type the framework has."""

TOLERANCE = 1e-3
"""How far the sum of a record's probabilities may be from 1. Answers are often rounded to a few digits."""

ABOUT_100 = 1.0
"""How far the sum of a record's percentages may be from 100. They are often rounded to whole numbers."""

_PERCENTAGES = "which looks like percentages; divide them by 100, then `answers: probabilities` is right"

LOOKED_AT = 32
"""Records whose answers decide where the first two look like another form."""


@dataclass(frozen=True)
class Reading:
    """How a model's answers are understood.

    Calling it checks record by record, so what is refused does not depend on how many are asked at once. Whether the
    numbers are of another form than they are said to be shows in many answers only: that is `doubt`.

    Columns with names, of a data frame or of one mapping a record, are matched with the classes by name; those without
    are in the order of `classes` or else of the data (`ClassOrder`). Where the data have two classes, a single column
    is the answer for the second of them, as a sigmoid gives it, unless it has the name of the first.

    Attributes:
        form: what the numbers are.
        n_classes: classes of the data.
        source: where the model is, for errors.
        class_names: what the data call the classes, in order; empty where they do not.
        classes: the classes in the order of the model's columns, or as its labels count them, where its owner says;
            empty: the order of the data.
    """

    form: AnswerForm
    n_classes: int
    source: str
    class_names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check `classes`.

        Raises:
            UsageError: they are not those of the data, or labels cannot be in their order.
        """
        if self.order.stated and self.form == "labels" and self.order.numbers_are_names:
            raise UsageError(
                f"{self.source}: `classes`: must be left out: labels are the classes "
                f"{classes_in_words(self.class_names, self.n_classes)} by value, whatever their order"
            )

    @cached_property
    def order(self) -> ClassOrder:
        """The order of the model's classes."""
        with located(self.source):
            return ClassOrder(self.class_names, self.n_classes, self.classes)

    @property
    def answers(self) -> Answers:
        """What an attack may count on."""
        return "labels" if self.form == "labels" else "probabilities"

    def __call__(self, raw: Any, records: int) -> Float64:
        """Probabilities float64 (records, n_classes), rows at least 0 with sum 1; one-hot for labels.

        Raises:
            UsageError: not numbers, not finite, another number of records or classes, columns with names of other
                classes, labels out of range, probabilities below 0, above 1 or that do not sum to 1 within `TOLERANCE`.
        """
        columns = self._columns(raw)
        bare = raw if columns is None else columns.table
        if self.form == "labels":
            return self._one_hot(bare, records)
        table = self._one_column_per_class(self._numbers(bare, records), columns)
        return self._softmax(table) if self.form == "logits" else self._normalised(table)

    def all_at_once(self, raw: Any, records: int) -> Float64:
        """As a call, for all the answers of a model.

        Raises:
            UsageError: as a call; there is a `doubt`.
        """
        table = self(raw, records)
        if doubt := self.doubt(raw):
            raise UsageError(f"{self.source}: {doubt}")
        return table

    def doubt(self, raw: Any) -> str:
        """Why answers, each of which is allowed, look like another form; empty where they do not.

        One column for two classes is doubted where every answer is exactly 0 or 1, and, as logits, where every answer
        lies between 0 and 1. More columns of logits are doubted where every row lies there and sums to 1, or is at
        least 0 and sums to about 100.
        """
        if self.form == "labels":
            return ""
        table = np.asarray(self.unnamed(raw), dtype=np.float64)
        if not len(table):
            return ""
        one_column = self.n_classes == 2 and table.shape in ((len(table),), (len(table), 1))
        if one_column and np.isin(table, (0, 1)).all():
            return (
                "gives one number a record, exactly 0 or 1 for each record asked about, which looks like labels; say "
                "`answers: labels`, or let the model give two columns"
            )
        if self.form == "logits" and not outside(table).any():
            if one_column:
                return "every number lies between 0 and 1, which looks like probabilities; say `answers: probabilities`"
            if not off_one(table).any():
                return (
                    "every row lies between 0 and 1 and sums to 1, which looks like probabilities; "
                    "say `answers: probabilities`"
                )
        if self.form == "logits" and not one_column and percentages(table).all():
            return f"every row is at least 0 and sums to about 100, {_PERCENTAGES}"
        return ""

    def unnamed(self, raw: Any) -> Any:
        """Answers as they came, without names of columns.

        Raises:
            UsageError: mappings have other keys than the first one.
        """
        columns = self._columns(raw)
        return raw if columns is None else columns.table

    def _columns(self, raw: Any) -> Columns | None:
        with located(self.source):
            return columns_of_answers(raw)

    def _numbers(self, raw: Any, records: int) -> Float64:
        try:
            table = np.asarray(raw, dtype=np.float64)
        except Exception as error:  # text, ragged rows, tensors that hold gradients: each library has its own
            raise UsageError(f"{self.source}: the answers are no table of numbers ({told(error)})") from error
        self._check_count(table, records)
        finite = np.isfinite(table).reshape(records, -1).all(axis=1)
        if not finite.all():
            raise UsageError(f"{self.source}: the answer for record {int(finite.argmin()) + 1} holds NaN or infinity")
        return table

    def _check_count(self, table: NDArray[Any], records: int) -> None:
        if table.ndim == 0 or len(table) != records:
            found = len(table) if table.ndim else "one number"
            raise UsageError(f"{self.source}: asked about {records} records, answers for {found}")

    def _one_hot(self, raw: Any, records: int) -> Float64:
        try:
            table = np.asarray(raw)
        except Exception as error:  # as above
            raise UsageError(f"{self.source}: the answers are no labels ({told(error)})") from error
        self._check_count(table, records)
        if table.shape not in ((records,), (records, 1)):
            raise UsageError(f"{self.source}: answers of shape {table.shape} are not one label a record")
        labels = table.reshape(-1).tolist()
        numbers = self.order.of_labels(labels)
        if (numbers < 0).any():
            bad = int((numbers < 0).argmax())
            allowed = classes_in_words(self.class_names, self.n_classes)
            label = shortened(f"{labels[bad]}")
            raise UsageError(f"{self.source}: label {label} for record {bad + 1}: must be one of {allowed}")
        return np.asarray(np.eye(self.n_classes)[numbers])

    def _one_column_per_class(self, table: Float64, columns: Columns | None) -> Float64:
        """The table with its columns in the order of the data's classes."""
        if self.n_classes == 2 and table.shape in ((len(table),), (len(table), 1)):
            with located(self.source):
                about = self.order.of_one_column(columns)
            given = table.reshape(-1, 1)
            both = [np.zeros_like(given) if self.form == "logits" else 1 - given, given]
            return np.hstack(both if about else both[::-1])
        if table.ndim == 1:
            raise UsageError(
                f"{self.source}: gives one number a record, the data have {self.n_classes} classes; "
                "say `answers: labels` if it is the label"
            )
        if table.shape[1:] != (self.n_classes,):
            found = table.shape[1] if table.ndim == 2 else f"shape {table.shape[1:]}"
            raise UsageError(f"{self.source}: answers for {found} classes, the data have {self.n_classes}")
        with located(self.source):
            place = self.order.of_unnamed if columns is None else self.order.of_columns(columns)
        return np.asarray(table[:, np.argsort(place)])

    def _softmax(self, table: Float64) -> Float64:
        from scipy.special import softmax

        return np.asarray(softmax(table, axis=1))

    def _normalised(self, table: Float64) -> Float64:
        if outside(table).any():
            record, column = (int(i) for i in np.argwhere(outside(table))[0])
            if percentages(table)[record]:
                raise UsageError(
                    f"{self.source}: the answer for record {record + 1} is at least 0 and sums to about 100, "
                    f"{_PERCENTAGES}"
                )
            raise UsageError(
                f"{self.source}: {table[record, column]:g} for record {record + 1} is no probability, which looks like "
                "logits; say `answers: logits`"
            )
        if off_one(table).any():
            bad = int(off_one(table).argmax())
            raise UsageError(
                f"{self.source}: the probabilities of record {bad + 1} sum to {table[bad].sum():.6g}, must sum to 1 "
                f"within {TOLERANCE}"
            )
        return np.asarray(table / table.sum(axis=1, keepdims=True))


def outside(table: Float64) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which entries cannot be probabilities: bool (n, classes)."""
    return np.asarray((table < 0) | (table > 1 + TOLERANCE))


def off_one(table: Float64) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows do not sum to 1: bool (n,)."""
    return np.asarray(np.abs(table.sum(axis=1) - 1) > TOLERANCE)


def percentages(table: Float64) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows look like percentages: bool (n,)."""
    return np.asarray((table >= 0).all(axis=1) & (np.abs(table.sum(axis=1) - 100) <= ABOUT_100))


@dataclass(frozen=True, eq=False)
class AskedModel:
    """A model that is asked in batches and whose answers are checked.

    Attributes:
        ask: takes float32 (n, *shape), a copy that it may change.
        reading: how its answers are understood.
        batch_size: most records in one call.
    """

    ask: Ask
    reading: Reading
    batch_size: int

    @property
    def answers(self) -> Answers:
        """Whether it answers with probabilities or with labels only."""
        return self.reading.answers

    def predict(self, x: Float32) -> Float64:
        """Answers on records (n, *shape): float64 (n, classes), rows at least 0 with sum 1; one-hot for labels.

        Raises:
            UsageError: the model failed, or what came back is no answer.
        """
        parts = [self.reading(self._raw(batch), len(batch)) for batch in self._batches(x)]
        return np.concatenate(parts) if parts else np.zeros((0, self.reading.n_classes))

    def doubt(self, x: Float32) -> str:
        """Ask about records (n, *shape) and say why the answers look like another form; empty where they do not.

        Raises:
            UsageError: as `predict`.
        """
        raws = []
        for batch in self._batches(x):
            raws.append(self._raw(batch))
            self.reading(raws[-1], len(batch))
        if self.reading.form == "labels" or not raws:
            return ""
        return self.reading.doubt(
            np.concatenate([np.asarray(self.reading.unnamed(raw), dtype=np.float64) for raw in raws])
        )

    def _batches(self, x: Float32) -> list[Float32]:
        return [x[start : start + self.batch_size] for start in range(0, len(x), self.batch_size)]

    def _raw(self, x: Float32) -> Any:
        try:
            return self.ask(np.array(x, dtype=np.float32))
        except PrivassayError:
            raise
        except Exception as error:  # whatever a foreign model does
            raise UsageError(
                f"{self.reading.source}: failed on {len(x)} records of shape {x.shape[1:]} ({told(error)})"
            ) from error


def look_at(model: AskedModel, dataset: Dataset, most: int | None = None) -> int:
    """Ask `model` about the first two records of `dataset`, which finds other classes and another input shape.

    Where the two answers look like another form than they are said to be, the first `LOOKED_AT` records are asked
    about too. What two answers leave open, as many rarely do; and a doubt that stays is no ground for a guess.

    Args:
        model: the model.
        dataset: whose records it shall take.
        most: how many records may be asked about, at least 1; None: any number.

    Returns:
        How many records it was asked about.

    Raises:
        UsageError: what came back is no answer for these data, or looks like another form.
        InfrastructureError: no answer came.
    """
    left = 2 + LOOKED_AT if most is None else most
    first = dataset.x[: min(2, left)]
    asked, doubt = len(first), model.doubt(first)
    more = dataset.x[: min(LOOKED_AT, left - asked)]
    if doubt and len(more) > asked:
        asked, doubt = asked + len(more), model.doubt(more)
    if doubt:
        raise UsageError(f"{model.reading.source}: {doubt}")
    return asked
