"""Loops of the defences that regularise, for Keras recipes; importing it imports TensorFlow.

Each function returns a loop for the recipe's `fit_by`, which trains a compiled network in place on records float32
(n, *shape) and labels int64 (n,). Where a defence keeps the loss, it is the network's own; the network's penalties are
always kept. What a loop draws beside the batches comes from a stream of its own, so it leaves the batches as plain
training has them. Nothing of TensorFlow's runs before the loop does: the recipe may still set its threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..harness.errors import UsageError
from ..harness.seeds import derive, generator
from ..harness.types import Float32

try:
    import tensorflow as tf

    from ._descent_keras import KerasRecipe, Loop, descent, epochs
    from ._dropping_keras import dropping
except ImportError as error:
    raise UsageError(
        f"Keras models need TensorFlow ({error}): install it with pip install 'privassay[keras]'"
    ) from error

if TYPE_CHECKING:
    from .early_stopping import EarlyStopping
    from .label_smoothing import LabelSmoothing

_AT_ONCE = 1024  # records answered together outside training


# The loops


def dropout(rate: float, recipe: KerasRecipe, seed: int) -> Loop:
    """Plain descent with dropout after each hidden activation.

    Raises (the loop):
        UsageError: the network has none.
    """
    plain = descent(plain_loss, recipe, seed)

    def loop(network: tf.keras.Model, x: tf.Tensor, y: tf.Tensor) -> None:
        with dropping(network, rate, derive(seed, "dropout"), x[:2]):
            plain(network, x, y)

    return loop


def check_dropout(network: tf.keras.Model, x: tf.Tensor, y: tf.Tensor) -> None:  # noqa: ARG001 - a loop's signature
    """A loop that trains nothing.

    Raises:
        UsageError: dropout would find nothing in `network` to drop.
    """
    with dropping(network, 0.5, 0, x[:2]):
        pass


def early_stopping(settings: EarlyStopping, recipe: KerasRecipe, seed: int) -> Loop:
    """Plain descent on what is not held out, until its loss on what is has not improved for a while."""

    def loop(network: tf.keras.Model, x: tf.Tensor, y: tf.Tensor) -> None:
        order = generator(seed, "validation").permutation(len(y))
        held, used = order[: settings.held_out(len(y))], order[settings.held_out(len(y)) :]
        held_loss = mean_loss(network, tf.gather(x, held), tf.gather(y, held))
        best, kept, waited = float("inf"), network.get_weights(), 0
        for _ in epochs(network, plain_loss, recipe, seed, (tf.gather(x, used), tf.gather(y, used))):
            loss = float(held_loss())
            waited = 0 if loss < best else waited + 1
            if loss < best:
                best, kept = loss, network.get_weights()
            if waited == settings.patience:
                break
        network.set_weights(kept)

    return loop


def label_smoothing(settings: LabelSmoothing, recipe: KerasRecipe, seed: int) -> Loop:
    """Descent on the cross-entropy with smoothed labels."""

    def loss(network: tf.keras.Model, x: tf.Tensor, y: tf.Tensor, smoothing: tf.Tensor) -> tf.Tensor:
        return smoothed(network(x, training=True), y, smoothing[0])

    def loop(network: tf.keras.Model, x: tf.Tensor, y: tf.Tensor) -> None:
        def smoothings(epoch: int) -> tuple[Float32]:
            return (np.full(len(y), settings.at(epoch, recipe.epochs), np.float32),)

        descent(loss, recipe, seed, smoothings)(network, x, y)

    return loop


def mixup(alpha: float, recipe: KerasRecipe, seed: int) -> Loop:
    """Descent on mixtures of each batch with itself in another order."""
    shares, orders = generator(seed, "shares"), generator(seed, "partners")

    def loop(network: tf.keras.Model, x: tf.Tensor, y: tf.Tensor) -> None:
        sizes = [min(recipe.batch_size, len(y) - start) for start in range(0, len(y), recipe.batch_size)]

        def mixtures(_: int) -> tuple[np.ndarray[Any, Any], ...]:
            partners = np.concatenate([orders.permutation(size) for size in sizes])
            return partners, np.repeat(shares.beta(alpha, alpha, len(sizes)), sizes).astype(np.float32)

        descent(mixed, recipe, seed, mixtures)(network, x, y)

    return loop


def relaxloss(alpha: float, recipe: KerasRecipe, seed: int) -> Loop:
    """Descent, ascent and flattening around a mean loss of `alpha`."""

    def loss(network: tf.keras.Model, x: tf.Tensor, y: tf.Tensor, ascends: tf.Tensor) -> tf.Tensor:
        logits = network(x, training=True)
        return relaxed(network.loss(y, logits), flat_loss(logits, y), alpha, ascends[0])

    def loop(network: tf.keras.Model, x: tf.Tensor, y: tf.Tensor) -> None:
        descent(loss, recipe, seed, lambda epoch: (np.full(len(y), epoch % 2 == 0),))(network, x, y)

    return loop


def student(answers: Float32, temperature: float, recipe: KerasRecipe, seed: int) -> Loop:
    """Descent towards a teacher's logits `answers` (n, classes) on the records; the labels are not read."""

    def loss(network: tf.keras.Model, x: tf.Tensor, soft: tf.Tensor) -> tf.Tensor:
        return temperature**2 * cross_entropy(soft, network(x, training=True) / temperature)

    def loop(network: tf.keras.Model, x: tf.Tensor, _: tf.Tensor) -> None:
        descent(loss, recipe, seed)(network, x, tf.nn.softmax(answers / temperature))

    return loop


