"""Regressors at the model border: a number becomes a distribution over the public grid of targets.

A regressor answers f(x). Its logits are -(f(x) - g_c)^2 / (2 h^2) for each value g_c of the grid: a normal distribution
of fixed width h, cut to the grid. So -ln p_y is the squared error over 2 h^2, up to a constant, and whatever goes by
the loss, reference models included, goes by the squared error. f(x) can be computed back from the logits, so nothing
that a regressor gives away is lost, and nothing is added: h and the grid are public.

h is a twentieth of the grid's range, five steps of a grid of 101 values. Errors of a useful model, a few percent to a
fifth of the range, are then losses of about 0.1 to 10 nats, as those of a classifier; no answer within the range has a
loss much above 200, far from where probabilities underflow (690); and the sum over the grid, which normalises, is the
same to 3 % for all answers further than 2 h from the ends of the grid. Nearer to an end part of the normal is cut off
and the loss grows more slowly on that side: a declared range should leave a tenth of its length free at both ends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from ..harness.errors import NotApplicable, UsageError
from ..harness.types import Float32, Float64, Floats, Ints, TrainingData

WIDTHS_IN_RANGE = 20
FILE = "grid.npy"


def bandwidth(grid: Float64) -> float:
    """Width h of the distribution around an answer: the range of the grid (k,) over 20."""
    return float(grid[-1] - grid[0]) / WIDTHS_IN_RANGE


def grid_logits(answers: Floats, grid: Float64) -> Float32:
    """Logits -(f - g)^2 / (2 h^2) of numbers `answers` (n,) on a grid (k,): float32 (n, k).

    >>> import numpy as np
    >>> grid_logits(np.array([10.0]), np.array([0.0, 10.0, 20.0])).tolist()
    [[-50.0, -0.0, -50.0]]
    """
    away = (answers.astype(np.float64)[:, None] - grid) / bandwidth(grid)
    return np.asarray(-0.5 * away**2, dtype=np.float32)


def answers_of(logits: Floats, grid: Float64) -> Float64:
    """The numbers behind `grid_logits` (n, k): float64 (n,).

    The difference of the logits of both ends is linear in f. Logarithms of probabilities are as good as logits. For f
    within the range float32 logits leave an error below 1e-7 of the range.
    """
    low, high = grid[0], grid[-1]
    difference = logits[:, -1].astype(np.float64) - logits[:, 0]
    return np.asarray((low + high) / 2 + difference * bandwidth(grid) ** 2 / (high - low))


def targets(data: TrainingData, rows: Ints) -> tuple[Float64, Float64]:
    """The numbers that `rows` (n,) of `data` have as targets, float64 (n,), and the grid (k,).

    Raises:
        UsageError: the data have classes, not numbers.
    """
    if data.grid is None:
        raise UsageError("a regressor needs numbers as targets (data with a grid): these records have classes")
    return data.grid[data.y[rows]], data.grid


class GridModel(ABC):
    """A trained regressor that answers with a distribution over a grid."""

    def __init__(self, grid: Float64) -> None:
        """Answer on `grid` (k,)."""
        self.grid = grid

    @abstractmethod
    def answers(self, x: Float32) -> Float64:
        """The numbers f(x) for records (n, *shape): float64 (n,)."""

    @abstractmethod
    def save_regressor(self, folder: Path) -> None:
        """Write what computes f(x), without pickle."""

    def logits(self, x: Float32) -> Float32:
        """`grid_logits` of the answers: float32 (n, k)."""
        return grid_logits(self.answers(x), self.grid)

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:  # noqa: ARG002 - refuses every input
        """Raise `NotApplicable`."""
        raise NotApplicable("a regressor has no classes: no gradients of class probabilities are given")

    def save(self, folder: Path) -> None:
        """Write the regressor and, as `grid.npy`, its grid."""
        self.save_regressor(folder)
        np.save(folder / FILE, self.grid, allow_pickle=False)


def load_grid(folder: Path, n_classes: int) -> Float64:
    """Read the grid that `GridModel.save` wrote: float64 (n_classes,).

    Raises:
        UsageError: it cannot be read or has another number of values.
    """
    path = folder / FILE
    try:
        grid: Float64 = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
    if grid.shape != (n_classes,) or grid.dtype != np.float64:
        raise UsageError(f"{path}: {grid.dtype} {grid.shape}: must be float64 ({n_classes},)")
    return grid
