"""What a user's own code looks like, for the contract table: models to train, and one that is trained already."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..harness.types import Dataset, Float32, Float64, Ints
from .digits import Digits

if TYPE_CHECKING:
    import tensorflow as tf
    from sklearn.base import ClassifierMixin
    from sklearn.linear_model import LogisticRegression
    from torch import nn

CLASSES = 4


def torch_network(shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """A module with one hidden layer."""
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 16), nn.ReLU(), nn.Linear(16, n_classes))


def keras_network(shape: tuple[int, ...], n_classes: int) -> tf.keras.Model:
    """The same, compiled."""
    import tensorflow as tf

    layers = tf.keras.layers
    hidden = [layers.Input(shape), layers.Flatten(), layers.Dense(16, "relu"), layers.Dense(n_classes)]
    network = tf.keras.Sequential(hidden)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(tf.keras.optimizers.SGD(0.1, 0.9), loss)
    return network


def pipeline(seed: int) -> ClassifierMixin:
    """Scaled features and a logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(random_state=seed))


def train(x: Float32, y: Ints, n_classes: int, seed: int) -> Callable[[Float32], Float64]:  # noqa: ARG001
    """Gaussian naive Bayes; what it gives has a column for every class that it saw, so all must be there."""
    from sklearn.naive_bayes import GaussianNB

    model = GaussianNB(var_smoothing=0.01).fit(x.reshape(len(x), -1), y)
    return lambda asked: np.asarray(model.predict_proba(asked.reshape(len(asked), -1)))


def predict() -> Callable[[Float32], Float64]:
    """The released model, ready to be asked."""
    model = released()
    return lambda asked: np.asarray(model.predict_proba(asked.reshape(len(asked), -1)))


def predict_labels() -> Callable[[Float32], Any]:
    """The released model, which says its class only."""
    model = released()
    return lambda asked: model.predict(asked.reshape(len(asked), -1))


def records() -> Dataset:
    """Digits 0 to 3 of the digits that come with scikit-learn: enough of each class for models of 60 records."""
    digits = Digits().load()
    kept = digits.y < CLASSES
    return Dataset(
        "digits 0 to 3", digits.x[kept], digits.y[kept], CLASSES, digits.bounds, digits.public, digits.licence
    )


def released_member() -> np.ndarray[Any, np.dtype[np.int8]]:
    """Membership of `records()` in the released model: 150 members, 150 others, the rest was never asked about."""
    member = np.full(len(records()), -1, dtype=np.int8)
    member[:150], member[150:300] = 1, 0
    return member


def fitted(rows: Ints) -> LogisticRegression:
    """A logistic regression of `rows` of `records()`."""
    from sklearn.linear_model import LogisticRegression

    data = records()
    return LogisticRegression(C=100.0, max_iter=500).fit(data.x[rows].reshape(len(rows), -1), data.y[rows])


def released() -> LogisticRegression:
    """The model that counts as somebody else's."""
    return fitted(np.flatnonzero(released_member() == 1))
