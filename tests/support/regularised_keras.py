"""Small Keras recipes for defences that regularise, and training of a linear model step by step in float64."""

from pathlib import Path

import numpy as np
from privassay.harness.seeds import generator
from privassay.harness.user_code import UserFunction
from privassay.models.keras_mlp import KerasMLP
from privassay.models.keras_module import KerasModule

from .regularised import softmax

SMALL = KerasMLP(hidden=(32,), epochs=6, batch_size=32)
LINEAR = KerasMLP(hidden=(), epochs=4, batch_size=64, learning_rate=0.5, momentum=0.9, weight_decay=0.01)
USER_CODE = Path(__file__).parent / "user_code"


def theirs(kind, **settings):
    """A user's own compiled model."""
    return KerasModule(UserFunction(f"user_keras_models:{kind}", USER_CODE), **{"epochs": 6, **settings})


def start(recipe, data, seed):
    """First weights of the recipe's network for a seed: a list of arrays."""
    return recipe.untrained(data.shape, data.n_classes, seed).get_weights()


def batches(recipe, n, seed):
    """Every batch of plain training: (number of the epoch, rows)."""
    rng = generator(seed, "shuffle")
    for epoch in range(recipe.epochs):
        order = rng.permutation(n)
        for first in range(0, n, recipe.batch_size):
            yield epoch, order[first : first + recipe.batch_size]


def linear(recipe, weights, steps):
    """Kernel and bias after `steps`, each (inputs (b, features), how the loss falls with their logits (b, classes)).

    A step is a function of (probabilities and logits of given inputs), so that it may depend on them.
    """
    kernel, bias = (weight.astype(np.float64) for weight in weights)
    velocity = [np.zeros_like(kernel), np.zeros_like(bias)]
    for step in steps:
        inputs, error = step(lambda x: x @ kernel + bias)  # noqa: B023 - called at once
        gradients = inputs.T @ error + recipe.weight_decay * kernel, error.sum(axis=0) + recipe.weight_decay * bias
        velocity = [recipe.momentum * v - recipe.learning_rate * g for v, g in zip(velocity, gradients, strict=True)]
        kernel, bias = kernel + velocity[0], bias + velocity[1]
    return kernel, bias


def plain_error(logits, y):
    """Gradient of the mean cross-entropy by the logits."""
    return (softmax(logits) - np.eye(logits.shape[1])[y]) / len(y)


def cross_entropy(logits, y):
    """Of each record."""
    return -np.log(softmax(logits)[np.arange(len(y)), y])
