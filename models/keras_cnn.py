"""Small convolutional network of Keras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..harness.checks import positive, require
from ._descent import DescentSettings
from ._keras_recipe import KerasRecipe

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class KerasCNN(DescentSettings, KerasRecipe):
    """Blocks of 3 x 3 convolution, ReLU and 2 x 2 maximum, then one dense layer; weights start Glorot uniform.

    Records are pictures of shape (h, w) or (c, h, w). Settings of the descent are those of `DescentSettings`.

    Attributes:
        channels: of each block, at least 1 each; every block halves height and width.
    """

    channels: tuple[int, ...] = (16, 32)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.channels) > 0, "channels", self.channels, "at least one block")
        for channels in self.channels:
            positive(channels=channels)

    def untrained(self, shape: tuple[int, ...], n_classes: int, seed: int) -> tf.keras.Model:
        """Freshly initialised network, compiled with the recipe's optimiser; see `KerasRecipe`.

        Raises:
            UsageError: TensorFlow is not installed, or records are no pictures, or too small for so many blocks.
        """
        from . import _keras

        return _keras.cnn(self, shape, n_classes, seed)
