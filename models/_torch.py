"""The torch half of the torch recipes; importing it imports torch.

Everything runs on one thread: small models train faster so, and sums keep their order, so bytes repeat.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from ..harness.errors import UsageError
from ..harness.seeds import derive
from ..harness.types import Float32, Ints, TrainingData
from ._descent import Descent
from ._workers import Halt

if TYPE_CHECKING:
    from art.estimators.classification import PyTorchClassifier

Loop = Callable[[nn.Module, Tensor, Tensor], None]
"""Trains a module in place on records (n, *shape) and targets (n,): labels, or numbers of a regressor."""

FILE = "model.safetensors"
_AT_ONCE = 1024  # a convolutional network needs some 100 kB a record while it answers
DEVICE_VARIABLE = "PRIVASSAY_DEVICE"
# Modules draw first weights and dropout from one generator, which workers share; training may build modules in turn.
_GLOBAL_GENERATOR = threading.RLock()


class TorchDescent(Descent, Protocol):
    """What the plain loop needs of a torch recipe, for classes or for numbers."""

    def optimizer_for(self, module: nn.Module) -> torch.optim.Optimizer:
        """The recipe's optimiser over the parameters of `module`."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What training descends on: the mean loss of a batch, from what the module gives and its targets."""


class TorchRecipe(TorchDescent, Protocol):
    """What the functions here need of a torch recipe of classifiers."""

    def untrained(self, shape: tuple[int, ...], n_classes: int, seed: int) -> nn.Module:
        """Freshly initialised module from records (n, *shape) to logits (n, n_classes)."""

    def fit_by(self, loop: Loop, data: TrainingData, rows: Ints, seed: int) -> TorchModel:
        """Build the module from `seed` and let `loop` train it in place on `rows` of `data`."""


def best_device() -> torch.device:
    """Where pools are trained: a CUDA device if there is one, unless the environment variable says otherwise.

    Raises:
        UsageError: the variable names a device that is not there.
    """
    asked = os.environ.get(DEVICE_VARIABLE, "")
    present = torch.cuda.is_available()
    if asked not in ("", "cpu", "cuda") or (asked == "cuda" and not present):
        raise UsageError(f"{DEVICE_VARIABLE}={asked!r}: must be cpu{' or cuda' if present else ' (no CUDA device)'}")
    return torch.device(asked or ("cuda" if present else "cpu"))


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, then give the caller's number of threads back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class TorchModel:
    """A trained module whose output is logits; its weights no longer change."""

    def __init__(self, module: nn.Module, shape: tuple[int, ...], n_classes: int) -> None:
        """Take over `module`, which maps float32 (n, *shape) to logits (n, n_classes)."""
        self.module = module.eval().requires_grad_(False)
        self.module.zero_grad(set_to_none=True)
        self.shape = shape
        self.n_classes = n_classes

    def logits(self, x: Float32) -> Float32:
        """Raw scores: float32 (n, classes), worked out for `_AT_ONCE` records at a time."""
        scores = np.empty((len(x), self.n_classes), dtype=np.float32)
        with one_thread(), torch.inference_mode():
            for start in range(0, len(x), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                scores[part] = self.module(torch.tensor(x[part])).numpy()
        return scores

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:
        """Gradient of the softmax probability of `labels[i]` at `x[i]`, by ART: float32 (n, *shape)."""
        with one_thread():
            gradient: Float32 = self._art.class_gradient(np.array(x), label=np.asarray(labels))[:, 0]
        return gradient

    def save(self, folder: Path) -> None:
        """Write `model.safetensors`: the module's parameters and buffers by name, shared ones once."""
        save_model(self.module, str(folder / FILE))

    @cached_property
    def _art(self) -> PyTorchClassifier:
        from art.estimators.classification import PyTorchClassifier

        return PyTorchClassifier(
            model=nn.Sequential(self.module, nn.Softmax(dim=1)),
            loss=nn.NLLLoss(),  # required by the constructor; class gradients use none
            input_shape=self.shape,
            nb_classes=self.n_classes,
            device_type="cpu",
        )


@contextmanager
def global_generator(seed: int, stream: str) -> Iterator[None]:
    """Start torch's global generator from `seed`, for one thread at a time; afterwards it is as it was.

    Only that of the CPU: what draws on another device has to seed it.
    """
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, stream))
        yield


