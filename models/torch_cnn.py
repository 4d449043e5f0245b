"""Small convolutional network of torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..harness.checks import positive, require
from ..harness.types import Ints, TrainingData
from ._descent import DescentSettings

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from ._torch import Loop, TorchModel


@dataclass(frozen=True)
class TorchCNN(DescentSettings):
    """Blocks of 3 x 3 convolution, ReLU and 2 x 2 maximum, then one linear layer.

    Records are pictures of shape (h, w) or (c, h, w).

    Settings of the descent are those of `DescentSettings`.

    Attributes:
        channels: of each block, at least 1 each; every block halves height and width.
    """

    channels: tuple[int, ...] = (16, 32)

    framework: ClassVar[str] = "torch"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.channels) > 0, "channels", self.channels, "at least one block")
        for channels in self.channels:
            positive(channels=channels)

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> TorchModel:
        """Train on `rows` of `data`; the same seed gives the same bytes on the same CPU."""
        return next(self.fit_pool(data, [rows], [seed]))

    def fit_pool(self, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]) -> Iterator[TorchModel]:
        """Yield a model for each entry of `rows` and `seeds`, in order; each is the one that `fit` gives."""
        from . import _module_pool

        return _module_pool.fit_pool(self, data, rows, seeds)

    def fit_by(self, loop: Loop, data: TrainingData, rows: Ints, seed: int) -> TorchModel:
        """Build the module from `seed` and let `loop(module, x, y)` train it in place: for a defence's rules."""
        from . import _torch

        return _torch.fit_by(loop, self, data, rows, seed)

    def untrained(self, shape: tuple[int, ...], n_classes: int, seed: int) -> nn.Module:
        """Freshly initialised module, records (n, *shape) to logits (n, n_classes), without buffers.

        Raises:
            UsageError: records are no pictures, or too small for so many blocks.
        """
        from . import _cnn

        return _cnn.cnn(shape, self.channels, n_classes, seed)

    def optimizer_for(self, module: nn.Module) -> Optimizer:
        """The recipe's optimiser over the parameters of `module`."""
        from . import _torch

        return _torch.optimizer_of(self, module)

    def load(self, folder: Path, shape: tuple[int, ...], n_classes: int) -> TorchModel:
        """Read back what `TorchModel.save` wrote.

        Raises:
            UsageError: the file cannot be read, or holds parameters of another architecture.
        """
        from . import _torch

        return _torch.load(self, folder, shape, n_classes)