# The losses


def plain_loss(network: tf.keras.Model, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """The network's own mean loss."""
    return network.loss(y, network(x, training=True))


def cross_entropy(soft: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy of logits (n, classes) with soft labels of the same shape."""
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(tf.cast(soft, logits.dtype), logits))


def smoothed(logits: tf.Tensor, y: tf.Tensor, smoothing: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy with (1 - smoothing) x the label + smoothing / classes."""
    log_p, smoothing = tf.nn.log_softmax(logits), tf.cast(smoothing, logits.dtype)
    hard = -tf.reduce_mean(tf.gather(log_p, y, axis=1, batch_dims=1))
    return (1 - smoothing) * hard - smoothing * tf.reduce_mean(log_p)


def mixed(network: tf.keras.Model, x: tf.Tensor, y: tf.Tensor, partners: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """The network's loss on share x each record + (1 - share) x its partner, with the labels mixed alike.

    `partners` says where in the batch each record's partner is; the batch has one share, `shares` holds it n times.
    """
    share = shares[0]
    logits = network(share * x + (1 - share) * tf.gather(x, partners), training=True)
    own, other = network.loss(y, logits), network.loss(tf.gather(y, partners), logits)
    share = tf.cast(share, own.dtype)
    return share * own + (1 - share) * other


def relaxed(loss: tf.Tensor, flat: tf.Tensor, alpha: float, ascends: tf.Tensor) -> tf.Tensor:
    """The loss of RelaxLoss for a batch with mean `loss`, in an epoch that ascends or one that descends on `flat`."""
    return tf.where(loss >= alpha, loss, tf.where(ascends, -loss, flat))


def flat_loss(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy with soft labels that keep the true class and share the rest; no gradient through them."""
    return cross_entropy(flattened(tf.stop_gradient(logits), y), logits)


def flattened(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Soft labels (n, classes): the answered probability of the true class, the rest shared equally."""
    true = tf.gather(tf.nn.softmax(logits), y[:, None], axis=1, batch_dims=1)
    hot = tf.one_hot(y, logits.shape[1], dtype=logits.dtype)
    return hot * true + (1 - hot) * (1 - true) / (logits.shape[1] - 1)


def mean_loss(network: tf.keras.Model, x: tf.Tensor, y: tf.Tensor) -> Any:
    """Function that gives the mean of the network's own loss, as it would answer now; penalties are no part of it."""

    def mean() -> tf.Tensor:
        parts = [slice(start, start + _AT_ONCE) for start in range(0, len(y), _AT_ONCE)]
        losses = [network.loss.call(y[part], network(x[part], training=False)) for part in parts]
        return tf.reduce_mean(tf.concat(losses, 0))

    return tf.function(mean, autograph=False).get_concrete_function()
