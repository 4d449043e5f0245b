"""Multilayer perceptron of torch, trained by minibatch gradient descent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ..harness.checks import non_negative, one_of, positive, require
from ..harness.types import Ints, TrainingData

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from ._torch import Loop, TorchModel


@dataclass(frozen=True)
class TorchMLP:
    """Linear layers on the flattened record, softmax cross-entropy.

    The defaults fit 600 records of scikit-learn's digits, features in [0, 1], without an error. Everything
    that touches torch lies in `_torch.py` and is imported when a model is built, trained or loaded.

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

    framework: ClassVar[str] = "torch"

    def __post_init__(self) -> None:
        for units in self.hidden:
            positive(hidden=units)
        one_of(("relu", "tanh"), activation=self.activation)
        one_of(("sgd", "adam"), optimizer=self.optimizer)
        positive(epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate)
        non_negative(weight_decay=self.weight_decay)
        require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and below 1")

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> TorchModel:
        """Train on `rows` of `data`; the same seed gives the same bytes on the same CPU."""
        from . import _torch

        return _torch.fit_by(_torch.plain_loop(self, seed), self, data, rows, seed)

    def fit_by(self, loop: Loop, data: TrainingData, rows: Ints, seed: int) -> TorchModel:
        """Build the module from `seed` and let `loop(module, x, y)` train it in place: for a defence's rules.

        `x` is float32 (n, *shape), `y` int64 (n,): the `rows` of `data`, in memory.
        """
        from . import _torch

        return _torch.fit_by(loop, self, data, rows, seed)

    def untrained(self, shape: tuple[int, ...], n_classes: int, seed: int) -> nn.Module:
        """Freshly initialised module, records (n, *shape) to logits (n, n_classes), without buffers."""
        from . import _torch

        widths = (math.prod(shape), *self.hidden, n_classes)
        return _torch.mlp(widths, self.activation, seed)

    def optimizer_for(self, module: nn.Module) -> Optimizer:
        """The recipe's optimiser over the parameters of `module`."""
        from . import _torch

        return _torch.optimizer_of(self, module)

    def load(self, folder: Path, shape: tuple[int, ...], n_classes: int) -> TorchModel:
        """Read back what `TorchModel.save` wrote.

        Raises:
            UsageError: the file cannot be read, or holds parameters of another architecture.
        """
        from . import _torch

        return _torch.load(self, folder, shape, n_classes)
