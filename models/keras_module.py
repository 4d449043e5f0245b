"""A compiled Keras model of the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..harness.checks import positive, require
from ..harness.user_code import UserFunction
from ._keras_recipe import KerasRecipe

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class KerasModule(KerasRecipe):
    """Any compiled `tf.keras.Model` on one input, trained by minibatch descent with its own optimiser and loss.

    The loss is categorical cross-entropy, on integer labels (sparse) or one-hot. Whether the model gives
    probabilities or logits is read from its `from_logits` and checked on records; a softmax at the end of a functional
    or sequential model is taken off, so that no digit of a probability near 1 is lost, and other probabilities become
    logarithms, clipped at 1e-7. Batches are ours, so an own `train_step`, metrics and callbacks are not used.

    Random numbers must be drawn from Python's, numpy's, TensorFlow's or Keras's global generators (Dropout's are),
    which are set from the seed; models that do not repeat are refused. Python's and numpy's state is put back
    afterwards, TensorFlow's cannot be.

    Attributes:
        build: `module:function`; called with (shape of a record, number of classes), returns a new compiled model of
            fresh weights.
        epochs: passes over the training rows, at least 1.
        batch_size: records in a step, at least 1; the last step of an epoch takes what is left.
        learning_rate: in place of the optimiser's own, > 0; None keeps that.
        momentum: in place of the optimiser's own, at least 0 and below 1; None keeps that.
    """

    build: UserFunction
    epochs: int = 60
    batch_size: int = 32
    learning_rate: float | None = None
    momentum: float | None = None

    def __post_init__(self) -> None:
        positive(epochs=self.epochs, batch_size=self.batch_size)
        if self.learning_rate is not None:
            positive(learning_rate=self.learning_rate)
        if self.momentum is not None:
            require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and below 1")

    def untrained(self, shape: tuple[int, ...], n_classes: int, seed: int) -> tf.keras.Model:
        """What `build` returns, with logits for outputs and a loss on integer labels; see `KerasRecipe`.

        Raises:
            UsageError: TensorFlow is not installed; or `build` fails, or returns something else, or a model that takes
                or gives something else, is not compiled, has another loss, or does not repeat under a seed.
        """
        from . import _keras, _keras_module  # noqa: F401 - in this order: the first says if TensorFlow is absent

        return _keras_module.untrained(self, shape, n_classes, seed)
