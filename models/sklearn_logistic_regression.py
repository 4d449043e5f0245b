"""Multinomial logistic regression of scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..harness.checks import positive
from ..harness.types import Float32, Float64, Ints
from ._sklearn import SklearnModel, SklearnRecipe

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression


class LogisticRegressionModel(SklearnModel):
    """A fitted logistic regression."""

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:
        """Gradient of the probability of `labels[i]` at `x[i]`: float32 (n, *shape).

        With probabilities p and weights W it is p_c (W_c - p W), and 0 for a class that was not in the
        training rows. ART's `ScikitlearnLogisticRegression.class_gradient` is not used: for two classes it is
        this, for more it is the gradient of the *logarithm* of the probability, W_c - p W.
        """
        weights = np.zeros((self.n_classes, x[0].size))
        coefficients = self.estimator.coef_
        if len(coefficients) == 1:  # two classes: one row of weights, for the second of them
            coefficients = np.vstack([np.zeros_like(coefficients), coefficients])
        weights[self.estimator.classes_] = coefficients
        p = self.probabilities(x)
        gradient = p[np.arange(len(x)), labels, None] * (weights[labels] - p @ weights)
        return gradient.reshape(x.shape).astype(np.float32)


@dataclass(frozen=True)
class SklearnLogisticRegression(SklearnRecipe):
    """Logistic regression fitted by L-BFGS, which draws nothing: the seed changes nothing.

    Attributes:
        C: inverse strength of the L2 penalty, > 0; the default is weak enough to fit small halves perfectly.
        max_iter: iterations of the solver, at least 1; scikit-learn warns when they did not suffice.
    """

    C: float = 1000.0
    max_iter: int = 200

    model: ClassVar[type[SklearnModel]] = LogisticRegressionModel

    def __post_init__(self) -> None:
        positive(C=self.C, max_iter=self.max_iter)

    def untrained(self, seed: int) -> LogisticRegression:
        """The regression before fitting."""
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=self.C, max_iter=self.max_iter, random_state=seed)

    def penalised(self, weight_decay: float, records: int) -> SklearnLogisticRegression:
        """The regression with (weight_decay / 2) x the squares of its weights beside the mean loss."""
        return replace(self, C=1 / (weight_decay * records))

    def with_weights(self, weights: Float64, intercepts: Float64) -> SklearnModel:
        """The regression with given weights, as if it had been fitted: what a private trainer returns.

        Args:
            weights: float64 (classes, features); for two classes (1, features), for the second of them.
            intercepts: float64 (classes,) or (1,).
        """
        estimator = self.untrained(seed=0)
        classes = max(2, len(weights))
        estimator.classes_ = np.arange(classes)
        estimator.coef_, estimator.intercept_ = weights, intercepts
        estimator.n_features_in_ = weights.shape[1]
        return self.model(estimator, classes)
