"""The torch half of `TorchMLPRegressor`; importing it imports torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from ..harness.errors import UsageError
from ..harness.types import Float32, Float64, Ints, TrainingData
from ._regression import GridModel, load_grid, targets
from ._torch import FILE, Loop, mlp, one_thread, plain_loop
from ._workers import Halt, cores, in_order

if TYPE_CHECKING:
    from .torch_mlp_regressor import TorchMLPRegressor


class TorchRegressor(GridModel):
    """A trained module whose one output is the target, moved to [-1, 1] by the range of the grid."""

    def __init__(self, module: nn.Sequential, grid: Float64) -> None:
        """Take over `module`, which maps float32 (n, *shape) to (n, 1)."""
        super().__init__(grid)
        self.module = module.eval().requires_grad_(False)
        self.module.zero_grad(set_to_none=True)

    def answers(self, x: Float32) -> Float64:
        """Predicted numbers: float64 (n,)."""
        return _middle(self.grid) + self.scaled(x).astype(np.float64) * _reach(self.grid)

    def scaled(self, x: Float32) -> Float32:
        """What the module gives, predicted numbers moved as the targets were: float32 (n,)."""
        with one_thread(), torch.inference_mode():
            outputs: Float32 = self.module(torch.tensor(x))[:, 0].numpy()
        return outputs

    def save_regressor(self, folder: Path) -> None:
        """Write `model.safetensors`."""
        save_model(self.module, str(folder / FILE))


def fit_pool(
    recipe: TorchMLPRegressor, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]
) -> Iterator[TorchRegressor]:
    """Yield trained models, in order, one on each core of the CPU."""

    def work(own: tuple[Ints, int], halt: Halt) -> TorchRegressor:
        own_rows, seed = own
        return fit_by(plain_loop(recipe, seed, halt), recipe, data, own_rows, seed)

    with one_thread():
        yield from in_order(work, list(zip(rows, seeds, strict=True)), cores())


def fit_by(loop: Loop, recipe: TorchMLPRegressor, data: TrainingData, rows: Ints, seed: int) -> TorchRegressor:
    """Build the module, let `loop` train it on `rows` of `data`, on one thread, and return the model.

    Raises:
        UsageError: the data have classes, or training diverged.
    """
    numbers, grid = targets(data, rows)
    scaled = ((numbers - _middle(grid)) / _reach(grid)).astype(np.float32)
    module = _untrained(recipe, data.shape, seed)
    with one_thread():
        loop(module, torch.from_numpy(data.x[rows]), torch.from_numpy(scaled))
    model = TorchRegressor(module, grid)
    if not np.isfinite(model.answers(data.x[rows])).all():
        raise UsageError(f"{recipe}: training diverged: answers are NaN or infinite; lower learning_rate")
    return model


def load(recipe: TorchMLPRegressor, folder: Path, shape: tuple[int, ...], n_classes: int) -> TorchRegressor:
    """Read the parameters into a module of the recipe.

    Raises:
        UsageError: the files cannot be read, or hold parameters of another architecture.
    """
    module, path = _untrained(recipe, shape, seed=0), folder / FILE
    try:
        load_model(module, path)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path}: not parameters of {recipe} for records of {shape}: {reason}") from error
    return TorchRegressor(module, load_grid(folder, n_classes))


def _untrained(recipe: TorchMLPRegressor, shape: tuple[int, ...], seed: int) -> nn.Sequential:
    return mlp((math.prod(shape), *recipe.hidden, 1), recipe.activation, seed)


def _middle(grid: Float64) -> float:
    return float(grid[0] + grid[-1]) / 2


def _reach(grid: Float64) -> float:
    return float(grid[-1] - grid[0]) / 2
