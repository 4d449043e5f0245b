"""Settings of a multilayer perceptron, the same in every framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..harness.checks import one_of, positive
from ._descent import DescentSettings


@dataclass(frozen=True)
class MLP(DescentSettings):
    """Layers on the flattened record, softmax cross-entropy, minibatch gradient descent.

    The defaults fit 600 records of scikit-learn's digits, features in [0, 1], without an error. Settings of the descent
    are those of `DescentSettings`.

    Attributes:
        hidden: units of each hidden layer, at least 1 each; empty for a linear model.
        activation: after each hidden layer, `relu` or `tanh`.
    """

    hidden: tuple[int, ...] = (256,)
    activation: Literal["relu", "tanh"] = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        for units in self.hidden:
            positive(hidden=units)
        one_of(("relu", "tanh"), activation=self.activation)
