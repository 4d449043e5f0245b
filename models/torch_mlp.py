"""Multilayer perceptron of torch, trained by minibatch gradient descent, many at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ..harness.checks import one_of
from ..harness.types import GradientNoise, Ints, ObservedSampling, TrainingData
from ._mlp import MLP
from ._torch_recipe import TorchSettings

if TYPE_CHECKING:
    from torch import nn

    from ._torch import TorchModel


@dataclass(frozen=True)
class TorchMLP(TorchSettings, MLP):
    """Linear layers of torch; a pool of them is trained as stacked batches of matrix products.

    Attributes:
        dtype: type of the factors of matrix products in plain training: `float32`, or `bfloat16`, which is faster on
            processors that have it; sums, weights and momentum stay float32. DP-SGD always computes in float32.
    """

    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(("float32", "bfloat16"), dtype=self.dtype)

    def fit_pool(self, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]) -> Iterator[TorchModel]:
        """Yield a model for each entry of `rows` and `seeds`, in order; each is the one that `fit` gives."""
        from . import _dense_pool

        return _dense_pool.fit_pool(self, data, rows, seeds)

    def fit_private_pool(
        self, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int], noise: GradientNoise
    ) -> Iterator[tuple[TorchModel, ObservedSampling]]:
        """Yield a model trained by DP-SGD for each entry of `rows` and `seeds`, in order, and what was observed."""
        from . import _dense_private

        return _dense_private.fit_private_pool(replace(self, dtype="float32"), data, rows, seeds, noise)

    def untrained(self, shape: tuple[int, ...], n_classes: int, seed: int) -> nn.Sequential:
        """Freshly initialised module, records (n, *shape) to logits (n, n_classes), without buffers."""
        from . import _torch

        widths = (math.prod(shape), *self.hidden, n_classes)
        return _torch.mlp(widths, self.activation, seed)
