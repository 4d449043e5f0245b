"""The TensorFlow half of a user's Keras model; importing it imports TensorFlow (after `_keras`, which says so)."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from ..harness.errors import UsageError
from ..harness.seeds import derive
from ..harness.user_code import UserFunction

if TYPE_CHECKING:
    from .keras_module import KerasModule

_BY_FUNCTION = {
    tf.keras.losses.sparse_categorical_crossentropy: tf.keras.losses.SparseCategoricalCrossentropy,
    tf.keras.losses.categorical_crossentropy: tf.keras.losses.CategoricalCrossentropy,
}
_LEAST_PROBABILITY = 1e-7
_TF_PRIVACY = "tensorflow_privacy."
_INSTEAD_OF_TF_PRIVACY = (
    "give the plain network with a plain optimiser, e.g. tf.keras.optimizers.SGD, and put the defence dp_sgd before "
    "it, which draws the batches that its claim is about"
)


class OnLabels(tf.keras.losses.Loss):  # type: ignore[misc] # TensorFlow has no types
    """Categorical cross-entropy, which wants one-hot labels, on integer ones."""

    def __init__(self, loss: tf.keras.losses.CategoricalCrossentropy) -> None:
        super().__init__()
        self.loss = loss

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Each record's loss: float32 (n,) from labels int64 (n,) and outputs (n, classes)."""
        return self.loss.call(tf.one_hot(y_true, tf.shape(y_pred)[-1]), y_pred)


