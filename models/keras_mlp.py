"""Multilayer perceptron of Keras, trained by minibatch gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._keras_recipe import KerasRecipe
from ._mlp import MLP

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class KerasMLP(MLP, KerasRecipe):
    """Dense layers of Keras; initial weights are Keras's own (Glorot uniform)."""

    def untrained(self, shape: tuple[int, ...], n_classes: int, seed: int) -> tf.keras.Model:
        """Freshly initialised network, compiled with the recipe's optimiser; see `KerasRecipe`."""
        from . import _keras

        return _keras.mlp(self, shape, n_classes, seed)
