"""Models that somebody else trained, as models of a pool: their answers, and the model behind them.

A released model is asked about every record as often as the most curious attack asks. What an attack asks beyond that
is asked live, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property

import numpy as np

from .errors import InfrastructureError, NotApplicable
from .events import Observer
from .kept_answers import STEP, VERSION, answers_of, log_probabilities
from .named_target import NamedTarget
from .pool import known_records
from .protocols import Model
from .store import Store, key_of
from .types import Access, Dataset, Float32, Float64, Ints, sha256_of
from .view import Releasing, softmax


@dataclass(frozen=True, eq=False)
class Given:
    """Answers that came with a released model, its own reference models': a `PoolModel`."""

    target: NamedTarget
    answers: Float32

    @property
    def key(self) -> str:
        """Digest of the answers."""
        return sha256_of(self.answers)

    @property
    def access(self) -> Access:
        """Answers only."""
        return "probabilities"

    @property
    def defense(self) -> Releasing:
        """None: the answers are what was released."""
        return _AsReleased()

    def logits(self) -> Float32:
        """Logarithms of the answers: float32 (records, classes)."""
        return self.answers

    def load(self) -> Model:
        """Refuse: there is no model, only its answers.

        Raises:
            NotApplicable: always.
        """
        raise NotApplicable("only recorded answers are there, no model that could be asked")

    def mechanism(self) -> None:
        """Nothing is known about its training."""


@dataclass(eq=False)
class Recorded:
    """The released model with its answers on every record: a `PoolModel`.

    Attributes:
        target: the model.
        answers: float32 (repeats, records, classes), logarithms of its answers, each time it was asked.
        asked: queries that this run made for them.
        kept: answers that an earlier run had kept.
        dataset: the records.
    """

    target: NamedTarget
    answers: Float32
    asked: int
    kept: int
    dataset: Dataset = field(repr=False)

    @classmethod
    def of(cls, target: NamedTarget, dataset: Dataset, store: Store, observe: Observer) -> Recorded:
        """Ask about every record that the store has no answer for."""
        answers, asked = answers_of(target, dataset, store, observe)
        return cls(target, answers, asked, target.repeats * len(dataset) - asked, dataset)

    @property
    def key(self) -> str:
        """Digest of the answers, and of what attacks that ask about other records would meet."""
        released = self.target.released
        whose = [released.source, released.sha256, self.target.likeness.digest]
        described = {"target": asdict(self.target.identity), "whose": whose, "answers": sha256_of(*self.answers)}
        return key_of(STEP, VERSION, described)

    @property
    def access(self) -> Access:
        """Labels or probabilities."""
        return self.target.released.model.answers

    @property
    def defense(self) -> Releasing:
        """None: whatever defends it stands before its answers already."""
        return _AsReleased()

    def logits(self) -> Float32:
        """Logarithms of the first answers: float32 (records, classes)."""
        first: Float32 = self.answers[0]
        return first

    def rounds(self, rows: Ints, repeats: int) -> Iterator[Float64]:
        """Answers about `rows` (n,) of the data set, the first so many times: float64 (n, classes) each."""
        return (softmax(answers[rows]) for answers in self.answers[:repeats])

    @cached_property
    def live(self) -> Live:
        """The model itself, to be asked about other records."""
        return Live(self)

    def load(self) -> Model:
        """Refuse: nobody here has the model.

        Raises:
            NotApplicable: always.
        """
        raise NotApplicable("a released model gives answers, nothing else of it is here")

    def mechanism(self) -> None:
        """Nothing is known about its training."""


class Live:
    """A released model: records of the data set are answered from what was recorded, others are asked about now."""

    def __init__(self, recorded: Recorded) -> None:
        """Stand for the model of `recorded`."""
        self._recorded = recorded
        self._rows_of = known_records(recorded.dataset)
        self.asked = 0

    def asks(self, x: Float32, repeats: int) -> Iterator[Float64]:
        """Answers about any records, `repeats` times: float64 (n, classes) each."""
        rows = self._rows_of(x)
        known = np.array([row is not None for row in rows], dtype=np.bool_)
        kept = self._recorded.rounds(np.array([row for row in rows if row is not None], dtype=np.int64), repeats)
        for recorded in kept:
            found = np.empty((len(x), recorded.shape[1]))
            found[known] = recorded
            if not known.all():
                found[~known] = softmax(log_probabilities(self._answered(x[~known])))
                self.asked += int((~known).sum())
            yield found

    def _answered(self, x: Float32) -> Float64:
        """Answers about other records; what ends the run says which target it was.

        Other errors are an attack's result in the evidence, which names the candidate and no file of this machine.
        """
        target = self._recorded.target
        try:
            return target.released.model.predict(x)
        except InfrastructureError as error:
            raise InfrastructureError(f"{target.where}: {error}") from error


@dataclass(frozen=True, eq=False)
class Asked:
    """A released model that is asked each question so many times: `view.Deployed`."""

    live: Live
    repeats: int

    def rounds(self, x: Float32) -> Iterator[Float64]:
        """Its answers, each time: float64 (n, classes)."""
        return self.live.asks(x, self.repeats)

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:  # noqa: ARG002 - refuses every input
        """Refuse: answers have no gradients.

        Raises:
            NotApplicable: always.
        """
        raise NotApplicable("a released model gives answers, no gradients")


class _AsReleased:
    """No defence of ours before the answers of a released model."""

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:  # noqa: ARG002
        """The answers as they are."""
        return probabilities
