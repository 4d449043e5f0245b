"""Dropout after the activations of Keras networks that were built without it; importing it imports TensorFlow.

An activation is the function that a layer keeps in its attribute `activation` (Keras's dense and convolutional layers
do, `Activation`, and layers of the user's), or a layer such as `ReLU`. That holds for sequential, functional and
subclassed networks alike. While training, the function is replaced on the layer by one that drops; the graph of the
network, its weights and its layers stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ..harness.errors import UsageError

_LAYERS = tuple(getattr(tf.keras.layers, name) for name in ("ReLU", "LeakyReLU", "PReLU", "ELU", "ThresholdedReLU"))
_NOT_ACTIVATIONS = (None, tf.keras.activations.linear, tf.keras.activations.softmax, tf.nn.softmax)
"""Softmax makes weights of scores, as in attention."""


class Place(NamedTuple):
    """Where an activation is computed.

    Attributes:
        layer: that computes it.
        name: of the layer's function that does, `activation` or `call`.
    """

    layer: tf.keras.layers.Layer
    name: str


@contextmanager
def dropping(network: tf.keras.Model, rate: float, seed: int, records: tf.Tensor) -> Iterator[None]:
    """Inside, what hidden activations of `network` give is dropped by `rate` and scaled by 1 / (1 - `rate`).

    A few `records` are tried, to see which activations there are.

    Raises:
        UsageError: there is none.
    """
    places = hidden_activations(network, records)
    if not places:
        raise UsageError(
            "dropout: the network has no activation layer before its output (a layer with an `activation`, e.g. "
            "Dense(16, 'relu'), or an own one, e.g. tf.keras.layers.ReLU)"
        )
    source = tf.random.Generator.from_seed(seed, alg="philox")

    def drop(_: Place, output: tf.Tensor) -> tf.Tensor:
        kept = source.uniform(tf.shape(output)) >= rate
        return output * tf.cast(kept, output.dtype) / (1 - rate)

    with _followed(places, drop):
        yield


def hidden_activations(network: tf.keras.Model, records: tf.Tensor) -> list[Place]:
    """Where `network` has activations whose numbers are not its answer itself.

    The answer comes from an activation if numbers put in that one's place are answered: as logits, as probabilities or
    as their logarithms.
    """
    put: dict[Place, tf.Tensor] = {}
    rng = np.random.default_rng(0)

    def replace(place: Place, output: tf.Tensor) -> tf.Tensor:
        put[place] = tf.nn.softmax(tf.constant(rng.normal(size=output.shape), output.dtype))
        return put[place]

    state = network.get_weights()  # a layer of the user's may count its calls
    with _followed(_activations(network), replace):
        answer = tf.nn.softmax(network(records, training=False))
    network.set_weights(state)

    def is_answer(numbers: tf.Tensor) -> bool:
        return numbers.shape == answer.shape and any(
            np.allclose(tf.cast(own, answer.dtype), answer, atol=1e-3) for own in (numbers, tf.nn.softmax(numbers))
        )

    return [place for place, numbers in put.items() if not is_answer(numbers)]


def _activations(network: tf.keras.Model) -> list[Place]:
    """All activations of `network`; not those inside a recurrence, which are no layer's output."""
    layers = [layer for layer in network.submodules if isinstance(layer, tf.keras.layers.Layer)]
    recurrent = [layer for layer in layers if isinstance(layer, tf.keras.layers.RNN)]
    inside = {id(part) for layer in recurrent for part in (layer, *layer.submodules)}
    places = [Place(layer, "call") for layer in layers if isinstance(layer, _LAYERS)]
    for layer in layers:
        function = vars(layer).get("activation")
        known = callable(function) and not isinstance(function, tf.Module)  # a layer is found by itself
        if known and function not in _NOT_ACTIVATIONS and id(layer) not in inside:
            places.append(Place(layer, "activation"))
    return places


@contextmanager
def _followed(places: list[Place], then: Callable[[Place, tf.Tensor], tf.Tensor]) -> Iterator[None]:
    """Inside, what each place gives goes through `then`."""
    with ExitStack() as stack:
        for place in places:
            stack.enter_context(_replaced(place, then))
        yield


@contextmanager
def _replaced(place: Place, then: Callable[[Place, tf.Tensor], tf.Tensor]) -> Iterator[None]:
    # Past `setattr`, by which Keras would track what it is given as a part of the network.
    attributes, name = vars(place.layer), place.name
    original, own = getattr(place.layer, name), name in attributes

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator] # TensorFlow has no types
    def followed(inputs: tf.Tensor) -> tf.Tensor:
        return then(place, original(inputs))

    attributes[name] = followed
    try:
        yield
    finally:
        if own:
            attributes[name] = original
        else:
            del attributes[name]
