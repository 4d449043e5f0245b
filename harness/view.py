"""The target as an attack may see it, and the deployed answer of a model behind its defence."""

from __future__ import annotations

from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Averaged:
    """The mean of several answers to the same question: what an attacker sees who asks again and again.

    Attributes:
        defense: gives each answer, with randomness of its own.
        repeats: how many, at least 1.
    """

    defense: Releasing
    repeats: int

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:
        """Mean answers: float64 (n, classes)."""
        total = self.defense.release(probabilities, rng)
        for _ in range(self.repeats - 1):
            total = total + self.defense.release(probabilities, rng)
        return total / self.repeats if self.repeats > 1 else total

    def of_labels(self) -> Averaged:
        """The same questions asked by somebody who sees labels only: each answer counts as one vote for its label."""
        return replace(self, defense=_Labels(self.defense))


@dataclass(frozen=True)
class _Labels:
    """The label of each answer as a row of zeros and a one."""

    defense: Releasing

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:
        answers = self.defense.release(probabilities, rng)
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
        model: AnsweringModel,
        defense: Releasing,
        threat_model: ThreatModel,
        records: tuple[tuple[int, ...], tuple[float, float] | None, int],
        budget: int,
        rng: np.random.Generator,
    ) -> None:
        """Wrap `model`.

        Args:
            model: the target.
            defense: its `release` stands between the model and the answer. Of an `Averaged` one an attack that sees
                labels only gets the label that most answers have (the first of equals), not that of their mean.
            threat_model: what the attack may use.
            records: shape and bounds of one record and the number of classes; no bounds where columns have none.
            budget: evaluations of the target allowed in all.
            rng: randomness of the defence, not of the attack.
        """
        self._model = model
        self._access = threat_model.access
        self._defense = defense
        if self._access == "labels" and isinstance(defense, Averaged):
            self._defense = defense.of_labels()
        self._budget = budget
        self._rng = rng
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
        """Gradient of the undefended probability of `labels[i]` at `x[i]`: float32 (n, *shape).

        Whoever has gradients has the weights, and computes past any defence of the output.
        """
        self._spend("gradients", len(x))
        return self._model.class_gradient(x, labels)

    def _answer(self, x: Float32) -> Float64:
        return self._defense.release(softmax(self._model.logits(x)), self._rng)

    def _spend(self, needed: Access, count: int) -> None:
        if ACCESS_LEVELS.index(needed) > ACCESS_LEVELS.index(self._access):
            raise AccessDenied(f"the threat model grants {self._access}, the attack asked for {needed}")
        if self.queries + count > self._budget:
            raise AccessDenied(f"query budget {self._budget} is spent after {self.queries} of {count} more queries")
        self.queries += count
