"""Loops of the defences that regularise, for torch recipes; importing it imports torch.

Each function returns a loop for the recipe's `fit_by`, which trains a module in place on records float32 (n, *shape)
and targets (n,): labels int64, or the numbers float32 of a regressor. The recipe has the loss that belongs to them, but
where a defence is about classes. What a loop draws beside the batches comes from a stream of its own, so it leaves the
batches as plain training has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, softmax

from ..harness.errors import UsageError
from ..harness.seeds import derive, generator
from ..harness.types import Float32

if TYPE_CHECKING:
    from .early_stopping import EarlyStopping
    from .label_smoothing import LabelSmoothing

Loop = Callable[[nn.Module, Tensor, Tensor], None]
"""Trains a module in place on records and targets."""

Loss = Callable[[nn.Module, Tensor, Tensor, int], Tensor]
"""The loss to descend on: (module, records of a batch, their targets, number of the epoch from 0) -> one number."""

_AT_ONCE = 1024  # records answered together outside training
_ACTIVATIONS = (
    *(nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ReLU6, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid),
)


class TorchRecipe(Protocol):
    """What this half needs of a torch recipe."""

    @property
    def epochs(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    def optimizer_for(self, module: nn.Module) -> torch.optim.Optimizer:
        """The recipe's optimiser over the parameters of `module`."""

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        """What plain training descends on, from what the module gives and the targets (n,)."""


# The loops


def dropout(rate: float, recipe: TorchRecipe, seed: int) -> Loop:
    """Plain descent with dropout after each activation layer.

    Raises (the loop):
        UsageError: the module has no activation layer.
    """
    plain = descent(plain_loss(recipe), recipe, seed)

    def loop(module: nn.Module, x: Tensor, y: Tensor) -> None:
        with dropping(module, rate, _generator(seed, "dropout")):
            plain(module, x, y)

    return loop


def check_dropout(module: nn.Module, x: Tensor, y: Tensor) -> None:  # noqa: ARG001 - a loop's signature
    """A loop that trains nothing.

    Raises:
        UsageError: dropout would find nothing in `module` to drop.
    """
    with dropping(module, 0.5, torch.Generator()):
        pass


def early_stopping(settings: EarlyStopping, recipe: TorchRecipe, seed: int) -> Loop:
    """Plain descent on what is not held out, until its loss on what is has not improved for a while."""

    def loop(module: nn.Module, x: Tensor, y: Tensor) -> None:
        order = torch.randperm(len(y), generator=_generator(seed, "validation"))
        held, used = order[: settings.held_out(len(y))], order[settings.held_out(len(y)) :]
        best, kept, waited = float("inf"), _copy(module), 0
        for _ in epochs(module, plain_loss(recipe), recipe, seed, (x[used], y[used])):
            loss = mean_loss(recipe, module, x[held], y[held])
            waited = 0 if loss < best else waited + 1
            if loss < best:
                best, kept = loss, _copy(module)
            if waited == settings.patience:
                break
        module.load_state_dict(kept)

    return loop


def label_smoothing(settings: LabelSmoothing, recipe: TorchRecipe, seed: int) -> Loop:
    """Descent on the cross-entropy with smoothed labels."""

    def loss(module: nn.Module, x: Tensor, y: Tensor, epoch: int) -> Tensor:
        return smoothed(module(x), y, settings.at(epoch, recipe.epochs))

    return descent(loss, recipe, seed)


def mixup(alpha: float, recipe: TorchRecipe, seed: int) -> Loop:
    """Descent on mixtures of each batch with itself in another order."""
    shares, orders = generator(seed, "shares"), _generator(seed, "partners")

    def loss(module: nn.Module, x: Tensor, y: Tensor, _: int) -> Tensor:
        share, partners = float(shares.beta(alpha, alpha)), torch.randperm(len(y), generator=orders)
        return mixed(recipe, module, x, y, share, partners)

    return descent(loss, recipe, seed)


def relaxloss(alpha: float, recipe: TorchRecipe, seed: int) -> Loop:
    """Descent, ascent and flattening around a mean loss of `alpha`."""

    def loss(module: nn.Module, x: Tensor, y: Tensor, epoch: int) -> Tensor:
        return relaxed(module(x), y, alpha, epoch)

    return descent(loss, recipe, seed)


def student(answers: Float32, temperature: float, recipe: TorchRecipe, seed: int) -> Loop:
    """Descent towards a teacher's logits `answers` (n, classes) on the records; the labels are not read."""
    targets = softmax(torch.tensor(answers) / temperature, dim=1)

    def loss(module: nn.Module, x: Tensor, soft: Tensor, _: int) -> Tensor:
        return temperature**2 * cross_entropy(module(x) / temperature, soft)

    def loop(module: nn.Module, x: Tensor, _: Tensor) -> None:
        descent(loss, recipe, seed)(module, x, targets)

    return loop


