"""Sums of clipped gradients of Keras networks, and which networks have any; importing it imports TensorFlow.

Networks whose weights lie in `Dense` and `Embedding` layers are clipped without building each record's gradient, by
TensorFlow Privacy's fast gradient clipping (`clip_grads`, after Lee and Kifer 2020, arXiv:2009.03106). Other layers
(convolutions, normalisations) are unknown to its registry; then each record's gradient is computed by itself,
vectorised, and clipped.

Networks that draw random numbers in training, mix the records of a batch or keep statistics of them are refused: of
these neither way bounds what one record changes. With Dropout, fast clipping would measure the norms of one network and
sum the gradients of another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow_privacy.privacy.fast_gradient_clipping import clip_grads
from tensorflow_privacy.privacy.fast_gradient_clipping.gradient_clipping_utils import (
    all_trainable_layers_are_registered,
    has_internal_compute_graph,
)
from tensorflow_privacy.privacy.fast_gradient_clipping.layer_registry import make_default_layer_registry

from ..harness.errors import NotApplicable

Clipped = Callable[[tf.Tensor, tf.Tensor], list[tf.Tensor]]
"""Sum of the clipped gradients of records (n, *shape) with labels (n,), one tensor a weight."""

_AT_ONCE = 64
"""Records whose gradients are in memory together."""


def gradients_of(tape: tf.GradientTape, loss: tf.Tensor, weights: list[tf.Variable]) -> list[tf.Tensor]:
    """Dense gradients, zero where `loss` does not depend on a weight."""
    found = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.convert_to_tensor(gradient) for gradient in found]


def clipped_sums(network: tf.keras.Model, norm: float, shape: tuple[int, ...]) -> Clipped:
    """The quickest exact way to sum this network's clipped gradients."""
    return _fast_sums(network, norm) if clips_fast(network, shape) else _sums_one_by_one(network, norm)


def clips_fast(network: tf.keras.Model, shape: tuple[int, ...]) -> bool:
    """Whether TensorFlow Privacy's fast clipping is exact for this network.

    It is where all weights lie in layers of its registry, at the top of one graph, each layer is used once and no
    weight is in two of them (it adds up squared norms use by use, which for a weight used twice is too little), and no
    layer does something else in training (it measures norms without that).
    """
    if not has_internal_compute_graph(network):
        return False
    if not all_trainable_layers_are_registered(network, make_default_layer_registry()):
        return False
    layers = [layer for layer in network.layers if layer.trainable_variables]
    used_once = all(len(layer.inbound_nodes) == 1 for layer in layers)
    unshared = sum(len(layer.trainable_variables) for layer in layers) == len(network.trainable_variables)
    x = _drawn(shape)
    return used_once and unshared and np.array_equal(network(x, training=True), network(x))


def _fast_sums(network: tf.keras.Model, norm: float) -> Clipped:
    registry, loss, weights = make_default_layer_registry(), network.loss, network.trainable_variables

    def sums(x: tf.Tensor, y: tf.Tensor) -> list[tf.Tensor]:
        norms = clip_grads.compute_gradient_norms(
            network, registry, x, y, per_example_loss_fn=lambda labels, outputs, _: loss.call(labels, outputs)
        )
        shares = clip_grads.compute_clip_weights(norm, norms)
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(shares * loss.call(y, network(x, training=True)))
        return gradients_of(tape, total, weights)

    return sums


def _sums_one_by_one(network: tf.keras.Model, norm: float) -> Clipped:
    weights = network.trainable_variables
    tf.get_logger().addFilter(_not_about_while_loops)

    def clipped(record: tuple[tf.Tensor, tf.Tensor]) -> list[tf.Tensor]:
        x, y = record
        with tf.GradientTape() as tape:
            loss = network.loss.call(y[None], network(x[None], training=True))[0]
        gradients = gradients_of(tape, loss, weights)
        length = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients]))
        return [gradient * (norm / tf.maximum(norm, length)) for gradient in gradients]

    def sums(x: tf.Tensor, y: tf.Tensor) -> list[tf.Tensor]:
        def add(start: tf.Tensor, so_far: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
            few = x[start : start + _AT_ONCE], y[start : start + _AT_ONCE]
            parts = tf.vectorized_map(clipped, few)
            return start + _AT_ONCE, [total + tf.reduce_sum(part, 0) for total, part in zip(so_far, parts, strict=True)]

        none = [tf.zeros(weight.shape) for weight in weights]
        total: list[tf.Tensor] = tf.while_loop(
            lambda start, _: start < tf.shape(y)[0], add, (0, none), parallel_iterations=1
        )[1]
        return total

    return sums


def _not_about_while_loops(record: logging.LogRecord) -> bool:
    return "while_loop" not in str(record.msg)  # vectorised convolutions have one inside, and it is quick enough


def check_network(network: tf.keras.Model, shape: tuple[int, ...]) -> None:
    """Raise `NotApplicable` if some record's part in a step of `network` has no bound; tried on drawn records."""
    for layer in network.submodules:
        if isinstance(layer, tf.keras.layers.BatchNormalization) and layer.trainable:
            raise _refused(f"layer {layer.name!r} is BatchNormalization, which mixes the records of a batch")
        fused = getattr(layer, "_could_use_gpu_kernel", False)  # LSTM, GRU: no vectorised form of its gradient
        if fused and layer.trainable:
            raise NotApplicable(
                f"DP-SGD is not available for this keras network: layer {layer.name!r} is {type(layer).__name__}, of "
                "which TensorFlow does not compute gradients record by record; unroll=True makes it plain steps"
            )
    state = [variable.numpy() for variable in network.non_trainable_variables]
    x = _drawn(shape)
    first, again = (network(x, training=True).numpy() for _ in range(2))
    alone = np.concatenate([network(x[i : i + 1], training=True) for i in range(len(x))])
    if not np.array_equal(first, again):
        raise NotApplicable(
            "DP-SGD is not available for this keras network: it draws random numbers in training (Dropout), "
            "which clipping record by record would have to repeat"
        )
    if not np.allclose(first, alone, rtol=1e-3, atol=1e-4):
        raise _refused("in training, what it answers for a record depends on the rest of the batch")
    if not all(np.array_equal(*pair) for pair in zip(state, network.non_trainable_variables, strict=True)):
        raise _refused("it keeps statistics of the records, to which no noise is added")
    penalties = []
    for records in (x, _drawn(shape, seed=1)):
        network(records, training=True)
        penalties.append([float(penalty) for penalty in network.losses])
    if penalties[0] != penalties[1]:
        raise NotApplicable(
            "DP-SGD is not available for this keras network: a layer adds a loss that depends on the records "
            "(add_loss, activity_regularizer), which is not clipped"
        )


def _refused(why: str) -> NotApplicable:
    return NotApplicable(
        f"DP-SGD is not available for this keras network: {why}; use GroupNormalization or LayerNormalization"
    )


def _drawn(shape: tuple[int, ...], seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).random((3, *shape)), tf.float32)
