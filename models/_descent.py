"""Settings that every recipe trained by minibatch gradient descent has, whatever its framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from ..harness.checks import non_negative, one_of, positive, require


class Descent(Protocol):
    """Minibatch gradient descent; the classes of recipes say what each setting means and allows."""

    @property
    def epochs(self) -> int:
        """Passes over the training rows."""

    @property
    def batch_size(self) -> int:
        """Records in a step."""

    @property
    def learning_rate(self) -> float:
        """Step size."""

    @property
    def momentum(self) -> float:
        """Of `sgd`."""

    @property
    def weight_decay(self) -> float:
        """L2 penalty on all weights."""

    @property
    def optimizer(self) -> Literal["sgd", "adam"]:
        """Name of the optimiser."""


@dataclass(frozen=True, kw_only=True)
class DescentSettings:
    """The same as fields of a recipe, checked.

    Attributes:
        epochs: passes over the training rows, at least 1.
        batch_size: records in a step, at least 1; the last step of an epoch takes what is left.
        learning_rate: step size, > 0.
        momentum: of `sgd`, at least 0 and below 1; `adam` ignores it.
        weight_decay: L2 penalty on all weights, added to the gradient as weight_decay x weight, >= 0.
        optimizer: `sgd` or `adam`.
    """

    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    optimizer: Literal["sgd", "adam"] = "sgd"

    def __post_init__(self) -> None:
        one_of(("sgd", "adam"), optimizer=self.optimizer)
        positive(epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate)
        non_negative(weight_decay=self.weight_decay)
        require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and below 1")
