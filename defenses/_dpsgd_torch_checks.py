"""What DP-SGD asks of a torch module before it trains it: that every record has a gradient of its own, and Opacus it.

Opacus takes the first dimension of what a layer gets for the records of the batch. A module that mixes records, or
hands its layers time before records, would be clipped along something else, and the claim would be false. So would a
module that keeps what it sees of the records: only the gradients get noise.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from opacus import GradSampleModule
from torch import Tensor, nn

from ..harness.errors import UsageError

_TRIED = 8


def refuse_unfit(module: nn.Module, x: Tensor, y: Tensor) -> None:
    """Raise `UsageError` unless DP-SGD can train `module` and keep its promise.

    A copy is tried on a few of the records x (n, *shape) with labels y (n,): the loss of one of them must not move with
    the others, must move with every weight, and what Opacus holds to be its gradient must be that of autograd; and one
    forward and backward pass in training mode must leave every buffer, every weight and every tensor, array or float
    that a module holds as an attribute (alone, in a list, tuple or dict) as it was.

    Not found: mixing that has no slope on these records; what is kept elsewhere (in whole numbers, sets or objects,
    globals, closures, files), or not in the first pass. Of the latter `refuse_moved` finds what ends in buffers and
    frozen weights.
    """
    _refuse_batch_statistics(module)
    few, labels = x[:_TRIED].clone().requires_grad_(), y[:_TRIED]
    one = len(few) // 2
    probe = copy.deepcopy(module).train()
    try:
        _refuse_memory(copy.deepcopy(module).train(), few.detach().requires_grad_(), labels)
        private = GradSampleModule(probe, loss_reduction="sum")
        loss = nn.functional.cross_entropy(private(few)[one], labels[one])
        with hooks_unremarked():
            torch.autograd.backward(loss)
    except UsageError:
        raise
    except Exception as error:  # whatever Opacus meets in a user's module
        raise UsageError(
            f"DP-SGD cannot train this module, Opacus gives {type(error).__name__}: {' '.join(str(error).split())}; "
            "opacus.layers has recurrent layers and attention that it can take apart by record"
        ) from error
    others = torch.arange(len(few)) != one
    if few.grad is not None and bool(few.grad[others].count_nonzero()):
        raise UsageError(
            "the module mixes the records of a batch, so no record has a gradient of its own to clip: DP-SGD would "
            "promise what it does not keep"
        )
    for name, weight in probe.named_parameters():
        if weight.requires_grad:
            _refuse_wrong_gradient(name, weight, len(few), one)


@contextmanager
def hooks_unremarked() -> Iterator[None]:
    """Without torch's remark that what a layer gets needs no gradient of its own: neither do records."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing when gradients are computed")
        yield


def unlearned(module: nn.Module) -> dict[str, Tensor]:
    """Copies of the buffers and frozen weights of `module`, which no step of the optimiser changes."""
    frozen = (entry for entry in module.named_parameters() if not entry[1].requires_grad)
    return {name: value.detach().clone() for name, value in (*module.named_buffers(), *frozen)}


def refuse_moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    """Raise `UsageError` where training changed a tensor that only the optimiser's noisy steps may change.

    Args:
        before: by name, e.g. from `unlearned`.
        after: the same later; a name that one of them lacks counts as a change.
    """
    for name in dict.fromkeys([*before, *after]):
        if name not in before or name not in after or not torch.equal(before[name], after[name]):
            raise UsageError(
                f"{name!r} changes while the module trains, by no noisy step: what it keeps of the records would be "
                "released without noise, outside the claim; e.g. a norm layer needs track_running_stats=False"
            )


def _refuse_memory(probe: nn.Module, x: Tensor, y: Tensor) -> None:
    """Raise `UsageError` if one forward and backward pass changes what `probe` holds; draws leave no trace."""
    before = _held(probe)
    with torch.random.fork_rng(devices=[]):
        torch.autograd.backward(nn.functional.cross_entropy(probe(x), y))
    refuse_moved(before, _held(probe))


def _held(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all weights, buffers and attributes of numbers in `module` and its parts."""
    held = {name: value.detach().clone() for name, value in (*module.named_parameters(), *module.named_buffers())}
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                held.update(_numbers(f"{path}.{name}" if path else name, value))
    return held


def _numbers(name: str, value: object) -> Iterator[tuple[str, Tensor]]:
    """Copies of the tensors, arrays and floats in an attribute; weights among them are known already."""
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(f"{name}[{key!r}]", inner)
    elif isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        yield name, value.detach().clone()
    elif isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiu"):
        yield name, torch.from_numpy(np.array(value))


def _refuse_batch_statistics(module: nn.Module) -> None:
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            raise UsageError(
                f"layer {name or 'module'!r} is {type(part).__name__}: its statistics mix the records of a batch, so "
                "no record has a gradient of its own to clip; use GroupNorm, e.g. "
                f"torch.nn.GroupNorm(1, {part.num_features}), in the undefended candidate too, so that both have the "
                "same architecture"
            )


def _refuse_wrong_gradient(name: str, weight: nn.Parameter, records: int, one: int) -> None:
    """Compare what Opacus kept for the loss of record `one` with the gradient of that loss."""
    if weight.grad is None:
        raise UsageError(f"DP-SGD needs every weight in the logits, {name!r} is in none: leave it out or freeze it")
    found: Tensor = weight.grad_sample  # type: ignore[attr-defined]
    if len(found) != records or not torch.allclose(found[one], weight.grad, rtol=1e-3, atol=1e-5):
        raise UsageError(
            f"Opacus does not find the gradient of each record in {name!r}: every layer must get the records in the "
            "first dimension (batch_first=True)"
        )
