"""The torch half of `TorchMLPRegressor`; importing it imports torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from ..harness.errors import UsageError
from ..harness.seeds import derive
from ..harness.types import Float32, Float64, Ints, TrainingData
from ._mlp import MLP
from ._regression import GridModel, load_grid, targets
from ._torch import FILE, mlp, one_thread, optimizer_of
from ._workers import Halt, cores, in_order


class TorchRegressor(GridModel):
    """A trained module whose one output is the target, moved to [-1, 1] by the range of the grid."""

    def __init__(self, module: nn.Sequential, grid: Float64) -> None:
        """Take over `module`, which maps float32 (n, *shape) to (n, 1)."""
        super().__init__(grid)
        self.module = module.eval().requires_grad_(False)
        self.module.zero_grad(set_to_none=True)

    def answers(self, x: Float32) -> Float64:
        """Predicted numbers: float64 (n,)."""
        with one_thread(), torch.inference_mode():
            scaled: Float64 = self.module(torch.tensor(x))[:, 0].numpy().astype(np.float64)
        return _middle(self.grid) + scaled * _reach(self.grid)

    def save_regressor(self, folder: Path) -> None:
        """Write `model.safetensors`."""
        save_model(self.module, str(folder / FILE))


def fit_pool(recipe: MLP, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]) -> Iterator[TorchRegressor]:
    """Yield trained models, in order, one on each core of the CPU."""

    def work(own: tuple[Ints, int], halt: Halt) -> TorchRegressor:
        return _fit(recipe, data, *own, halt)

    with one_thread():
        yield from in_order(work, list(zip(rows, seeds, strict=True)), cores())


def load(recipe: MLP, folder: Path, shape: tuple[int, ...], n_classes: int) -> TorchRegressor:
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


def _fit(recipe: MLP, data: TrainingData, rows: Ints, seed: int, halt: Halt) -> TorchRegressor:
    numbers, grid = targets(data, rows)
    scaled = ((numbers - _middle(grid)) / _reach(grid)).astype(np.float32)
    module = _untrained(recipe, data.shape, seed)
    with one_thread():
        _descend(recipe, module, (torch.from_numpy(data.x[rows]), torch.from_numpy(scaled)), seed, halt)
    model = TorchRegressor(module, grid)
    if not np.isfinite(model.answers(data.x[rows])).all():
        raise UsageError(f"{recipe}: training diverged: answers are NaN or infinite; lower learning_rate")
    return model


def _descend(recipe: MLP, module: nn.Module, records: tuple[Tensor, Tensor], seed: int, halt: Halt) -> None:
    """Minibatch descent on the mean squared error, the records in a new order each epoch."""
    x, wanted = records
    optimizer = optimizer_of(recipe, module)
    generator = torch.Generator().manual_seed(derive(seed, "batches"))
    for _ in range(recipe.epochs):
        for batch in torch.split(torch.randperm(len(wanted), generator=generator), recipe.batch_size):
            halt.check()
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.mse_loss(module(x[batch])[:, 0], wanted[batch]))
            optimizer.step()


def _untrained(recipe: MLP, shape: tuple[int, ...], seed: int) -> nn.Sequential:
    return mlp((math.prod(shape), *recipe.hidden, 1), recipe.activation, seed)


def _middle(grid: Float64) -> float:
    return float(grid[0] + grid[-1]) / 2


def _reach(grid: Float64) -> float:
    return float(grid[-1] - grid[0]) / 2
