"""The TensorFlow half of the Keras recipes; importing it imports TensorFlow.

A process that has not yet used TensorFlow is set to one thread: small models train faster so, and sums keep
their order. A process that has, or that has chosen its numbers of threads, is left as it is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol
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
AT_ONCE = 4096
"""Records that are evaluated at once: those of a convolutional network take memory."""


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


class Recipe(Protocol):
    """What training and loading need of a Keras recipe."""

    epochs: int
    batch_size: int

    def untrained(self, shape: tuple[int, ...], n_classes: int, seed: int) -> tf.keras.Model:
        """Freshly initialised network that gives logits, compiled and built."""


class MLP(Descent, Protocol):
    """What building a multilayer perceptron needs."""

    @property
    def hidden(self) -> tuple[int, ...]:
        """Units of each hidden layer."""

    @property
    def activation(self) -> Literal["relu", "tanh"]:
        """After each hidden layer."""


class CNN(Descent, Protocol):
    """What building a convolutional network needs."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each block."""


class KerasModel:
    """A Keras network whose last layer gives logits."""

    def __init__(self, network: tf.keras.Model, shape: tuple[int, ...], n_classes: int) -> None:
        """Wrap `network`, which maps float32 (n, *shape) to float32 (n, n_classes)."""
        self.network = network
        self._shape, self._n_classes = shape, n_classes

    def logits(self, x: Float32) -> Float32:
        """Raw scores: float32 (n, classes)."""
        parts = [self._compiled(tf.constant(x[i : i + AT_ONCE])).numpy() for i in range(0, len(x), AT_ONCE)]
        return np.concatenate([np.empty((0, self._n_classes), np.float32), *parts])

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

        records = tf.TensorSpec([None, *self._shape], tf.float32)
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
            nb_classes=self._n_classes,
            input_shape=self._shape,
        )


def _not_about_persistent_tapes(record: logging.LogRecord) -> bool:
    return "GradientTape.gradient on a persistent tape" not in str(record.msg)


def fit_by(loop: Loop, recipe: Recipe, data: TrainingData, rows: Ints, seed: int) -> KerasModel:
    """Build the network from `seed`, let `loop` train it in place, return the model.

    At the end the optimiser puts its averages in place of the weights where it keeps some (`use_ema`), as Keras's own
    `fit` does. They are functions of the weights after each step, so a claim of DP-SGD stays what it is. Behind early
    stopping they are those of the last step, as with Keras's callback: the averages replace what that had restored.
    """
    network = recipe.untrained(data.shape, data.n_classes, seed)
    loop(network, tf.constant(data.x[rows]), tf.constant(data.y[rows]))
    network.optimizer.finalize_variable_values(network.trainable_variables)
    return KerasModel(network, data.shape, data.n_classes)


def mlp(recipe: MLP, shape: tuple[int, ...], n_classes: int, seed: int) -> tf.keras.Model:
    """Dense layers on the flattened record, with Glorot-uniform weights from `seed`."""
    layers = tf.keras.layers
    hidden = [
        layers.Dense(units, recipe.activation, **_start(recipe, seed, i)) for i, units in enumerate(recipe.hidden)
    ]
    output = layers.Dense(n_classes, **_start(recipe, seed, len(hidden)))
    return _compiled(tf.keras.Sequential([layers.Input(shape), layers.Flatten(), *hidden, output]), recipe)


def cnn(recipe: CNN, shape: tuple[int, ...], n_classes: int, seed: int) -> tf.keras.Model:
    """Blocks of convolution, ReLU and maximum, then a dense layer, with Glorot-uniform weights from `seed`.

    Raises:
        UsageError: `shape` is not (h, w) or (c, h, w), or halving it for each block leaves nothing.
    """
    layers = tf.keras.layers
    blocks = len(recipe.channels)
    if len(shape) not in (2, 3) or min(shape[-2:]) >> blocks == 0:
        raise UsageError(
            f"records of shape {shape}: must be pictures (h, w) or (c, h, w) with sides of at least {1 << blocks} "
            f"for {blocks} blocks"
        )
    # On a CPU, TensorFlow convolves with channels last only.
    stack = [layers.Input(shape), layers.Reshape((*shape, 1)) if len(shape) == 2 else layers.Permute((2, 3, 1))]
    for i, channels in enumerate(recipe.channels):
        stack.append(layers.Conv2D(channels, 3, padding="same", activation="relu", **_start(recipe, seed, i)))
        stack.append(layers.MaxPool2D(2))
    stack += [layers.Flatten(), layers.Dense(n_classes, **_start(recipe, seed, blocks))]
    return _compiled(tf.keras.Sequential(stack), recipe)


def _start(recipe: Descent, seed: int, layer: int) -> dict[str, Any]:
    """Initial weights and penalty of one layer."""
    penalty = tf.keras.regularizers.L2(recipe.weight_decay / 2) if recipe.weight_decay else None
    return {
        "kernel_initializer": tf.keras.initializers.GlorotUniform(derive(seed, "layer", layer)),
        "kernel_regularizer": penalty,
        "bias_regularizer": penalty,
    }


def _compiled(network: tf.keras.Model, recipe: Descent) -> tf.keras.Model:
    if recipe.optimizer == "adam":
        optimizer = tf.keras.optimizers.Adam(recipe.learning_rate)
    else:
        optimizer = tf.keras.optimizers.SGD(recipe.learning_rate, recipe.momentum)
    network.compile(optimizer, tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.optimizer.build(network.trainable_variables)
    return network


def plain_loop(recipe: Recipe, seed: int) -> Loop:
    """Minibatch descent on the mean loss, the records in a new order each epoch.

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

        order = tf.TensorSpec([None], tf.int64)
        compiled = tf.function(epoch, autograph=False).get_concrete_function(order)  # as in `KerasModel`
        rng = generator(seed, "shuffle")
        for _ in range(recipe.epochs):
            compiled(tf.constant(rng.permutation(len(y))))

    return loop


def load(recipe: Recipe, folder: Path, shape: tuple[int, ...], n_classes: int) -> KerasModel:
    """Read `weights.npz` into the architecture of `recipe`."""
    path = folder / FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            weights = [file[name] for name in sorted(file.files, key=lambda name: (len(name), name))]
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
    network = recipe.untrained(shape, n_classes, seed=0)
    expected = [weight.shape for weight in network.get_weights()]
    found = [weight.shape for weight in weights]
    if found != expected:
        raise UsageError(f"{path}: holds weights of shapes {found}, the recipe has {expected}")
    network.set_weights(weights)
    return KerasModel(network, shape, n_classes)
