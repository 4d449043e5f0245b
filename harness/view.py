"""The target as an attack may see it, and the deployed answer of a model behind its defence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .errors import NotApplicable, PrivassayError
from .types import ACCESS_LEVELS, Access, Float32, Float64, Ints, ThreatModel


class AnsweringModel(Protocol):
    """What is asked of a model here."""

    def logits(self, x: Float32) -> Float32:
        """Raw scores: float32 (n, classes)."""

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:
        """Gradient of the probability of `labels[i]` at `x[i]`: float32 (n, *shape)."""


class Releasing(Protocol):
    """What stands between a model and its answer."""

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:
        """Answers float64 (n, classes) from the model's own probabilities (n, classes)."""


class Deployed(Protocol):
    """A model with whatever stands before its answers."""

    def rounds(self, x: Float32) -> Iterator[Float64]:
        """Answers float64 (n, classes) to the same questions, as often as the attacker asks them; at least one."""

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:
        """Gradient of the undefended probability of `labels[i]` at `x[i]`: float32 (n, *shape)."""


@dataclass(frozen=True)
class Behind:
    """A model behind a defence of its answers: `Deployed`.

    Attributes:
        model: the model; asked once, it does not change.
        defense: gives each answer, with randomness of its own.
        repeats: how many answers, at least 1.
        rng: randomness of the defence.
    """

    model: AnsweringModel
    defense: Releasing
    repeats: int
    rng: np.random.Generator

    def rounds(self, x: Float32) -> Iterator[Float64]:
        """What the defence makes of the model's answers, again and again: float64 (n, classes) each."""
        probabilities = softmax(self.model.logits(x))
        for _ in range(self.repeats):
            yield self.defense.release(probabilities, self.rng)

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:
        """Of the model itself: whoever has gradients has the weights, and computes past any defence of the output."""
        return self.model.class_gradient(x, labels)


def mean_of(rounds: Iterator[Float64]) -> Float64:
    """Mean of at least one array of answers, in the order in which they come."""
    total, count = next(rounds), 1
    for answers in rounds:
        total, count = total + answers, count + 1
    return total / count if count > 1 else total


def _vote(answers: Float64) -> Float64:
    """The label of each answer as a row of zeros and a one: float64 (n, classes)."""
    return np.asarray(np.eye(answers.shape[1])[answers.argmax(axis=1)])


class AccessDenied(PrivassayError):
    """An attack asked for more than its threat model declares: a defect of the attack, reported as its error."""


def softmax(logits: Float32) -> Float64:
    """Probabilities in float64 (n, classes): margins up to about 700 stay distinguishable."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    np.exp(shifted, out=shifted)
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


class TargetView:
    """A model seen through a threat model: queries are counted, everything beyond the access level is refused."""

    def __init__(
        self,
        target: Deployed,
        threat_model: ThreatModel,
        records: tuple[tuple[int, ...], tuple[float, float] | None, int],
        budget: int,
    ) -> None:
        """Wrap `target`.

        Args:
            target: an attack sees the mean of its rounds of answers; one that sees labels only gets the label that most
                of them have (the first of equals), not that of their mean.
            threat_model: what the attack may use.
            records: shape and bounds of one record and the number of classes; no bounds where columns have none.
            budget: evaluations of the target allowed in all, of which those of later rounds are not counted.
        """
        self._target = target
        self._access = threat_model.access
        self._budget = budget
        self.shape, self._bounds, self.n_classes = records
        self.queries = 0

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value that a feature may take.

        Raises:
            NotApplicable: columns have no declared range, so nobody knows where a record may be moved.
        """
        if self._bounds is None:
            raise NotApplicable("columns have no declared range: records cannot be moved or made up")
        return self._bounds

    def predict(self, x: Float32) -> Float64:
        """Deployed probabilities: float64 (n, classes)."""
        self._spend("probabilities", len(x))
        return self._answer(x)

    def predict_labels(self, x: Float32) -> Ints:
        """Deployed labels: int64 (n,)."""
        self._spend("labels", len(x))
        return np.asarray(self._answer(x).argmax(axis=1), dtype=np.int64)

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:
        """Gradient of the undefended probability of `labels[i]` at `x[i]`: float32 (n, *shape)."""
        self._spend("gradients", len(x))
        return self._target.class_gradient(x, labels)

    def _answer(self, x: Float32) -> Float64:
        rounds = self._target.rounds(x)
        return mean_of(map(_vote, rounds) if self._access == "labels" else rounds)

    def _spend(self, needed: Access, count: int) -> None:
        if ACCESS_LEVELS.index(needed) > ACCESS_LEVELS.index(self._access):
            raise AccessDenied(f"the threat model grants {self._access}, the attack asked for {needed}")
        if self.queries + count > self._budget:
            raise AccessDenied(f"query budget {self._budget} is spent after {self.queries} of {count} more queries")
        self.queries += count
