"""Multi-layer perceptron of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np

from ..harness.checks import non_negative, one_of, positive
from ..harness.types import Float32, Float64, Ints, TrainingData
from ._sklearn import SklearnModel, SklearnRecipe, fitted, flat

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier

Activation = Literal["identity", "logistic", "tanh", "relu"]


def _logistic(z: Float64) -> Float64:
    from scipy.special import expit

    return np.asarray(expit(z))


Elementwise = Callable[[Float64], Float64]
ACTIVATIONS: dict[str, tuple[Elementwise, Elementwise]] = {
    "identity": (lambda z: z, np.ones_like),
    "logistic": (_logistic, lambda a: a * (1 - a)),
    "tanh": (np.tanh, lambda a: 1 - a**2),
    "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0).astype(np.float64)),
}
"""Each activation a = f(z) with its derivative, written in a."""


class MLPModel(SklearnModel):
    """A fitted multi-layer perceptron."""

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:
        """Gradient of the probability of `labels[i]` at `x[i]`: float32 (n, *shape).

        0 for a class that was not in the training rows. scikit-learn and ART give none, so it is propagated back here:
        from p_c (1[k = c] - p_k), the derivative of p_c by the score of class k.
        """
        of, by = ACTIVATIONS[self.estimator.activation]
        weights = [w.astype(np.float64) for w in self.estimator.coefs_]
        hidden = [flat(x).astype(np.float64)]
        for w, b in zip(weights[:-1], self.estimator.intercepts_[:-1], strict=True):
            hidden.append(of(hidden[-1] @ w + b))
        p = self.probabilities(x)
        by_score = p[np.arange(len(x)), labels, None] * (np.eye(self.n_classes)[labels] - p)
        back = by_score[:, self.estimator.classes_][:, -weights[-1].shape[1] :]  # two classes: the score of the second
        for w, a in zip(weights[:0:-1], hidden[:0:-1], strict=True):
            back = (back @ w.T) * by(a)
        gradient: Float64 = back @ weights[0].T
        return gradient.reshape(x.shape).astype(np.float32)


@dataclass(frozen=True)
class SklearnMLP(SklearnRecipe):
    """Fully connected layers trained by Adam.

    Training ends after `max_iter` epochs, or when the training loss has not fallen by 0.0001 for ten. There is no early
    stopping on held-out rows: it would take a part of the members out of training, unseen by the audit.

    Attributes:
        hidden_layer_sizes: width of each hidden layer, all at least 1.
        activation: `identity`, `logistic`, `tanh` or `relu`, of hidden layers.
        alpha: strength of the L2 penalty, >= 0: alpha / 2 x the squares of the weights beside the sum over a batch.
        batch_size: records in a step, at least 1; all of them where there are fewer.
        learning_rate_init: step size of Adam, > 0.
        max_iter: epochs, at least 1; scikit-learn warns when they did not suffice.
    """

    hidden_layer_sizes: tuple[int, ...] = (100,)
    activation: Activation = "relu"
    alpha: float = 0.0001
    batch_size: int = 32
    learning_rate_init: float = 0.001
    max_iter: int = 500

    model: ClassVar[type[SklearnModel]] = MLPModel
    trusted: ClassVar[tuple[str, ...]] = ("sklearn.neural_network._stochastic_optimizers.AdamOptimizer",)

    def __post_init__(self) -> None:
        for width in self.hidden_layer_sizes:
            positive(hidden_layer_sizes=width)
        one_of(get_args(Activation), activation=self.activation)
        non_negative(alpha=self.alpha)
        positive(batch_size=self.batch_size, learning_rate_init=self.learning_rate_init, max_iter=self.max_iter)

    def untrained(self, seed: int) -> MLPClassifier:
        """The layers before training."""
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier(
            hidden_layer_sizes=self.hidden_layer_sizes,
            activation=self.activation,
            alpha=self.alpha,
            batch_size=self.batch_size,
            learning_rate_init=self.learning_rate_init,
            max_iter=self.max_iter,
            random_state=seed,
        )

    def penalised(self, weight_decay: float, records: int) -> SklearnMLP:
        """The layers with (weight_decay / 2) x the squares of their weights beside the mean loss of a full batch."""
        return replace(self, alpha=weight_decay * min(self.batch_size, records))

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> MLPModel:
        """Train on `rows` of `data`, on one core; the same seed gives the same model.

        Raises:
            UsageError: the rows hold one class only.
        """
        layers = self.untrained(seed).set_params(batch_size=min(self.batch_size, len(rows)))
        return MLPModel(fitted(layers, data, rows), data.n_classes)
