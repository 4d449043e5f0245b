"""The TensorFlow half of the Keras recipe; importing it imports TensorFlow.

A process that has not yet used TensorFlow is set to one thread: small models train faster so, and sums keep
their order. A process that has, or that has chosen its numbers of threads, is left as it is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol
from zipfile import BadZipFile

import numpy as np

from ..harness.errors import UsageError
from ..harness.seeds import derive, generator
from ..harness.types import Float32, Ints, TrainingData
from ._descent import Descent

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # import noise about absent GPUs; a user's choice stands
try:
    import tensorflow as tf
except ImportError as error:
    raise UsageError(
        f"Keras models need TensorFlow ({error}): install it with pip install 'privassay[keras]'"
    ) from error

if TYPE_CHECKING:
    from art.estimators.classification import TensorFlowV2Classifier


Loop = Callable[[tf.keras.Model, tf.Tensor, tf.Tensor], None]
"""Trains a compiled network in place on records (n, *shape) and labels (n,)."""

FILE = "weights.npz"


def _use_one_thread() -> None:
    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() or threading.get_inter_op_parallelism_threads():
        return
    try:
        threading.set_intra_op_parallelism_threads(1)
        threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # TensorFlow has started: its threads can no longer be changed
        return


_use_one_thread()


class KerasRecipe(Descent, Protocol):
    """What the functions here need of a Keras recipe."""

    @property
    def hidden(self) -> tuple[int, ...]:
        """Units of each hidden layer."""

    @property
    def activation(self) -> Literal["relu", "tanh"]:
        """After each hidden layer."""


class KerasModel:
    """A Keras network whose last layer gives logits."""

    def __init__(self, network: tf.keras.Model) -> None:
        """Wrap `network`, which maps float32 (n, *shape) to float32 (n, classes)."""
        self.network = network

    def logits(self, x: Float32) -> Float32:
        """Raw scores: float32 (n, classes)."""
        scores: Float32 = self._compiled(tf.constant(x)).numpy()
        return scores

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:
        """Gradient of the softmax probability of `labels[i]` at `x[i]`, by ART: float32 (n, *shape)."""
        gradient: Float32 = self._art.class_gradient(x, label=labels)[:, 0]
        return gradient

    def save(self, folder: Path) -> None:
        """Write `weights.npz`: one array a weight, in the order of the layers."""
        weights = {f"{i:03}": weight for i, weight in enumerate(self.network.get_weights())}
        np.savez(folder / FILE, **weights)

    @cached_property
    def _compiled(self) -> Callable[[tf.Tensor], tf.Tensor]:
        def scores(x: tf.Tensor) -> tf.Tensor:
            return self.network(x, training=False)

        records = tf.TensorSpec(self.network.input_shape, tf.float32)
        # One fixed trace: TensorFlow would remark on every model of a pool having a function of its own.
        concrete: Callable[[tf.Tensor], tf.Tensor] = tf.function(scores, autograph=False).get_concrete_function(records)
        return concrete

    @cached_property
    def _art(self) -> TensorFlowV2Classifier:
        from art.estimators.classification import TensorFlowV2Classifier

        # ART asks for gradients inside a persistent tape, and TensorFlow remarks on it each time.
        tf.get_logger().addFilter(_not_about_persistent_tapes)

        def probabilities(x: tf.Tensor, training: bool) -> tf.Tensor:
            return tf.nn.softmax(self.network(x, training=training))

        return TensorFlowV2Classifier(
            model=tf.function(probabilities, reduce_retracing=True, autograph=False),
            nb_classes=self.network.output_shape[-1],
            input_shape=self.network.input_shape[1:],
        )


def _not_about_persistent_tapes(record: logging.LogRecord) -> bool:
    return "GradientTape.gradient on a persistent tape" not in str(record.msg)


def fit_by(loop: Loop, recipe: KerasRecipe, data: TrainingData, rows: Ints, seed: int) -> KerasModel:
    """Build the network from `seed`, let `loop` train it in place, return the model."""
    network = untrained(recipe, data.shape, data.n_classes, seed)
    loop(network, tf.constant(data.x[rows]), tf.constant(data.y[rows]))
    return KerasModel(network)


def untrained(recipe: KerasRecipe, shape: tuple[int, ...], n_classes: int, seed: int) -> tf.keras.Model:
    """Build the network with Glorot-uniform weights from `seed`; compile it with loss and optimiser."""
    layers = tf.keras.layers
    penalty = tf.keras.regularizers.L2(recipe.weight_decay / 2) if recipe.weight_decay else None

    def dense(index: int, units: int, activation: str | None) -> tf.keras.layers.Layer:
        return layers.Dense(
            units,
            activation,
            kernel_initializer=tf.keras.initializers.GlorotUniform(derive(seed, "layer", index)),
            kernel_regularizer=penalty,
            bias_regularizer=penalty,
        )

    hidden = [dense(i, units, recipe.activation) for i, units in enumerate(recipe.hidden)]
    output = dense(len(hidden), n_classes, None)
    network = tf.keras.Sequential([layers.Input(shape), layers.Flatten(), *hidden, output])
    network.compile(_optimizer(recipe), tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.optimizer.build(network.trainable_variables)
    return network


def _optimizer(recipe: KerasRecipe) -> tf.keras.optimizers.Optimizer:
    if recipe.optimizer == "adam":
        return tf.keras.optimizers.Adam(recipe.learning_rate)
    return tf.keras.optimizers.SGD(recipe.learning_rate, recipe.momentum)


def plain_loop(recipe: KerasRecipe, seed: int) -> Loop:
    """Minibatch descent on the mean cross-entropy, the records in a new order each epoch.

    An epoch is one call into TensorFlow: calling it once a step took four times as long.
    """

    def loop(network: tf.keras.Model, x: tf.Tensor, y: tf.Tensor) -> None:
        weights = network.trainable_variables

        def step(batch: tf.Tensor) -> None:
            with tf.GradientTape() as tape:
                loss = network.loss(tf.gather(y, batch), network(tf.gather(x, batch), training=True))
                loss = tf.add_n([loss, *network.losses])
            network.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

        def epoch(order: tf.Tensor) -> None:
            def advance(start: tf.Tensor) -> tuple[tf.Tensor]:
                step(order[start : start + recipe.batch_size])
                return (start + recipe.batch_size,)

            tf.while_loop(lambda start: start < len(y), advance, (0,), parallel_iterations=1)

        compiled = tf.function(epoch, input_signature=[tf.TensorSpec([None], tf.int64)], autograph=False)
        rng = generator(seed, "shuffle")
        for _ in range(recipe.epochs):
            compiled(tf.constant(rng.permutation(len(y))))

    return loop


def load(recipe: KerasRecipe, folder: Path, shape: tuple[int, ...], n_classes: int) -> KerasModel:
    """Read `weights.npz` into the architecture of `recipe`."""
    path = folder / FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            weights = [file[name] for name in sorted(file.files)]
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
    network = untrained(recipe, shape, n_classes, seed=0)
    expected = [weight.shape for weight in network.get_weights()]
    found = [weight.shape for weight in weights]
    if found != expected:
        raise UsageError(f"{path}: holds weights of shapes {found}, the recipe has {expected}")
    network.set_weights(weights)
    return KerasModel(network)