def first_weights(seed: int) -> AbstractContextManager[None]:
    """Modules made here draw their first weights from `seed`; the global generator is left as it was."""
    return global_generator(seed, "weights")


def checked(module: nn.Module) -> nn.Module:
    """Return `module`, or refuse it.

    Raises:
        UsageError: it normalises over the batch, or draws random numbers while it trains.
    """
    for name, part in module.named_modules():
        where = f"layer {name or 'module'!r} is {type(part).__name__}"
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            raise UsageError(
                f"{where}: its statistics mix the records of a batch, so models of a pool cannot be trained together "
                "and no record has a gradient of its own; use GroupNorm, e.g. "
                f"torch.nn.GroupNorm(1, {part.num_features})"
            )
        if isinstance(part, nn.modules.dropout._DropoutNd):
            raise UsageError(
                f"{where}: it draws from torch's one global generator, which the models of a pool share, so no seed "
                "repeats a model; use weight_decay instead"
            )
    return module


def mlp(widths: Sequence[int], activation: str, seed: int) -> nn.Sequential:
    """Linear layers between `widths`, initialised by torch's rule; the global generator is left as it was."""
    nonlinear = {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]
    layers: list[nn.Module] = [nn.Flatten()]
    with first_weights(seed):
        for inputs, units in pairwise(widths):
            layers += [nn.Linear(inputs, units), nonlinear()]
    return nn.Sequential(*layers[:-1])


def optimizer_of(recipe: Descent, module: nn.Module) -> torch.optim.Optimizer:
    """The optimiser that the recipe names, over the parameters of `module`."""
    parameters = module.parameters()
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(parameters, recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def fit_by(loop: Loop, recipe: TorchRecipe, data: TrainingData, rows: Ints, seed: int) -> TorchModel:
    """Build the module, let `loop` train it on `rows` of `data`, and return the model."""
    return train_by(loop, checked(recipe.untrained(data.shape, data.n_classes, seed)), data, rows)


def train_by(loop: Loop, module: nn.Module, data: TrainingData, rows: Ints) -> TorchModel:
    """Let `loop` train `module` on `rows` of `data`, on one thread, and return the model."""
    # Indexing by rows copies: the tensors never share memory with the caller's arrays.
    x, y = torch.from_numpy(data.x[rows]), torch.from_numpy(data.y[rows])
    with one_thread():
        loop(module, x, y)
    return TorchModel(module, data.shape, data.n_classes)


def plain_loop(recipe: TorchDescent, seed: int, halt: Halt) -> Loop:
    """Minibatch descent on the recipe's mean loss, the records in a new order each epoch, by autograd."""

    def loop(module: nn.Module, x: Tensor, y: Tensor) -> None:
        optimizer = recipe.optimizer_for(module)
        generator = torch.Generator().manual_seed(derive(seed, "batches"))
        for _ in range(recipe.epochs):
            for batch in torch.split(torch.randperm(len(y), generator=generator), recipe.batch_size):
                halt.check()
                optimizer.zero_grad()
                torch.autograd.backward(recipe.loss(module(x[batch]), y[batch]))
                optimizer.step()

    return loop


def load(recipe: TorchRecipe, folder: Path, shape: tuple[int, ...], n_classes: int) -> TorchModel:
    """Read the parameters into a module of the recipe.

    Raises:
        UsageError: the file cannot be read, or holds parameters of another architecture.
    """
    module = recipe.untrained(shape, n_classes, seed=0)
    path = folder / FILE
    try:
        load_model(module, path)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path}: not parameters of {recipe} for records of {shape}: {reason}") from error
    return TorchModel(module, shape, n_classes)
