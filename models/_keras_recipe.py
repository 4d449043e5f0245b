"""What every Keras recipe does alike. Importing it does not import TensorFlow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..harness.types import Ints, TrainingData

if TYPE_CHECKING:
    import tensorflow as tf

    from ._keras import KerasModel, Loop


class KerasRecipe(ABC):
    """A recipe of Keras: a compiled network, and minibatch descent on the mean of its loss.

    Everything that touches TensorFlow lies in modules that are imported when a model is built, trained or loaded.
    """

    framework: ClassVar[str] = "keras"

    epochs: int
    batch_size: int

    @abstractmethod
    def untrained(self, shape: tuple[int, ...], n_classes: int, seed: int) -> tf.keras.Model:
        """Freshly initialised network, records (n, *shape) to logits (n, n_classes), compiled and built.

        Its loss is an instance of `tf.keras.losses.Loss` on labels int64 (n,) and logits; `call` gives each record's.

        Raises:
            UsageError: TensorFlow is not installed, or there can be no such network for these records.
        """

    def check(self, few: TrainingData) -> None:
        """Build the network for such records once.

        Raises:
            UsageError: as `untrained`.
        """
        self.untrained(few.shape, few.n_classes, seed=0)

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> KerasModel:
        """Train on `rows` of `data`; the same seed gives the same weights on the same CPU.

        Raises:
            UsageError: as `untrained`.
        """
        from . import _keras

        return _keras.fit_by(_keras.plain_loop(self, seed), self, data, rows, seed)

    def fit_by(self, loop: Loop, data: TrainingData, rows: Ints, seed: int) -> KerasModel:
        """Build the network from `seed` and let `loop(network, x, y)` train it in place, by other rules.

        The network is as `untrained` returns it. `x` is float32 (n, *shape) and `y` int64 (n,): the `rows` of `data`,
        in memory.

        Raises:
            UsageError: as `untrained`.
        """
        from . import _keras

        return _keras.fit_by(loop, self, data, rows, seed)

    def load(self, folder: Path, shape: tuple[int, ...], n_classes: int) -> KerasModel:
        """Read back what `KerasModel.save` wrote.

        Raises:
            UsageError: as `untrained`, or the file cannot be read or holds weights of another architecture.
        """
        from . import _keras

        return _keras.load(self, folder, shape, n_classes)
