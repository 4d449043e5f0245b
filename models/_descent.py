"""Settings that every recipe trained by minibatch gradient descent has, whatever its framework."""

from __future__ import annotations

from typing import Literal, Protocol


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
