"""Noise and rounding on the answered probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..harness.checks import non_negative
from ..harness.types import Float64, Guarantee
from ._plain import PlainTraining


@dataclass(frozen=True)
class OutputPerturbation(PlainTraining):
    """Gaussian noise on the posteriors, then rounding: ART's `GaussianNoise` and `Rounded`, chained.

    A heuristic: the weights are those of plain training, averaging repeated answers removes the noise, and no
    epsilon follows. Deviation from ART: the rounded row is renormalised, so that every answer is a
    distribution, and a row that rounds to zero becomes uniform.

    Attributes:
        noise_scale: standard deviation of the noise added to each probability, at least 0.
        decimals: decimals that are kept, at least 0.
    """

    guarantee: ClassVar[Guarantee] = "heuristic"

    noise_scale: float = 0.05
    decimals: int = 1

    def __post_init__(self) -> None:
        non_negative(noise_scale=self.noise_scale, decimals=self.decimals)

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:
        """Answer with perturbed probabilities: float64 (n, classes), each row at least 0 with sum 1."""
        noisy = probabilities + rng.normal(0.0, self.noise_scale, probabilities.shape)
        kept = np.round(np.maximum(noisy, 0.0), self.decimals)
        kept[kept.sum(axis=1) == 0] = 1.0
        return np.asarray(kept / kept.sum(axis=1, keepdims=True))
