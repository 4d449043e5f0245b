"""Minibatch descent of Keras networks on a loss of the defence's; importing it imports TensorFlow.

An epoch is one call into TensorFlow, as in plain training. What an epoch needs beside the order of its records is
therefore drawn before it, and handed over in columns: one entry for each record, in the order in which they come, of
which every step gets its own part. A number for a whole step stands in the column of each of its records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ..harness.errors import UsageError
from ..harness.seeds import generator

Loop = Callable[[tf.keras.Model, tf.Tensor, tf.Tensor], None]
"""Trains a compiled network in place on records (n, *shape) and labels (n,)."""

Loss = Callable[..., tf.Tensor]
"""The loss to descend on: (network, records of a batch, their targets, their part of each column) -> one number."""

Columns = Callable[[int], tuple[np.ndarray[Any, Any], ...]]
"""The columns of an epoch, counted from 0: arrays of n entries."""


class KerasRecipe(Protocol):
    """What this half needs of a Keras recipe."""

    @property
    def epochs(self) -> int: ...

    @property
    def batch_size(self) -> int: ...


def no_columns(_: int) -> tuple[()]:
    """Of a loss that needs nothing but records and targets."""
    return ()


def descent(loss: Loss, recipe: KerasRecipe, seed: int, columns: Columns = no_columns) -> Loop:
    """All epochs of the recipe."""

    def loop(network: tf.keras.Model, x: tf.Tensor, y: tf.Tensor) -> None:
        for _ in epochs(network, loss, recipe, seed, (x, y), columns):
            pass

    return loop


def epochs(
    network: tf.keras.Model,
    loss: Loss,
    recipe: KerasRecipe,
    seed: int,
    data: tuple[tf.Tensor, tf.Tensor],
    columns: Columns = no_columns,
) -> Iterator[int]:
    """Train `network` in place for one epoch at a time on records and targets; yield the number of each, from 0.

    Batches are those of plain training. The network's own penalties are added to `loss`.

    Raises:
        UsageError: a weight is no longer a finite number.
    """
    one_epoch, rng = None, generator(seed, "shuffle")
    for epoch in range(recipe.epochs):
        given = [tf.constant(column) for column in (rng.permutation(len(data[0])), *columns(epoch))]
        one_epoch = one_epoch or _compiled(network, loss, recipe.batch_size, data, given)
        if not one_epoch(*given):
            raise UsageError(
                f"training diverged in epoch {epoch + 1}: weights are not finite; use a smaller learning_rate"
            )
        yield epoch


def _compiled(
    network: tf.keras.Model, loss: Loss, batch_size: int, data: tuple[tf.Tensor, tf.Tensor], given: list[tf.Tensor]
) -> Callable[..., tf.Tensor]:
    """One epoch: takes the order of the records and the columns, returns whether all weights are finite."""
    weights, (x, y) = network.trainable_variables, data

    def step(batch: tf.Tensor, *beside: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            found = loss(network, tf.gather(x, batch), tf.gather(y, batch), *beside)
            found = tf.add_n([found, *network.losses])
        network.optimizer.apply_gradients(zip(tape.gradient(found, weights), weights, strict=True))

    def run(*given: tf.Tensor) -> tf.Tensor:
        def advance(start: tf.Tensor) -> tuple[tf.Tensor]:
            step(*(column[start : start + batch_size] for column in given))
            return (start + batch_size,)

        tf.while_loop(lambda start: start < len(x), advance, (0,), parallel_iterations=1)
        return tf.reduce_all([tf.reduce_all(tf.math.is_finite(weight)) for weight in weights])

    # Concrete at once: TensorFlow would remark on every model of a pool having a function of its own.
    compiled: Callable[..., tf.Tensor] = tf.function(run, autograph=False).get_concrete_function(*given)
    return compiled
