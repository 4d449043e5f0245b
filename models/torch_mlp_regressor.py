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

    def load(self, folder: Path, shape: tuple[int, ...], n_classes: int) -> TorchRegressor:
        """Read back what `save` wrote.

        Raises:
            UsageError: the files cannot be read, or hold parameters of another architecture.
        """
        from . import _torch_regression

        return _torch_regression.load(self, folder, shape, n_classes)
