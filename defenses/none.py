"""No defence: the baseline that every other candidate is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..harness.types import Float64, Guarantee
from ._plain import PlainTraining


@dataclass(frozen=True)
class NoDefense(PlainTraining):
    """Plain training, plain answers."""

    guarantee: ClassVar[Guarantee] = "none"

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:  # noqa: ARG002
        """Answer with the model's own probabilities: float64 (n, classes)."""
        return probabilities
