"""Loops of the defences that regularise, for Keras recipes; importing it imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..harness.errors import UsageError
from ..harness.seeds import generator

try:
    import tensorflow as tf
except ImportError as error:
    raise UsageError(
        f"Keras models need TensorFlow ({error}): install it with pip install 'privassay[keras]'"
    ) from error

if TYPE_CHECKING:
    from .label_smoothing import LabelSmoothing

Loop = Callable[[tf.keras.Model, tf.Tensor, tf.Tensor], None]
"""Trains a compiled network in place on records (n, *shape) and labels (n,)."""


class KerasRecipe(Protocol):
    """What this half needs of a Keras recipe."""

    @property
    def epochs(self) -> int: ...

    @property
    def batch_size(self) -> int: ...


def label_smoothing(settings: LabelSmoothing, recipe: KerasRecipe, seed: int) -> Loop:
    """Descent on the cross-entropy with smoothed labels, and on the network's own penalties.

    Batches are drawn as in plain training. An epoch is one call into TensorFlow, as there.
    """

    def loop(network: tf.keras.Model, x: tf.Tensor, y: tf.Tensor) -> None:
        weights = network.trainable_variables

        def step(batch: tf.Tensor, smoothing: tf.Tensor) -> None:
            with tf.GradientTape() as tape:
                loss = smoothed(network(tf.gather(x, batch), training=True), tf.gather(y, batch), smoothing)
                loss = tf.add_n([loss, *network.losses])
            network.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

        def run(order: tf.Tensor, smoothing: tf.Tensor) -> None:
            def advance(start: tf.Tensor) -> tuple[tf.Tensor]:
                step(order[start : start + recipe.batch_size], smoothing)
                return (start + recipe.batch_size,)

            tf.while_loop(lambda start: start < len(y), advance, (0,), parallel_iterations=1)

        signature = [tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.float32)]
        compiled = tf.function(run, input_signature=signature, autograph=False)
        rng = generator(seed, "shuffle")
        for epoch in range(recipe.epochs):
            compiled(tf.constant(rng.permutation(len(y))), tf.constant(settings.at(epoch, recipe.epochs), tf.float32))
        _require_finite(weights)

    return loop


def smoothed(logits: tf.Tensor, y: tf.Tensor, smoothing: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy with (1 - smoothing) x the label + smoothing / classes."""
    log_p = tf.nn.log_softmax(logits)
    hard = -tf.reduce_mean(tf.gather(log_p, y, axis=1, batch_dims=1))
    return (1 - smoothing) * hard - smoothing * tf.reduce_mean(log_p)


def _require_finite(weights: list[tf.Variable]) -> None:
    if not all(bool(tf.reduce_all(tf.math.is_finite(weight))) for weight in weights):
        raise UsageError("training diverged: weights are not finite; use a smaller learning_rate")
