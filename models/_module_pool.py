"""Pools of any torch module without batch statistics and without randomness of its own.

On a CPU a model at a time on each core: there, batched weights turn convolutions into grouped ones, which ran two to
three times slower than the plain loop. On a CUDA device, where launching operations takes the time, all models of a
chunk as one program, by `torch.func`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from ..harness.seeds import derive
from ..harness.types import Ints, TrainingData
from ._chunks import CUDA_BUDGET, Chunk, chunk_size, chunks_of
from ._torch import TorchModel, TorchRecipe, best_device, checked, one_thread, plain_loop
from ._updates import update_of
from ._workers import Halt, cores, in_order


def fit_pool(
    recipe: TorchRecipe, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]
) -> Iterator[TorchModel]:
    """Yield plainly trained models, in order.

    Raises:
        UsageError: the module normalises over the batch, or draws random numbers.
    """
    fresh = checked(recipe.untrained(data.shape, data.n_classes, seed=0))
    if best_device().type == "cpu":
        return one_at_a_time(recipe, data, rows, seeds)
    size = 12 * sum(parameter.numel() for parameter in fresh.parameters())
    chunks = chunks_of(rows, seeds, chunk_size(len(seeds), 1, size, CUDA_BUDGET))
    return (model for chunk in chunks for model in fit_together(recipe, data, chunk, best_device()))


def one_at_a_time(
    recipe: TorchRecipe, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]
) -> Iterator[TorchModel]:
    """Yield plainly trained models, in order, one on each core of the CPU."""

    def work(own: tuple[Ints, int], halt: Halt) -> TorchModel:
        own_rows, seed = own
        return recipe.fit_by(plain_loop(recipe, seed, halt), data, own_rows, seed)

    with one_thread():
        yield from in_order(work, list(zip(rows, seeds, strict=True)), cores())


class ModuleStack:
    """S modules of one architecture with stacked parameters, each (S, ...); slopes as in `DenseStack`."""

    def __init__(self, modules: Sequence[nn.Module], device: torch.device) -> None:
        self._skeleton = modules[0]
        stacked, _ = stack_module_state(list(modules))
        self._named = {name: value.detach().to(device) for name, value in stacked.items()}
        self.parameters = list(self._named.values())
        self.slopes = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._gradients = vmap(grad(self._loss))

    def accumulate(self, x: Tensor, y: Tensor, keep: float) -> None:
        """Set slopes to `keep` x slopes + the gradient of the mean loss on x (S, b, *shape) and y (S, b)."""
        gradients = self._gradients(self._named, x, y)
        for slope, gradient in zip(self.slopes, gradients.values(), strict=True):
            slope.mul_(keep).add_(gradient)

    def weights_changed(self) -> None:
        """Nothing is derived from the weights."""

    def copy_into(self, modules: Sequence[nn.Module]) -> None:
        """Write the parameters of each model into its module."""
        for model, module in enumerate(modules):
            module.load_state_dict({name: value[model] for name, value in self._named.items()})

    def _loss(self, parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(functional_call(self._skeleton, parameters, (x,)), y)


def fit_together(recipe: TorchRecipe, data: TrainingData, chunk: Chunk, device: torch.device) -> list[TorchModel]:
    """Train the models of a chunk as one program: minibatch descent as in `plain_loop`."""
    modules = [recipe.untrained(data.shape, data.n_classes, seed) for seed in chunk.seeds]
    stack = ModuleStack(modules, device)
    update = update_of(recipe, stack)
    x, y = torch.tensor(data.x, device=device), torch.tensor(data.y, device=device)
    rows = torch.from_numpy(np.stack(chunk.rows))
    shuffles = [torch.Generator().manual_seed(derive(seed, "batches")) for seed in chunk.seeds]
    for _ in range(recipe.epochs):
        order = torch.stack([torch.randperm(rows.shape[1], generator=own) for own in shuffles])
        drawn = torch.gather(rows, 1, order).to(device)
        for start in range(0, rows.shape[1], recipe.batch_size):
            batch = drawn[:, start : start + recipe.batch_size]
            stack.accumulate(x[batch], y[batch], update.keep)
            update.step()
    stack.copy_into(modules)
    return [TorchModel(module.cpu(), data.shape, data.n_classes) for module in modules]