def student_of_numbers(answers: Float32, recipe: TorchRecipe, seed: int) -> Loop:
    """Descent towards what a teacher's module gives, `answers` (n,), on the records; the targets are not read."""

    def loop(module: nn.Module, x: Tensor, _: Tensor) -> None:
        descent(plain_loss(recipe), recipe, seed)(module, x, torch.tensor(answers))

    return loop


# The losses


def plain_loss(recipe: TorchRecipe) -> Loss:
    """The mean loss of the recipe."""

    def loss(module: nn.Module, x: Tensor, y: Tensor, _: int) -> Tensor:
        return recipe.loss(module(x), y)

    return loss


def smoothed(logits: Tensor, y: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy with (1 - smoothing) x the label + smoothing / classes; torch's own takes no negative one."""
    return (1 - smoothing) * cross_entropy(logits, y) - smoothing * log_softmax(logits, dim=1).mean()


def mixed(recipe: TorchRecipe, module: nn.Module, x: Tensor, y: Tensor, share: float, partners: Tensor) -> Tensor:
    """The recipe's loss on `share` x each record + (1 - `share`) x its partner, with both targets' losses mixed alike.

    Its gradient is that for mixed targets: the cross-entropy is linear in them, and the squared error only gains a
    constant.
    """
    outputs = module(share * x + (1 - share) * x[partners])
    return share * recipe.loss(outputs, y) + (1 - share) * recipe.loss(outputs, y[partners])


def relaxed(logits: Tensor, y: Tensor, alpha: float, epoch: int) -> Tensor:
    """The loss of RelaxLoss for a batch in an epoch (from 0)."""
    loss = cross_entropy(logits, y)
    if loss.item() >= alpha:
        return loss
    return -loss if epoch % 2 == 0 else cross_entropy(logits, flattened(logits, y))


def flattened(logits: Tensor, y: Tensor) -> Tensor:
    """Soft labels (n, classes): the answered probability of the true class, the rest shared equally; no gradient."""
    true = softmax(logits.detach(), dim=1).gather(1, y[:, None])
    others = (1 - true) / (logits.shape[1] - 1)
    return others.expand(logits.shape).scatter(1, y[:, None], true)


# The descent


def descent(loss: Loss, recipe: TorchRecipe, seed: int) -> Loop:
    """All epochs of the recipe."""

    def loop(module: nn.Module, x: Tensor, y: Tensor) -> None:
        for _ in epochs(module, loss, recipe, seed, (x, y)):
            pass

    return loop


def epochs(module: nn.Module, loss: Loss, recipe: TorchRecipe, seed: int, data: tuple[Tensor, Tensor]) -> Iterator[int]:
    """Train `module` in place for one epoch at a time on records and targets; yield the number of each, from 0.

    Raises:
        UsageError: a weight is no longer a finite number.
    """
    x, y = data
    optimizer = recipe.optimizer_for(module)
    order = _generator(seed, "batches")
    for epoch in range(recipe.epochs):
        for batch in torch.split(torch.randperm(len(y), generator=order), recipe.batch_size):
            optimizer.zero_grad()
            torch.autograd.backward(loss(module, x[batch], y[batch], epoch))
            optimizer.step()
        if not all(torch.isfinite(parameter).all() for parameter in module.parameters()):
            raise UsageError(
                f"training diverged in epoch {epoch + 1}: weights are not finite; use a smaller learning_rate"
            )
        yield epoch


def mean_loss(recipe: TorchRecipe, module: nn.Module, x: Tensor, y: Tensor) -> float:
    """Mean of the recipe's loss of the module as it would answer; it is left training, as it was."""
    module.eval()
    with torch.no_grad():
        parts = zip(torch.split(x, _AT_ONCE), torch.split(y, _AT_ONCE), strict=True)
        total = sum(recipe.loss(module(a), b, reduction="sum").item() for a, b in parts)
    module.train()
    return total / len(y)


@contextmanager
def dropping(module: nn.Module, rate: float, source: torch.Generator) -> Iterator[None]:
    """Inside, what the activation layers of `module` give is dropped by `rate` and scaled by 1 / (1 - `rate`).

    Raises:
        UsageError: there is no activation layer.
    """
    layers = [part for part in module.modules() if isinstance(part, _ACTIVATIONS)]
    if not layers:
        raise UsageError("dropout: the network has no activation layer (a torch.nn module, e.g. torch.nn.ReLU)")

    def hook(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        kept = torch.empty_like(output).bernoulli_(1 - rate, generator=source)
        return output * kept / (1 - rate)

    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _generator(seed: int, stream: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive(seed, stream))
