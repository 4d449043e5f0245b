"""What the scikit-learn regressors share."""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..harness.protocols import Task
from ..harness.types import Float32, Float64, Ints, TrainingData
from ._processes import fit_in_order
from ._regression import GridModel, load_grid, targets
from ._sklearn import FILE, flat, load_estimator

if TYPE_CHECKING:
    from sklearn.base import RegressorMixin


class SklearnRegressor(GridModel):
    """A fitted scikit-learn regressor. Records of any shape are flattened."""

    def __init__(self, estimator: RegressorMixin, grid: Float64) -> None:
        """Wrap `estimator`, whose targets were numbers in the range of `grid` (k,)."""
        super().__init__(grid)
        self.estimator = estimator

    def answers(self, x: Float32) -> Float64:
        """Predicted numbers: float64 (n,)."""
        return np.asarray(self.estimator.predict(flat(x)), dtype=np.float64)

    def save_regressor(self, folder: Path) -> None:
        """Write `model.skops`."""
        import skops.io

        skops.io.dump(self.estimator, folder / FILE, compression=zipfile.ZIP_DEFLATED)


class SklearnRegression(ABC):
    """A regression recipe of scikit-learn; a subclass is a frozen dataclass of the estimator's parameters.

    Attributes:
        trusted: full names of the types in its file, beside those that skops itself holds to be safe.
    """

    framework: ClassVar[str] = "sklearn"
    task: ClassVar[Task] = "regression"
    trusted: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def untrained(self, seed: int) -> RegressorMixin:
        """The estimator before fitting; it uses one core, and every random draw of its fit comes from `seed`."""

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> SklearnRegressor:
        """Fit on `rows` of `data`, on one core; the same seed gives the same model.

        Raises:
            UsageError: the data have classes, not numbers.
        """
        from threadpoolctl import threadpool_limits

        numbers, grid = targets(data, rows)
        estimator = self.untrained(seed)
        with threadpool_limits(limits=1):  # sums over threads have no fixed order
            estimator.fit(flat(data.x[rows]).astype(np.float64), numbers)
        return SklearnRegressor(estimator, grid)

    def fit_pool(self, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]) -> Iterator[SklearnRegressor]:
        """Yield one model for each entry of `rows` and `seeds`, in order; large pools are fitted on all cores.

        Raises:
            UsageError: as `fit`.
        """
        return fit_in_order(self, data, rows, seeds)

    def load(
        self,
        folder: Path,
        shape: tuple[int, ...],  # noqa: ARG002 - the file knows it
        n_classes: int,
    ) -> SklearnRegressor:
        """Read back what `save` wrote.

        Raises:
            UsageError: the files cannot be read or hold something else.
        """
        estimator = load_estimator(folder, type(self.untrained(0)), self.trusted)
        return SklearnRegressor(estimator, load_grid(folder, n_classes))
