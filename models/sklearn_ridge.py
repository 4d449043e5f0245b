"""Ridge regression of scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..harness.checks import positive
from ._sklearn_regression import SklearnRegression

if TYPE_CHECKING:
    from sklearn.linear_model import Ridge


@dataclass(frozen=True)
class SklearnRidge(SklearnRegression):
    """Linear least squares with an L2 penalty on the weights, for numbers on a public grid (`_regression`).

    Attributes:
        alpha: strength of the penalty, > 0, beside the sum of squared errors over the members.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        positive(alpha=self.alpha)

    def untrained(self, seed: int) -> Ridge:  # noqa: ARG002 - the solution is unique, nothing is drawn
        """The linear model before fitting."""
        from sklearn.linear_model import Ridge

        return Ridge(alpha=self.alpha, solver="cholesky")

    def penalised(self, weight_decay: float, records: int) -> SklearnRidge:
        """The regression with (weight_decay / 2) x the squares of its weights beside the mean squared error."""
        return replace(self, alpha=weight_decay * records / 2)
