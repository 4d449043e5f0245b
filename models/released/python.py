"""A released model behind a function of the user's code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...harness.checks import one_of, positive
from ...harness.errors import UsageError, told
from ...harness.protocols import Released
from ...harness.trust import Trust
from ...harness.types import Dataset
from ...harness.user_code import UserFunction
from ._answers import FORMS, AnswerForm, AskedModel, Reading, look_at
from ._frames import Framed, all_cells, notes_of


@dataclass(frozen=True)
class Python:
    """A model that the user's code loads.

    The user's code runs because the experiment names it, so what it reads needs no `--trust`. Nor is it known what it
    reads, so there is no digest of what the answers depend on; that of the module is among the notes.

    Attributes:
        predict: a function that takes nothing, loads the model and returns a callable from records to answers
            (n, classes), or (n,) for labels.
        answers: what the numbers are: `probabilities`, `logits` or `labels`.
        batch_size: most records in one call, at least 1.
        training_records: how many records the model trained on, where its owner says; at least 1.
        records: what the callable gets: `array`, the features as float32 (n, *shape), or `frame`, a pandas data frame
            with the cells of the file in the columns that are features; of a CSV or Parquet table only.
        classes: names of the classes in the order of the columns that answers have, where these have no names, or as
            labels that are numbers count them; empty: the order of the data's classes, which is `values`, or sorted,
            and puts `positive` last.
    """

    predict: UserFunction
    answers: AnswerForm = "probabilities"
    batch_size: int = 1024
    training_records: int | None = None
    records: Literal["array", "frame"] = "array"
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of(("array", "frame"), records=self.records)
        one_of(FORMS, answers=self.answers)
        positive(batch_size=self.batch_size)
        if self.training_records is not None:
            positive(training_records=self.training_records)

    def open(self, dataset: Dataset, trust: Trust) -> Released:  # noqa: ARG002 - the user's own code runs
        """Load the model and ask it about two records, or more where these leave its form open (`look_at`).

        Raises:
            UsageError: there is no such function, it failed, what it returned cannot be called, its answers are none
                for these data, or these have no columns for a data frame.
        """
        name = self.predict.name
        function = self.predict.load()
        try:
            ask = function()
        except Exception as error:  # whatever the user's code does
            raise UsageError(f"{name}: failed ({told(error)})") from error
        if not callable(ask):
            raise UsageError(f"{name}: returned a {type(ask).__name__}, must return a callable that takes records")
        if self.records == "frame":
            ask = Framed(ask, all_cells(dataset.columns, name))
        reading = Reading(self.answers, dataset.n_classes, name, dataset.class_names, self.classes)
        model = AskedModel(ask, reading, self.batch_size)
        look_at(model, dataset)
        digest = f"module digest {self.predict.sha256}; what the module reads, such as weights, is not in it"
        notes = (digest, *notes_of(ask))
        return Released(model, name, "", (), self.training_records, notes)
