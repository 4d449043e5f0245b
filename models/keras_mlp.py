"""Multilayer perceptron of Keras, trained by minibatch gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ..harness.checks import non_negative, one_of, positive, require
from ..harness.types import Ints, TrainingData

if TYPE_CHECKING:
    from ._keras import KerasModel, Loop


@dataclass(frozen=True)
class KerasMLP:
    """Dense layers on the flattened record, softmax cross-entropy.

    The fields and their defaults are those of `TorchMLP`; initial weights are Keras's own (Glorot uniform).
    Everything that touches TensorFlow lies in `_keras.py` and is imported when a model is trained or loaded.

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

    framework: ClassVar[str] = "keras"

    def __post_init__(self) -> None:
        for units in self.hidden:
            positive(hidden=units)
        one_of(("relu", "tanh"), activation=self.activation)
        one_of(("sgd", "adam"), optimizer=self.optimizer)
        positive(epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate)
        non_negative(weight_decay=self.weight_decay)
        require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and below 1")

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> KerasModel:
        """Train on `rows` of `data`; the same seed gives the same weights on the same CPU.

        Raises:
            UsageError: TensorFlow is not installed.
        """
        from . import _keras

        return _keras.fit_by(_keras.plain_loop(self, seed), self, data, rows, seed)

    def fit_by(self, loop: Loop, data: TrainingData, rows: Ints, seed: int) -> KerasModel:
        """Build the network from `seed` and let `loop(network, x, y)` train it in place, by other rules.

        The network is compiled with the recipe's loss and optimiser. `x` is float32 (n, *shape) and `y` int64
        (n,): the `rows` of `data`, in memory.

        Raises:
            UsageError: TensorFlow is not installed.
        """
        from . import _keras

        return _keras.fit_by(loop, self, data, rows, seed)

    def load(self, folder: Path, shape: tuple[int, ...], n_classes: int) -> KerasModel:
        """Read back what `KerasModel.save` wrote.

        Raises:
            UsageError: TensorFlow is not installed, or the file cannot be read or holds weights of another
                architecture.
        """
        from . import _keras

        return _keras.load(self, folder, shape, n_classes)
