"""Settings of a multilayer perceptron, the same in every framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..harness.checks import non_negative, one_of, positive, require


@dataclass(frozen=True)
class MLP:
    """Layers on the flattened record, softmax cross-entropy, minibatch gradient descent.

    The defaults fit 600 records of scikit-learn's digits, features in [0, 1], without an error.

    Attributes:
        hidden: units of each hidden layer, at least 1 each; empty for a linear model.
        activation: after each hidden layer, `relu` or `tanh`.
        epochs: passes over the training rows, at least 1.
        batch_size: records in a step, at least 1; the last step of an epoch takes what is left.
        learning_rate: step size, > 0.
        momentum: of `sgd`, at least 0 and below 1; `adam` ignores it.
        weight_decay: L2 penalty on all weights, added to the gradient as weight_decay x weight, >= 0.
        optimizer: `sgd` or `adam`.
    """

    hidden: tuple[int, ...] = (256,)
    activation: Literal["relu", "tanh"] = "relu"
    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    optimizer: Literal["sgd", "adam"] = "sgd"

    def __post_init__(self) -> None:
        for units in self.hidden:
            positive(hidden=units)
        one_of(("relu", "tanh"), activation=self.activation)
        one_of(("sgd", "adam"), optimizer=self.optimizer)
        positive(epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate)
        non_negative(weight_decay=self.weight_decay)
        require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and below 1")
