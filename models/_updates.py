"""The optimisers of torch on stacked parameters: both treat every number alone, so a stack changes as its models do."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ._descent import Descent


class Stack(Protocol):
    """Models with stacked parameters."""

    @property
    def parameters(self) -> list[Tensor]:
        """Each (S, ...)."""

    @property
    def slopes(self) -> list[Tensor]:
        """Gradients or momentum, one for each parameter."""

    def weights_changed(self) -> None:
        """Called after every change of the parameters."""


class Update(Protocol):
    """How slopes become a step."""

    @property
    def keep(self) -> float:
        """Share of the slopes that stays when the next gradient is added to them."""

    def step(self) -> None:
        """Change the parameters by the slopes."""


class SGD:
    """`torch.optim.SGD` with momentum: the slopes are its momentum buffers, so the gradient's product adds to them."""

    def __init__(self, recipe: Descent, stack: Stack) -> None:
        self.keep = recipe.momentum
        self._recipe = recipe
        self._stack = stack

    def step(self) -> None:
        """Add the penalty, move against the slopes."""
        stack, recipe = self._stack, self._recipe
        if recipe.weight_decay:
            torch._foreach_add_(stack.slopes, stack.parameters, alpha=recipe.weight_decay)
        torch._foreach_add_(stack.parameters, stack.slopes, alpha=-recipe.learning_rate)
        stack.weights_changed()


class Adam:
    """`torch.optim.Adam` itself; the slopes are plain gradients."""

    keep = 0.0

    def __init__(self, recipe: Descent, stack: Stack) -> None:
        self._stack = stack
        self._optimizer = torch.optim.Adam(
            stack.parameters, recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=True
        )

    def step(self) -> None:
        """One step of the optimiser."""
        for parameter, slope in zip(self._stack.parameters, self._stack.slopes, strict=True):
            parameter.grad = slope
        self._optimizer.step()
        self._stack.weights_changed()


def update_of(recipe: Descent, stack: Stack) -> Update:
    """The optimiser that the recipe names."""
    return Adam(recipe, stack) if recipe.optimizer == "adam" else SGD(recipe, stack)
