"""Small convolutional network of torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..harness.checks import positive, require
from ..harness.types import Ints, TrainingData
from ._torch_recipe import TorchSettings

if TYPE_CHECKING:
    from torch import nn

    from ._torch import TorchModel


@dataclass(frozen=True)
class TorchCNN(TorchSettings):
    """Blocks of 3 x 3 convolution, ReLU and 2 x 2 maximum, then one linear layer.

    Records are pictures of shape (h, w) or (c, h, w).

    Settings of the descent are those of `DescentSettings`.

    Attributes:
        channels: of each block, at least 1 each; every block halves height and width.
    """

    channels: tuple[int, ...] = (16, 32)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.channels) > 0, "channels", self.channels, "at least one block")
        for channels in self.channels:
            positive(channels=channels)

    def check(self, few: TrainingData) -> None:
        """Build the network for such records once.

        Raises:
            UsageError: as `untrained`.
        """
        self.untrained(few.shape, few.n_classes, seed=0)

    def fit_pool(self, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]) -> Iterator[TorchModel]:
        """Yield a model for each entry of `rows` and `seeds`, in order; each is the one that `fit` gives."""
        from . import _module_pool

        return _module_pool.fit_pool(self, data, rows, seeds)

    def untrained(self, shape: tuple[int, ...], n_classes: int, seed: int) -> nn.Module:
        """Freshly initialised module, records (n, *shape) to logits (n, n_classes), without buffers.

        Raises:
            UsageError: records are no pictures, or too small for so many blocks.
        """
        from . import _cnn

        return _cnn.cnn(shape, self.channels, n_classes, seed)
