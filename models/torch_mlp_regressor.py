"""Multilayer perceptron of torch for regression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from ..harness.protocols import Task
from ..harness.types import Ints, TrainingData
from ._mlp import MLP

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from ._torch import Loop
    from ._torch_regression import TorchRegressor


@dataclass(frozen=True)
class TorchMLPRegressor(MLP):
    """Linear layers of torch with one output, trained on the mean squared error, for numbers on a public grid.

    The target is moved to [-1, 1] by the public range of the grid, not by statistics of the members. Settings are those
    of `MLP` and `DescentSettings`, with other defaults.
    """

    hidden: tuple[int, ...] = (64,)
    epochs: int = 200
    learning_rate: float = 0.01
    optimizer: Literal["sgd", "adam"] = "adam"

    framework: ClassVar[str] = "torch"
    task: ClassVar[Task] = "regression"

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> TorchRegressor:
        """Train on `rows` of `data`; the same seed gives the same bytes on the same CPU.

        Raises:
            UsageError: the data have classes, not numbers, or training diverges.
        """
        return next(self.fit_pool(data, [rows], [seed]))

    def fit_pool(self, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]) -> Iterator[TorchRegressor]:
        """Yield a model for each entry of `rows` and `seeds`, in order, one at a time on each core.

        Raises:
            UsageError: as `fit`.
        """
        from . import _torch_regression

        return _torch_regression.fit_pool(self, data, rows, seeds)

    def fit_by(self, loop: Loop, data: TrainingData, rows: Ints, seed: int) -> TorchRegressor:
        """Build the module from `seed` and let `loop(module, x, y)` train it in place: for a defence's rules.

        `x` is float32 (n, *shape), `y` float32 (n,), the targets moved to [-1, 1]: the `rows` of `data`, in memory. The
        module gives (n, 1).

        Raises:
            UsageError: as `fit`.
        """
        from . import _torch_regression

        return _torch_regression.fit_by(loop, self, data, rows, seed)

    def optimizer_for(self, module: nn.Module) -> Optimizer:
        """The recipe's optimiser over the parameters of `module`."""
        from . import _torch

        return _torch.optimizer_of(self, module)

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        """What training descends on: the squared error of outputs (n, 1) and moved targets float32 (n,)."""
        from torch.nn.functional import mse_loss

        return mse_loss(outputs[:, 0], targets, reduction=reduction)

    def load(self, folder: Path, shape: tuple[int, ...], n_classes: int) -> TorchRegressor:
        """Read back what `save` wrote.

        Raises:
            UsageError: the files cannot be read, or hold parameters of another architecture.
        """
        from . import _torch_regression

        return _torch_regression.load(self, folder, shape, n_classes)
