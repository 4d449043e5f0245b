"""Pools of multilayer perceptrons as stacks of models (`_dense.py`); by DP-SGD in `_dense_private.py`.

A model's randomness comes from its own seed alone: its first weights, the order of its records, its Poisson batches,
its noise. So neither the chunk that it is trained in nor the number of workers changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..harness.seeds import derive
from ..harness.types import Ints, TrainingData
from ._chunks import CACHE_BUDGET, CUDA_BUDGET, Chunk, chunk_size, chunks_of
from ._dense import Arithmetic, DenseStack, padded
from ._torch import TorchModel, TorchRecipe, best_device, one_thread
from ._updates import update_of
from ._workers import Halt, cores, in_order

R = TypeVar("R")


class DenseRecipe(TorchRecipe, Protocol):
    """What the functions here need of a recipe."""

    @property
    def dtype(self) -> Arithmetic:
        """Type of the factors of matrix products."""

    def untrained(self, shape: tuple[int, ...], n_classes: int, seed: int) -> nn.Sequential:
        """Fresh perceptron: `Flatten`, `Linear`, activation, ..., `Linear`."""


@dataclass(frozen=True, eq=False)
class Task:
    """A chunk at work: a fresh stack, the records it learns from, and who learns from which.

    Attributes:
        stack: models with their first weights.
        records: all records (all, padded features), in the type of the products.
        labels: int64 (all,).
        rows: int64 (S, n), rows of `records` of each model.
        seeds: of each model.
        halt: says when to stop.
    """

    stack: DenseStack
    records: Tensor
    labels: Tensor
    rows: Tensor
    seeds: tuple[int, ...]
    halt: Halt

    def generators(self, stream: str) -> list[torch.Generator]:
        """A generator for each model, on the stream of that name."""
        return [torch.Generator().manual_seed(derive(seed, stream)) for seed in self.seeds]


def fit_pool(
    recipe: DenseRecipe, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]
) -> Iterator[TorchModel]:
    """Yield plainly trained models, in order, as their chunks are finished."""
    for model, _ in trained(recipe, data, chunked(recipe, data, rows, seeds), lambda task: plain_descent(recipe, task)):
        yield model


def plain_descent(recipe: DenseRecipe, task: Task) -> list[None]:
    """Minibatch descent on the mean cross-entropy, the records of each model in a new order each epoch."""
    stack, update = task.stack, update_of(recipe, task.stack)
    shuffles = task.generators("batches")
    n = task.rows.shape[1]
    for _ in range(recipe.epochs):
        order = torch.stack([torch.randperm(n, generator=own) for own in shuffles]).to(task.rows.device)
        drawn = torch.gather(task.rows, 1, order)
        labels = task.labels[drawn]
        for start in range(0, n, recipe.batch_size):
            task.halt.check()
            batch = slice(start, start + recipe.batch_size)
            logits = stack.forward(task.records, drawn[:, batch])
            deltas = stack.backward(logits, labels[:, batch], 1 / logits.shape[1])
            stack.accumulate(deltas, update.keep)
            update.step()
    return [None] * len(task.seeds)


def chunked(recipe: DenseRecipe, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]) -> list[Chunk]:
    """Cut a pool for this machine and recipe; what it is cut into changes no model."""
    fresh = recipe.untrained(data.shape, data.n_classes, seed=0)
    numbers = {"float32": 8, "bfloat16": 10}[recipe.dtype]  # bytes of a weight, its slope and its factor
    moments = 8 if recipe.optimizer == "adam" else 0
    size = (numbers + moments) * sum(parameter.numel() for parameter in fresh.parameters())
    cpu = best_device().type == "cpu"
    most = chunk_size(len(seeds), cores() if cpu else 1, size, CACHE_BUDGET if cpu else CUDA_BUDGET)
    return chunks_of(rows, seeds, most)


def trained(
    recipe: DenseRecipe, data: TrainingData, chunks: Sequence[Chunk], descend: Callable[[Task], Sequence[R]]
) -> Iterator[tuple[TorchModel, R]]:
    """Yield each model of `chunks`, in order, with what `descend` returned for it."""
    device = best_device()
    records = _records(data, recipe.dtype).to(device)
    labels = _tensor(data.y).to(device)

    def work(chunk: Chunk, halt: Halt) -> list[tuple[TorchModel, R]]:
        modules = [recipe.untrained(data.shape, data.n_classes, seed) for seed in chunk.seeds]
        stack = DenseStack(modules, recipe.dtype, device)
        rows = torch.from_numpy(np.stack(chunk.rows)).to(device)
        results = descend(Task(stack, records, labels, rows, chunk.seeds, halt))
        stack.copy_into(modules)
        models = [TorchModel(module, data.shape, data.n_classes) for module in modules]
        return list(zip(models, results, strict=True))

    with one_thread():
        for models in in_order(work, chunks, cores() if device.type == "cpu" else 1):
            yield from models


def _records(data: TrainingData, dtype: Arithmetic) -> Tensor:
    """All records as rows (all, padded features)."""
    flat = data.x.reshape(len(data.x), -1)
    records = torch.zeros((len(flat), padded(flat.shape[1])), dtype=getattr(torch, dtype))
    records[:, : flat.shape[1]] = _tensor(flat)
    return records


def _tensor(array: np.ndarray) -> Tensor:  # type: ignore[type-arg]
    """A tensor on the same memory where that may be written to, else on a copy; it is only read."""
    writable = array.flags.writeable and array.flags.c_contiguous
    return torch.from_numpy(array if writable else array.copy())