def untrained(recipe: KerasModule, shape: tuple[int, ...], n_classes: int, seed: int) -> tf.keras.Model:
    """Build the user's network from `seed`; make it give logits, and its loss take integer labels."""
    _check(recipe.build, shape, n_classes)
    network = _built(recipe.build, shape, n_classes, seed)
    optimizer, loss = network.optimizer, _cross_entropy(network)
    assert loss is not None
    for name in ("learning_rate", "momentum"):
        value = getattr(recipe, name)
        if value is not None:
            _set(optimizer, name, value)
    config = loss.get_config()
    if not config["from_logits"]:
        network = _giving_logits(network, shape)
    loss = type(loss).from_config({**config, "from_logits": True})
    network.compile(
        optimizer, loss if isinstance(loss, tf.keras.losses.SparseCategoricalCrossentropy) else OnLabels(loss)
    )
    network.optimizer.build(network.trainable_variables)
    return network


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Every global generator set from `seed`; Python's and numpy's are put back."""
    python, of_numpy = random.getstate(), np.random.get_state()
    try:
        tf.keras.utils.set_random_seed(derive(seed, "network"))
        with warnings.catch_warnings():
            # Keras's own call, once it is seeded.
            warnings.filterwarnings("ignore", message="non-integer arguments to randrange", category=DeprecationWarning)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(of_numpy)


def _built(build: UserFunction, shape: tuple[int, ...], n_classes: int, seed: int) -> tf.keras.Model:
    function = build.load()
    with _seeded(seed):
        try:
            network = function(shape, n_classes)
        except Exception as error:  # whatever the user's code does
            raise _wrong(build, f"raised {_line(error)}") from error
        if not isinstance(network, tf.keras.Model):
            raise _wrong(build, f"returned {type(network).__name__}, not a tf.keras.Model")
        try:
            network(tf.zeros((1, *shape)))  # a subclassed model has no weights before
        except Exception as error:
            raise _wrong(build, f"the model takes no records of shape {shape}: {_line(error)}") from error
    return network


@lru_cache(maxsize=64)
def _check(build: UserFunction, shape: tuple[int, ...], n_classes: int) -> None:
    """Raise `UsageError` unless what `build` returns can be trained here, tried on drawn records."""
    network = _built(build, shape, n_classes, seed=0)
    _check_compiled(build, network)
    x = tf.constant(np.random.default_rng(0).random((4, *shape)), tf.float32)
    output = network(x, training=False)
    if not tf.is_tensor(output) or output.shape != (len(x), n_classes):
        found = tuple(output.shape) if tf.is_tensor(output) else type(output).__name__
        raise _wrong(build, f"the model's output on 4 records is {found}, it must be (4, {n_classes})")
    loss = _cross_entropy(network)
    if loss is None:
        raise _wrong(build, f"loss {_name(network.loss)}: must be categorical cross-entropy, sparse or not")
    _check_outputs(build, output.numpy(), loss.get_config()["from_logits"])
    y = tf.range(len(x), dtype=tf.int64) % n_classes
    labels = y if isinstance(loss, tf.keras.losses.SparseCategoricalCrossentropy) else tf.one_hot(y, n_classes)
    ours = tf.add_n([tf.reduce_mean(loss.call(labels, output)), *network.losses])
    if not np.allclose(ours, network.compute_loss(x, labels, output), rtol=1e-4):
        raise _wrong(build, "the compiled loss is not the mean over records: no loss_weights, reduction auto")
    _check_repeats(build, x, n_classes)


def _check_compiled(build: UserFunction, network: tf.keras.Model) -> None:
    if getattr(network, "optimizer", None) is None or not getattr(network, "loss", None):
        raise _wrong(build, "the model is not compiled with an optimiser and a loss")
    if _of_tf_privacy(network):
        raise _wrong(build, f"the model is a DP model of TensorFlow Privacy: {_INSTEAD_OF_TF_PRIVACY}")
    _check_optimizer(build, network.optimizer)
    if type(network).train_step is not tf.keras.Model.train_step:
        raise _wrong(build, "the model has a train_step of its own, which would not be used")


def _check_optimizer(build: UserFunction, optimizer: Any) -> None:
    if _of_tf_privacy(getattr(optimizer, "optimizer", optimizer)):  # Keras wraps one of TensorFlow 1
        raise _wrong(build, f"the optimizer is one of TensorFlow Privacy: {_INSTEAD_OF_TF_PRIVACY}")
    if isinstance(optimizer, tf.keras.optimizers.legacy.Optimizer):
        names = [kind.__name__ for kind in type(optimizer).__mro__ if hasattr(tf.keras.optimizers, kind.__name__)]
        instead = ".".join(["tf.keras.optimizers", *names[:1]])
        raise _wrong(build, f"optimizer {_name(optimizer)}: is a legacy one; use {instead}")
    known = isinstance(optimizer, tf.keras.optimizers.Optimizer)
    if not known or isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer):
        raise _wrong(build, f"optimizer {_name(optimizer)}: must be of tf.keras.optimizers")


def _of_tf_privacy(value: Any) -> bool:
    """Whether TensorFlow Privacy made the class, or one that it inherits from."""
    return any(kind.__module__.startswith(_TF_PRIVACY) for kind in type(value).__mro__)


def _check_outputs(build: UserFunction, output: Any, from_logits: bool) -> None:
    probabilities = output.min() >= 0 and np.allclose(output.sum(axis=1), 1, atol=1e-3)
    if probabilities and from_logits:
        raise _wrong(build, "the loss has from_logits=True, but the model gives probabilities")
    if not probabilities and not from_logits:
        raise _wrong(build, "the loss has from_logits=False, but the model gives no probabilities that sum to 1")


def _check_repeats(build: UserFunction, x: tf.Tensor, n_classes: int) -> None:
    """Compare two networks of one seed: their weights, then what they draw while training (Dropout)."""
    seen = []
    for _ in range(2):
        network = _built(build, tuple(x.shape[1:]), n_classes, seed=1)
        seen.append([*network.get_weights(), network(x, training=True).numpy()])
    if not all(np.array_equal(*pair) for pair in zip(*seen, strict=True)):
        raise _wrong(
            build,
            "two models of one seed differ: random numbers must come from the global generators of Python, numpy, "
            "TensorFlow or Keras",
        )


def _cross_entropy(network: tf.keras.Model) -> Any:
    """The model's loss as an object, None if it is another."""
    try:
        loss = tf.keras.losses.get(network.loss)
    except (TypeError, ValueError):  # one loss for each of several outputs, for instance
        return None
    loss = _BY_FUNCTION[loss]() if loss in _BY_FUNCTION else loss
    return loss if type(loss) in _BY_FUNCTION.values() else None


def _giving_logits(network: tf.keras.Model, shape: tuple[int, ...]) -> tf.keras.Model:
    """The network of probabilities without its softmax; with logarithms behind it where it has none to take off."""
    last = network.layers[-1]
    functional = network.outputs is not None and last.get_output_at(0) is network.outputs[0]
    if functional and getattr(last, "activation", None) is tf.keras.activations.softmax:
        last.activation = tf.keras.activations.linear
        return network
    inputs = tf.keras.layers.Input(shape)
    return tf.keras.Model(inputs, tf.math.log(tf.clip_by_value(network(inputs), _LEAST_PROBABILITY, 1.0)))


def _set(optimizer: tf.keras.optimizers.Optimizer, name: str, value: float) -> None:
    if not hasattr(optimizer, name):
        raise UsageError(f"{name}={value!r}: the optimiser {_name(optimizer)} has none")
    try:
        setattr(optimizer, name, value)
    except TypeError as error:
        raise UsageError(f"{name}={value!r}: the optimiser {_name(optimizer)} follows a schedule") from error


def _wrong(build: UserFunction, what: str) -> UsageError:
    return UsageError(f"build={build.name!r}: {what}")


def _name(value: Any) -> str:
    return repr(value) if isinstance(value, str) else getattr(value, "__name__", type(value).__name__)


def _line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip() if lines else ''}"
