"""What DP-SGD asks of a torch module before it trains it: that every record has a gradient of its own, and Opacus it.

Opacus takes the first dimension of what a layer gets for the records of the batch. A module that mixes records, or
hands its layers time before records, would be clipped along something else, and the claim would be false.
"""

from __future__ import annotations

import copy

import torch
from opacus import GradSampleModule
from torch import Tensor, nn

from ..harness.errors import UsageError

_TRIED = 8


def refuse_unfit(module: nn.Module, x: Tensor, y: Tensor) -> None:
    """Raise `UsageError` unless DP-SGD can train `module` and keep its promise.

    A copy is tried on a few of the records x (n, *shape) with labels y (n,): the loss of one of them must not move with
    the others, must move with every weight, and what Opacus holds to be its gradient must be that of autograd. Mixing
    that has no slope on these records is not found.
    """
    _refuse_batch_statistics(module)
    few, labels = x[:_TRIED].clone().requires_grad_(), y[:_TRIED]
    one = len(few) // 2
    probe = copy.deepcopy(module).train()
    try:
        private = GradSampleModule(probe, loss_reduction="sum")
        loss = nn.functional.cross_entropy(private(few)[one], labels[one])
        torch.autograd.backward(loss)
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
