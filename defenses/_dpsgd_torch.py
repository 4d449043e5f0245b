"""DP-SGD for torch recipes, by Opacus, over Poisson batches drawn from tensors in memory.

Opacus computes each record's gradient, clips it and adds the noise (`GradSampleModule`, `DPOptimizer`). Its
DataLoader is replaced by a seeded Poisson sampler, which is several times faster and repeats byte for byte.

Opacus knows no users: where they are the unit, the records' gradients are averaged by user before it clips them, so
that what it takes for records are users. A batch holds the gradients of all its users' records at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from ..harness.accounting import observed_poisson
from ..harness.protocols import Model, Trained
from ..harness.seeds import derive
from ..harness.types import DPMechanism, Ints, ObservedSampling, TrainingData
from ._dpsgd_torch_checks import hooks_unremarked, refuse_moved, refuse_unfit, unlearned
from .dp_sgd import DPSGD


class TorchRecipe(Protocol):
    """What this half needs of a torch recipe."""

    @property
    def epochs(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    def optimizer_for(self, module: nn.Module) -> torch.optim.Optimizer:
        """The optimiser that takes the noisy gradients."""

    def fit_by(
        self, loop: Callable[[nn.Module, Tensor, Tensor], None], data: TrainingData, rows: Ints, seed: int
    ) -> Model:
        """Build the module, let `loop` train it in place, return the model."""


@dataclass(frozen=True)
class Noise:
    """How gradients are privatised.

    Attributes:
        multiplier: standard deviation of the noise over `max_grad_norm`; 0 adds none.
        max_grad_norm: L2 norm to which each record's, or each owner's, gradient is clipped.
        expected_batch_size: divisor of the noisy sum, in records or owners; never the actual size, which depends on
            the data.
        generator: source of the noise.
        owners: int64 (n,), whose each record is: the gradients of an owner's records in a batch are averaged before
            they are clipped. None: each record stands for itself.
    """

    multiplier: float
    max_grad_norm: float
    expected_batch_size: float
    generator: torch.Generator
    owners: Tensor | None = None


def train(recipe: TorchRecipe, data: TrainingData, rows: Ints, seed: int, settings: DPSGD) -> Trained:
    """Train one model; its mechanism holds the steps that the optimiser really took.

    A batch size beyond the number of units (records, or users) means that every one joins every batch.

    Raises:
        UsageError: the module mixes the records of a batch, keeps something of them that gets no noise, or Opacus does
            not find the gradient of each.
    """
    recipe = settings.applied_to(recipe)
    owners = _owners(data, rows) if settings.unit == "user" else None
    units = len(rows) if owners is None else int(owners.max()) + 1
    rate = min(1.0, recipe.batch_size / units)
    planned = _sampling(rate, math.ceil(recipe.epochs / rate))
    multiplier = settings.noise_for(planned)
    sizes: list[int] = []
    taken = 0

    def loop(module: nn.Module, x: Tensor, y: Tensor) -> None:
        nonlocal taken
        refuse_unfit(module, x, y)
        before = unlearned(module)
        noise = Noise(multiplier, settings.max_grad_norm, rate * units, _generator(seed, "noise"), owners)
        drawn = _counted(poisson_batches(units, rate, planned.steps, _generator(seed, "batches")), sizes)
        batches = drawn if owners is None else records_of(drawn, owners)
        taken = private_descent(module, recipe.optimizer_for(module), noise, x, y, batches)
        refuse_moved(before, unlearned(module))

    model = recipe.fit_by(loop, data, rows, seed)
    observed = observed_poisson(rate, taken, units, sum(sizes))
    return Trained(
        model, DPMechanism(multiplier, settings.max_grad_norm, observed, settings.target_delta, settings.unit)
    )


def check(recipe: TorchRecipe, few: TrainingData) -> None:
    """Build a module, ask of it on the records `few` what `train` asks on its own, and throw it away.

    Raises:
        UsageError: as `train`, but for what shows only in training.
    """
    with torch.random.fork_rng(devices=[]):
        recipe.fit_by(refuse_unfit, few, np.arange(len(few.y)), seed=0)


def _owners(data: TrainingData, rows: Ints) -> Tensor:
    """Whose each of `rows` is: int64 (n,), 0 .. users - 1."""
    assert data.units is not None
    return torch.from_numpy(np.unique(data.units[rows], return_inverse=True)[1].reshape(-1).astype(np.int64))


def poisson_batches(n: int, rate: float, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield `steps` batches; each of `n` records joins each batch by its own coin, so some are empty."""
    for _ in range(steps):
        yield torch.nonzero(torch.rand(n, generator=generator) < rate).squeeze(1)


def records_of(batches: Iterable[Tensor], owners: Tensor) -> Iterator[Tensor]:
    """Yield all records of the owners in each batch, owner by owner; every owner 0 .. owners.max() has some."""
    order = torch.argsort(owners, stable=True)
    theirs = torch.split(order, torch.bincount(owners).tolist())
    for batch in batches:
        yield torch.cat([order[:0], *(theirs[owner] for owner in batch.tolist())])


def _counted(batches: Iterable[Tensor], sizes: list[int]) -> Iterator[Tensor]:
    """The same batches; their sizes are added to `sizes` as they are used."""
    for batch in batches:
        sizes.append(len(batch))
        yield batch


def private_descent(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    noise: Noise,
    x: Tensor,
    y: Tensor,
    batches: Iterable[Tensor],
) -> int:
    """Train `module` in place on `batches` of (x, y); return the noisy steps taken, empty ones included."""
    steps = 0

    def count(_: DPOptimizer) -> None:
        nonlocal steps
        steps += 1

    private = GradSampleModule(module, loss_reduction="sum")
    noisy = DPOptimizer(
        optimizer,
        noise_multiplier=noise.multiplier,
        max_grad_norm=noise.max_grad_norm,
        expected_batch_size=noise.expected_batch_size,
        generator=noise.generator,
    )
    noisy.attach_step_hook(count)  # called once the noise is in, before the weights move
    with hooks_unremarked():
        for batch in batches:
            noisy.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(private(x[batch]), y[batch], reduction="sum"))
            if noise.owners is not None:
                average_by_owner(noisy.params, noise.owners[batch])
            noisy.step()
    noisy.zero_grad(set_to_none=True)
    private.cleanup()
    return steps


def average_by_owner(parameters: Iterable[Any], owners: Tensor) -> None:
    """Replace the gradients of a batch's records, (b, ...), by the means of those of each owner, (owners, ...).

    Args:
        parameters: with the `grad_sample` of Opacus.
        owners: int64 (b,), whose each record is.
    """
    present, group, counts = torch.unique(owners, return_inverse=True, return_counts=True)
    for parameter in parameters:
        gradients: Tensor = parameter.grad_sample
        sums = gradients.new_zeros((len(present), *gradients.shape[1:])).index_add_(0, group, gradients)
        parameter.grad_sample = sums / counts.reshape(-1, *[1] * (sums.dim() - 1))


def _sampling(rate: float, steps: int) -> ObservedSampling:
    return ObservedSampling("poisson", sample_rate=rate, steps=steps, epochs=steps * rate)


def _generator(seed: int, stream: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive(seed, stream))
