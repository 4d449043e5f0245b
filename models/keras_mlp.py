"""Multilayer perceptron of Keras, trained by minibatch gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..harness.types import Ints, TrainingData
from ._mlp import MLP

if TYPE_CHECKING:
    from ._keras import KerasModel, Loop


@dataclass(frozen=True)
class KerasMLP(MLP):
    """Dense layers of Keras; initial weights are Keras's own (Glorot uniform).

    Everything that touches TensorFlow lies in `_keras.py` and is imported when a model is trained or loaded.
    """

    framework: ClassVar[str] = "keras"

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
