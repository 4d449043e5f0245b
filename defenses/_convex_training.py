"""What the formal defences of convex models share: scaled records, the border to the recipe, the training loop."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import numpy as np

from ..harness.mechanisms import ConvexLoss, logistic_loss
from ..harness.protocols import Model, Recipe, Trained
from ..harness.types import Float64, Guarantee, Ints, PrivacyClaim, TrainingData
from ._plain import PlainAnswers
from ._supported import require_supported

_CONSTANT = 0.25
"""The constant feature that carries the intercept: small, so that the others keep 97 % of the norm of 1."""


@runtime_checkable
class ConvexRecipe(Recipe, Protocol):
    """A recipe of logistic regressions, whose models are nothing but their weights."""

    def with_weights(self, weights: Float64, intercepts: Float64) -> Model:
        """The model with these weights: float64 (classes, features) and (classes,).

        For two classes one row, (1, features) and (1,), for the second of them.
        """


@dataclass(frozen=True, eq=False)
class Problem:
    """Training records as the theorems want them.

    Attributes:
        z: float64 (n, features + 1), L2 norm at most 1, the last feature constant.
        targets: float64 (n, classes), one-hot; (n, 1) with the second of two classes as 1.
        loss: constants of the loss.
        bound: L2 norm to which records were clipped before they were scaled.
    """

    z: Float64
    targets: Float64
    loss: ConvexLoss
    bound: float

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the weights."""
        return self.targets.shape[1], self.z.shape[1]

    @property
    def words(self) -> str:
        """The records' preparation, as an assumption of a claim."""
        return (
            f"Records were clipped to the public range of features and to L2 norm {self.bound:.10g}, then scaled by a"
            " public factor so that with the constant feature for the intercept their norm is at most 1."
        )

    def model(self, recipe: ConvexRecipe, weights: Float64) -> Model:
        """The recipe's model for records that are not scaled, from weights for those that are."""
        return recipe.with_weights(weights[:, :-1] * _scale(self.bound), weights[:, -1] * _CONSTANT)


def problem_of(data: TrainingData, rows: Ints, max_norm: float | None) -> Problem:
    """Clip and scale `rows` of `data`.

    Args:
        data: the records.
        rows: int64 (n,), the training rows.
        max_norm: L2 norm to which records are clipped; None: sqrt(features) x the largest size that the public range
            allows, which no record exceeds.
    """
    low, high = data.bounds
    x = np.clip(data.x[rows].reshape(len(rows), -1).astype(np.float64), low, high)
    bound = math.sqrt(x.shape[1]) * max(abs(low), abs(high)) if max_norm is None else max_norm
    norms = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), bound)
    z = np.hstack([x / norms * (bound * _scale(bound)), np.full((len(x), 1), _CONSTANT)])
    targets = np.eye(data.n_classes)[data.y[rows]]
    return Problem(z, targets[:, 1:] if data.n_classes == 2 else targets, logistic_loss(data.n_classes), bound)


def _scale(bound: float) -> float:
    return math.sqrt(1 - _CONSTANT**2) / bound


class ConvexTraining(PlainAnswers, ABC):
    """Trains logistic regressions with a theorem's noise. A defence adds its parameters and `fitted`.

    Attributes:
        words: what the defence is called in messages.
        target_delta: delta of the claim; None for pure epsilon.
        max_norm: L2 norm to which records are clipped; None for the largest that the public range allows.
    """

    guarantee: ClassVar[Guarantee] = "formal"
    words: ClassVar[str]

    target_delta: float | None = None
    max_norm: float | None = None

    def supports(self, recipe: Recipe, records: int) -> str | None:
        """Support recipes of logistic regressions, with a delta that means something for `records`."""
        if not isinstance(recipe, ConvexRecipe):
            kind = type(recipe).__name__
            return f"{self.words} needs a convex model, a logistic regression: not this {recipe.framework} {kind}"
        if self.target_delta is not None and self.target_delta * records >= 1:
            return f"target_delta={self.target_delta:g}: must be below 1 / {records}, one over the training records"
        return None

    def training_parameters(self) -> Mapping[str, object]:
        """Every parameter changes the weights."""
        return dataclasses.asdict(cast(Any, self))

    def train(
        self, recipe: Recipe, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]
    ) -> Iterator[Trained]:
        """Yield one privately trained model of the recipe for each entry of `rows` and `seeds`, in order.

        Raises:
            NotApplicable: `supports` has a reason against it.
        """
        from threadpoolctl import ThreadpoolController

        require_supported(self, recipe, rows)
        threads = ThreadpoolController()  # finding the libraries takes longer than a small fit
        for own_rows, seed in zip(rows, seeds, strict=True):
            problem = problem_of(data, own_rows, self.max_norm)
            with threads.limit(limits=1):  # sums spread over threads depend on their number, and bytes must not
                weights, claim = self.fitted(problem, seed)
            yield Trained(problem.model(cast(ConvexRecipe, recipe), weights), claim)

    @abstractmethod
    def fitted(self, problem: Problem, seed: int) -> tuple[Float64, PrivacyClaim]:
        """Return private weights, float64 of `problem.shape`, with what they promise."""
