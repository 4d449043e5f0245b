"""What every torch recipe does alike. Importing it does not import torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ..harness.types import Ints, TrainingData
from ._descent import DescentSettings

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from ._torch import Loop, TorchModel


@dataclass(frozen=True, kw_only=True)
class TorchSettings(DescentSettings, ABC):
    """A recipe of torch: a module, and minibatch gradient descent on the mean cross-entropy.

    Everything that touches torch lies in modules that are imported when a model is built, trained or loaded.
    """

    framework: ClassVar[str] = "torch"

    @abstractmethod
    def untrained(self, shape: tuple[int, ...], n_classes: int, seed: int) -> nn.Module:
        """Freshly initialised module, records (n, *shape) to logits (n, n_classes)."""

    @abstractmethod
    def fit_pool(self, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]) -> Iterator[TorchModel]:
        """Yield a model for each entry of `rows` and `seeds`, in order; each is the one that `fit` gives."""

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> TorchModel:
        """Train on `rows` of `data`; the same seed gives the same bytes on the same CPU."""
        return next(self.fit_pool(data, [rows], [seed]))

    def fit_by(self, loop: Loop, data: TrainingData, rows: Ints, seed: int) -> TorchModel:
        """Build the module from `seed` and let `loop(module, x, y)` train it in place: for a defence's rules.

        `x` is float32 (n, *shape), `y` int64 (n,): the `rows` of `data`, in memory.
        """
        from . import _torch

        return _torch.fit_by(loop, self, data, rows, seed)

    def optimizer_for(self, module: nn.Module) -> Optimizer:
        """The recipe's optimiser over the parameters of `module`."""
        from . import _torch

        return _torch.optimizer_of(self, module)

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        """What training descends on: the cross-entropy of logits (n, n_classes) and labels int64 (n,)."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs, targets, reduction=reduction)

    def load(self, folder: Path, shape: tuple[int, ...], n_classes: int) -> TorchModel:
        """Read back what `TorchModel.save` wrote.

        Raises:
            UsageError: the file cannot be read, or holds parameters of another architecture.
        """
        from . import _torch

        return _torch.load(self, folder, shape, n_classes)
