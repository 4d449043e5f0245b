"""A released model of which only a table of answers is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...harness.checks import one_of, require
from ...harness.errors import NotApplicable, UsageError
from ...harness.protocols import RecordedReference, Released
from ...harness.seeds import generator
from ...harness.table_columns import groups
from ...harness.tablefile import SUFFIXES
from ...harness.trust import Trust
from ...harness.types import Answers, Dataset, Float32, Float64, Ints, sha256_of
from ._answers import FORMS, AnswerForm, Reading
from ._recorded import INSIDE, Recorded, read_recorded, read_references

_NUMBERED_EXACTLY = 2**24
"""Whole numbers up to here are exact in float32."""


@dataclass(frozen=True)
class Predictions:
    """Recorded answers of a model, with the membership of the records.

    A table has one row a record: the columns `label` and `member`, and one column a class that is named by the prefix
    `outputs` and the class (`p_0`, `p_1`, ... or `p_cat`, `p_dog`, ...). For `answers: labels` there is one column with
    the name `outputs`. An NPZ file has arrays of those names, and for all the answers one array that is named after
    `answers`: `probabilities` or `logits` (n, classes), or `labels` (n,). It may also hold `references`
    (r, n, classes; (r, n) for labels) and `reference_member` (r, n).

    Attributes:
        path: CSV, Parquet or NPZ file.
        label: column of the true labels.
        member: column of membership: 1, true, yes; 0, false, no; empty or -1 for records of the population that the
            attacker knows not to be members.
        outputs: prefix of the columns with the answers.
        answers: what the answers are: `probabilities`, `logits` or `labels`.
        user_id: column that says who a record is about; None where each record stands for itself.
        record_id: column that identifies records, by which the rows of reference files are matched; None: they have
            the same order.
        sensitive: columns whose groups the report compares.
        classes: names of the classes, where labels are names; None: labels are numbers from 0.
        references: folder with one file a reference model, each with `label`, `member` (which of the records that
            model trained on) and answers of the same form.
    """

    path: Path
    label: str = "label"
    member: str = "member"
    outputs: str = "p_"
    answers: AnswerForm = "probabilities"
    user_id: str | None = None
    record_id: str | None = None
    sensitive: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    references: Path | None = None

    def __post_init__(self) -> None:
        require(
            self.path.suffix.lower() in SUFFIXES, "path", self.path.name, f"a file that ends in {', '.join(SUFFIXES)}"
        )
        one_of(FORMS, answers=self.answers)
        if self.classes is not None:
            distinct = len(set(self.classes)) == len(self.classes) >= 2
            require(distinct, "classes", self.classes, "at least two different names")

    def load(self) -> Dataset:
        """Read the records. Their only feature is a number, float32 (n, 1), drawn at random without repetition.

        The number tells nothing about a record, not even its place in the file, where members may come first.

        Raises:
            UsageError: the file cannot be read or has no such column, labels out of range, a membership flag that is
                missing or constant, or ids that repeat.
        """
        recorded = read_recorded(self, self.path)
        n = len(recorded.y)
        if n > _NUMBERED_EXACTLY:
            raise UsageError(f"{self.path}: {n} records, at most {_NUMBERED_EXACTLY} can be numbered")
        return Dataset(
            name=self.path.stem,
            x=numbers_of(n).astype(np.float32)[:, None],
            y=recorded.y,
            n_classes=recorded.n_classes,
            bounds=(0.0, float(n)),
            public=False,
            licence="the user's own",
            sensitive={name: groups(recorded.table, name, np.ones(n, dtype=np.bool_)) for name in self.sensitive},
            units=recorded.units,
            released_member=recorded.member,
        )

    def open(self, dataset: Dataset, trust: Trust) -> Released:  # noqa: ARG002 - tables hold no code
        """Check the answers and keep them; nothing is asked.

        Raises:
            UsageError: as `load`; `dataset` is another one; answers that are none; a reference file with other rows,
                or with the target's own answers.
        """
        recorded = read_recorded(self, self.path)
        if not np.array_equal(recorded.y, dataset.y):
            raise UsageError(f"{self.path}: the data set {dataset.name} is not what this file holds")
        reading = Reading(self.answers, recorded.n_classes, str(self.path))
        answers = reading.all_at_once(recorded.raw, len(recorded.y))
        references = (*_inside(recorded, reading), *self._beside(recorded))
        for reference in references if self.answers != "labels" else ():  # of which good models have the same
            if np.array_equal(reference.probabilities, answers):
                raise UsageError(f"{self.path}: references: {reference.name} has the very answers of the target")
        model = RecordedModel(np.argsort(numbers_of(len(answers))), answers, reading.answers)
        stored: list[NDArray[Any]] = [answers]
        for reference in references:
            stored += [reference.probabilities, reference.member]
        notes = ("the answers are recorded: attacks that ask about other records cannot run",)
        return Released(model, self.path.name, sha256_of(*stored), references=references, notes=notes)

    def _beside(self, recorded: Recorded) -> tuple[RecordedReference, ...]:
        return () if self.references is None else read_references(self, recorded, self.references)


@dataclass(frozen=True, eq=False)
class RecordedModel:
    """A model that answers about the recorded records only.

    Attributes:
        rows: int64 (n,), the record that a number stands for.
        recorded: float64 (n, classes), the answer about record i.
        answers: whether it answers with probabilities or with labels only.
    """

    rows: Ints
    recorded: Float64
    answers: Answers

    def predict(self, x: Float32) -> Float64:
        """Answers on records (m, 1) that hold numbers of records: float64 (m, classes).

        Raises:
            NotApplicable: `x` holds something else.
        """
        n = len(self.recorded)
        if x.shape != (len(x), 1) or not np.isin(x, np.arange(n)).all():
            raise NotApplicable("only the recorded records can be asked about")
        return np.asarray(self.recorded[self.rows[x[:, 0].astype(np.int64)]])


def numbers_of(n: int) -> Ints:
    """Numbers that stand for n records: a permutation of 0 .. n - 1, always the same."""
    return generator(0, "numbers of recorded records").permutation(n)


def _inside(recorded: Recorded, reading: Reading) -> tuple[RecordedReference, ...]:
    """Reference models in the NPZ file itself."""
    table, n = recorded.table, len(recorded.y)
    if not table.archive or not set(INSIDE) & set(table.names):
        return ()
    for name in INSIDE:
        table.require(name, "references")
    (answers, member), path = (table.columns[name] for name in INSIDE), table.source
    if member.shape != (len(answers), n) or not np.isin(member, (0, 1)).all():
        raise UsageError(f"{path}: reference_member has shape {member.shape}: must be 0 or 1, ({len(answers)}, {n})")
    if (member.min(axis=1) == member.max(axis=1)).any():
        raise UsageError(f"{path}: reference_member: every row must hold members (1) and others (0)")
    return tuple(
        RecordedReference(f"reference {i}", reading.all_at_once(answers[i], n), member[i].astype(bool))
        for i in range(len(answers))
    )
