"""DP-SGD on stacks of perceptrons: per-record clipping by ghost norms, Poisson batches, noise for each model.

The gradient of one record by a linear layer is the outer product of its outputs' gradient d and its inputs a, so its
squared norm is |d|^2 (|a|^2 + 1), bias included (Goodfellow 2015, arXiv:1510.01799; "ghost clipping", Li et al. 2022,
arXiv:2110.05679). Scaling d by the record's clipping factor then gives the sum of clipped gradients in the same
products that plain training needs; no gradient of a single record is ever built.

The step is that of Opacus: Poisson batches, sum of gradients clipped to `max_grad_norm`, Gaussian noise, division by
the *expected* batch size. Batches, noise and their order of drawing are those of the Opacus half of the defence, so
both give the same weights up to rounding.

Batches differ in size; in a stack they are padded with records of weight zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..harness.accounting import observed_poisson
from ..harness.types import GradientNoise, Ints, ObservedSampling, TrainingData
from ._dense import DenseStack
from ._dense_pool import DenseRecipe, Task, chunked, trained
from ._torch import TorchModel
from ._updates import update_of

_TINY = 1e-6  # as in Opacus: keeps the clipping factor finite
_PADDED_TO = 16


def fit_private_pool(
    recipe: DenseRecipe, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int], noise: GradientNoise
) -> Iterator[tuple[TorchModel, ObservedSampling]]:
    """Yield privately trained models with what their training did, in order, as their chunks are finished."""
    yield from trained(
        recipe, data, chunked(recipe, data, rows, seeds), lambda task: private_descent(recipe, task, noise)
    )


def private_descent(recipe: DenseRecipe, task: Task, noise: GradientNoise) -> list[ObservedSampling]:
    """Train a stack by DP-SGD; return the sampling that was observed for each model."""
    stack, update = task.stack, update_of(recipe, task.stack)
    noises = task.generators("noise")
    expected = noise.sample_rate * task.rows.shape[1]
    taken, drawn = 0, torch.zeros(len(task.seeds))
    for parts in poisson_batches(task, noise):
        task.halt.check()
        keep = update.keep
        for chosen, joined in parts:
            deltas = stack.backward(stack.forward(task.records, chosen), task.labels[chosen], 1.0)
            clip(stack, deltas, joined / expected, noise.max_grad_norm)
            stack.accumulate(deltas, keep)
            keep, drawn = 1.0, drawn + joined.sum(dim=1).cpu()
        add_noise(stack, noise.noise_multiplier * noise.max_grad_norm / expected, noises)
        update.step()
        taken += 1
    return [observed_poisson(noise.sample_rate, taken, task.rows.shape[1], float(count)) for count in drawn]


def poisson_batches(task: Task, noise: GradientNoise) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Yield for each step the parts of its batches: rows (S, w) and weights (S, w), 1 for records and 0 for padding.

    The width is the same in every step, so that a model's sums are taken in the same order whatever company it has;
    a batch beyond it is continued in further parts, which are padding for the other models and change nothing there.
    """
    models, n = task.rows.shape
    coins = task.generators("batches")
    width = usual_width(n, noise.sample_rate)
    rows = task.rows.cpu()
    for _ in range(noise.steps):
        drawn = [torch.nonzero(torch.rand(n, generator=own) < noise.sample_rate).squeeze(1) for own in coins]
        parts = max(1, -(-max(len(batch) for batch in drawn) // width))
        chosen, joined = torch.zeros((models, parts * width), dtype=torch.int64), torch.zeros((models, parts * width))
        for model, batch in enumerate(drawn):
            chosen[model, : len(batch)] = rows[model, batch]
            joined[model, : len(batch)] = 1
        chosen, joined = chosen.to(task.rows.device), joined.to(task.rows.device)
        starts = range(0, parts * width, width)
        yield [(chosen[:, start : start + width], joined[:, start : start + width]) for start in starts]


def usual_width(n: int, rate: float) -> int:
    """Three standard deviations above the expected batch of `n` records: about one batch in a thousand is longer."""
    mean = n * rate
    usual = math.ceil(mean + 3 * math.sqrt(mean * (1 - rate)))
    return min(n, -(-usual // _PADDED_TO) * _PADDED_TO)


def clip(stack: DenseStack, deltas: Sequence[Tensor], weights: Tensor, max_grad_norm: float) -> None:
    """Scale each record's `deltas` in place so that its whole gradient has norm at most max_grad_norm, x `weights`."""
    squares = [
        delta.square().sum(dim=2) * (inputs + 1) for delta, inputs in zip(deltas, stack.squared_inputs(), strict=True)
    ]
    norms = torch.stack(squares).sum(dim=0).sqrt()
    factors = weights * (max_grad_norm / (norms + _TINY)).clamp(max=1.0)
    for delta in deltas:
        delta.mul_(factors.unsqueeze(2))


def add_noise(stack: DenseStack, deviation: float, generators: Sequence[torch.Generator]) -> None:
    """Add Gaussian noise to every slope, drawn layer by layer, weights before biases, in torch's layout of weights.

    The numbers come from the CPU, so that they are the same on every device.
    """
    drawn = [torch.empty(shape) for inputs, outputs in stack.sizes for shape in ((outputs, inputs), (outputs,))]
    for model, own in enumerate(generators):
        slopes = [slope for weight, bias in stack.layer_slopes(model) for slope in (weight.T, bias)]
        for slope, buffer in zip(slopes, drawn, strict=True):
            slope.add_(buffer.normal_(generator=own).to(slope.device), alpha=deviation)
