"""Multilayer perceptron of torch, trained by minibatch gradient descent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..harness.types import Ints, TrainingData
from ._mlp import MLP

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from ._torch import Loop, TorchModel


@dataclass(frozen=True)
class TorchMLP(MLP):
    """Linear layers of torch.

    Everything that touches torch lies in `_torch.py` and is imported when a model is built, trained or loaded.
    """

    framework: ClassVar[str] = "torch"

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> TorchModel:
        """Train on `rows` of `data`; the same seed gives the same bytes on the same CPU."""
        from . import _torch

        return _torch.fit_by(_torch.plain_loop(self, seed), self, data, rows, seed)

    def fit_by(self, loop: Loop, data: TrainingData, rows: Ints, seed: int) -> TorchModel:
        """Build the module from `seed` and let `loop(module, x, y)` train it in place: for a defence's rules.

        `x` is float32 (n, *shape), `y` int64 (n,): the `rows` of `data`, in memory.
        """
        from . import _torch

        return _torch.fit_by(loop, self, data, rows, seed)

    def untrained(self, shape: tuple[int, ...], n_classes: int, seed: int) -> nn.Module:
        """Freshly initialised module, records (n, *shape) to logits (n, n_classes), without buffers."""
        from . import _torch

        widths = (math.prod(shape), *self.hidden, n_classes)
        return _torch.mlp(widths, self.activation, seed)

    def optimizer_for(self, module: nn.Module) -> Optimizer:
        """The recipe's optimiser over the parameters of `module`."""
        from . import _torch

        return _torch.optimizer_of(self, module)

    def load(self, folder: Path, shape: tuple[int, ...], n_classes: int) -> TorchModel:
        """Read back what `TorchModel.save` wrote.

        Raises:
            UsageError: the file cannot be read, or holds parameters of another architecture.
        """
        from . import _torch

        return _torch.load(self, folder, shape, n_classes)
