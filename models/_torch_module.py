"""The torch half of `TorchModule`: what is asked of a user's module, and how it is trained so that seeds repeat it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from ..harness.errors import UsageError
from ..harness.types import Ints, TrainingData
from ..harness.user_code import UserFunction
from . import _module_pool
from ._torch import Loop, TorchModel, TorchRecipe, best_device, first_weights, global_generator, train_by
from ._user import called, one_line

_PROBES = 3  # batch statistics need more than one record


class ModuleRecipe(TorchRecipe, Protocol):
    """What the functions here need of the recipe."""

    @property
    def build(self) -> UserFunction:
        """Builds the module."""

    @property
    def train(self) -> UserFunction | None:
        """Trains it, or None for our loop."""


def built(build: UserFunction, shape: tuple[int, ...], n_classes: int, seed: int) -> nn.Module:
    """Call `build` and return its module, in training mode.

    A copy: a function that returns one and the same module again, e.g. a pretrained one, must not hand the weights of
    one model to the next.

    Raises:
        UsageError: the function fails, or what it returns is no module from records to logits.
    """
    with first_weights(seed):
        module = called(build, shape, n_classes)
        if not isinstance(module, nn.Module):
            raise UsageError(f"{build.name}: returned a {type(module).__name__}, must return a torch.nn.Module")
        _check_answers(module.eval(), build, shape, n_classes)
    return copy.deepcopy(module).train()


def fit_pool(
    recipe: ModuleRecipe, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]
) -> Iterator[TorchModel]:
    """Yield plainly trained models, in order: by the user's function if there is one, else by our loop."""
    if recipe.train is not None:
        return (_fit_by_user(recipe, recipe.train, data, own, seed) for own, seed in zip(rows, seeds, strict=True))
    fresh = recipe.untrained(data.shape, data.n_classes, seed=0)
    if best_device().type == "cpu" or not _stackable(fresh, recipe.build, data):
        return _module_pool.one_at_a_time(recipe, data, rows, seeds)
    models = _module_pool.fit_pool(recipe, data, rows, seeds)
    return (_finite(model, recipe, data, own) for model, own in zip(models, rows, strict=True))


def fit_by(loop: Loop, recipe: ModuleRecipe, data: TrainingData, rows: Ints, seed: int) -> TorchModel:
    """Build the module and let `loop` train it, with a seeded global generator if the module draws from that."""
    if recipe.train is not None:
        raise UsageError(
            f"train={recipe.train.name}: a training function of the user's cannot follow a defence's rules; a model of "
            "its own in the experiment, without train, is trained by them"
        )

    def repeatable(module: nn.Module, x: Tensor, y: Tensor) -> None:
        if not _draws(module, x[:_PROBES], recipe.build, data.n_classes):
            loop(module, x, y)
            return
        with global_generator(seed, "training"):
            loop(module, x, y)

    module = recipe.untrained(data.shape, data.n_classes, seed)
    return _finite(train_by(repeatable, module, data, rows), recipe, data, rows)


def _fit_by_user(recipe: ModuleRecipe, train: UserFunction, data: TrainingData, rows: Ints, seed: int) -> TorchModel:
    def loop(module: nn.Module, x: Tensor, y: Tensor) -> None:
        with global_generator(seed, "training"):
            returned = called(train, module, x, y, seed)
        if returned is not None:
            raise UsageError(
                f"{train.name}: returned a {type(returned).__name__}, must train the module in place and return None"
            )
        module.cpu()

    module = recipe.untrained(data.shape, data.n_classes, seed)
    return _finite(train_by(loop, module, data, rows), recipe, data, rows)


def _logits(module: nn.Module, x: Tensor, build: UserFunction, n_classes: int) -> Tensor:
    """Answers of the user's module.

    Raises:
        UsageError: it fails on these records, or gives no logits (n, n_classes).
    """
    try:
        with torch.no_grad():
            logits = module(x)
    except Exception as error:  # whatever the user's module does
        raise UsageError(
            f"{build.name}: the module fails on records of shape {tuple(x.shape[1:])}: {one_line(error, build)}"
        ) from error
    if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.shape != (len(x), n_classes):
        given = f"{tuple(logits.shape)} of {logits.dtype}" if isinstance(logits, Tensor) else type(logits).__name__
        raise UsageError(
            f"{build.name}: the module gives {given} for {len(x)} records, must give floating-point logits "
            f"{(len(x), n_classes)}"
        )
    return logits


def _check_answers(module: nn.Module, build: UserFunction, shape: tuple[int, ...], n_classes: int) -> None:
    """Raise `UsageError` unless `module`, in evaluation mode, gives each record logits of its own that repeat."""
    x, other = torch.rand((2, _PROBES, *shape))
    kept = torch.arange(_PROBES) == _PROBES // 2  # between others, since a recurrent layer passes on one way only
    mixed = torch.where(kept.reshape(-1, *[1] * len(shape)), x, other)
    logits, again, beside = (_logits(module, records, build, n_classes) for records in (x, x, mixed))
    if (logits >= 0).all() and torch.allclose(logits.sum(dim=1), torch.ones(_PROBES), atol=1e-4):
        raise UsageError(
            f"{build.name}: the module gives probabilities (rows sum to 1), must give logits: no softmax at its end"
        )
    if not torch.allclose(logits, again, equal_nan=True):
        raise UsageError(
            f"{build.name}: the module draws random numbers in evaluation mode, so no answer repeats; e.g. "
            "torch.nn.functional.dropout needs training=self.training"
        )
    if not torch.allclose(logits[kept], beside[kept], rtol=1e-4, atol=1e-5, equal_nan=True):
        raise UsageError(
            f"{build.name}: the module answers a record differently beside others, e.g. by statistics of the "
            "batch in evaluation mode, or a layer that needs batch_first=True"
        )


def _draws(module: nn.Module, x: Tensor, build: UserFunction, n_classes: int) -> bool:
    """Whether `module` draws from the global generator while it trains, in a layer or in its `forward`."""
    probe = copy.deepcopy(module).train()
    with global_generator(0, "probe"):
        before = torch.get_rng_state()
        _logits(probe, x, build, n_classes)
        return not torch.equal(before, torch.get_rng_state())


def _stackable(module: nn.Module, build: UserFunction, data: TrainingData) -> bool:
    """Whether models of this module can be trained as one program: `torch.func` carries weights only, all of them."""
    learns = all(parameter.requires_grad for parameter in module.parameters())
    x, y = torch.from_numpy(data.x[:_PROBES].copy()), torch.from_numpy(data.y[:_PROBES].copy())
    if not learns or any(True for _ in module.buffers()) or _draws(module, x, build, data.n_classes):
        return False
    device = best_device()
    try:
        stack = _module_pool.ModuleStack([copy.deepcopy(module), copy.deepcopy(module)], device)
        stack.accumulate(torch.stack([x, x]).to(device), torch.stack([y, y]).to(device), 0.0)
    except Exception:  # a user's module may do what torch.func cannot follow; one at a time it trains the same
        return False
    return True


def _finite(model: TorchModel, recipe: ModuleRecipe, data: TrainingData, rows: Ints) -> TorchModel:
    """Return `model`, or refuse it when its logits on its own records are no numbers."""
    if not torch.from_numpy(model.logits(data.x[rows])).isfinite().all():
        raise UsageError(
            f"{recipe.build.name}: the trained module gives NaN or infinite logits; training diverged, e.g. by a "
            "learning_rate that is too large"
        )
    return model
