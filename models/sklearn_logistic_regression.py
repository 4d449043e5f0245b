"""Multinomial logistic regression of scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..harness.checks import positive
from ..harness.types import Float32, Ints, TrainingData
from ._processes import fit_in_order
from ._sklearn import SklearnModel, fitted, load_estimator

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression


class LogisticRegressionModel(SklearnModel):
    """A fitted logistic regression, the one model of this framework with input gradients."""

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
class SklearnLogisticRegression:
    """Logistic regression fitted by L-BFGS.

    Attributes:
        C: inverse strength of the L2 penalty, > 0; the default is weak enough to fit small halves perfectly.
        max_iter: iterations of the solver, at least 1; scikit-learn warns when they did not suffice.
    """

    C: float = 1000.0
    max_iter: int = 200

    framework: ClassVar[str] = "sklearn"

    def __post_init__(self) -> None:
        positive(C=self.C, max_iter=self.max_iter)

    def untrained(self, seed: int) -> LogisticRegression:
        """The regression before fitting."""
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=self.C, max_iter=self.max_iter, random_state=seed)

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> LogisticRegressionModel:
        """Fit on `rows` of `data`; the solver draws nothing, so the seed changes nothing.

        Raises:
            UsageError: the rows hold one class only.
        """
        return LogisticRegressionModel(fitted(self.untrained(seed), data, rows), data.n_classes)

    def fit_pool(
        self, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]
    ) -> Iterator[LogisticRegressionModel]:
        """Yield one regression for each entry of `rows` and `seeds`, in order; large pools are fitted on all cores.

        Raises:
            UsageError: the rows of a model hold one class only.
        """
        return fit_in_order(self, data, rows, seeds)

    def load(
        self,
        folder: Path,
        shape: tuple[int, ...],  # noqa: ARG002 - the file knows it
        n_classes: int,
    ) -> LogisticRegressionModel:
        """Read back what `save` wrote.

        Raises:
            UsageError: the file cannot be read or holds something else.
        """
        from sklearn.linear_model import LogisticRegression

        return LogisticRegressionModel(load_estimator(folder, LogisticRegression, trusted=()), n_classes)
