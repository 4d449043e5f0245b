"""Noise and rounding on the answered probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..harness.checks import non_negative
from ..harness.types import Float64, Guarantee
from ._plain import PlainTraining
from .gaussian_noise import with_gaussian_noise
from .rounded import Rounded


@dataclass(frozen=True)
class OutputPerturbation(PlainTraining):
    """Gaussian noise on the posteriors, then rounding: the noise of `GaussianNoise`, then `Rounded`.

    A heuristic: the weights are those of plain training, averaging repeated answers removes the noise, and no
    epsilon is stated. The predicted class may change. Deviation from ART's post-processors, chained: the row is
    normalised once, after rounding, and a row that rounds to zeros becomes uniform.

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
        return Rounded(self.decimals).release(with_gaussian_noise(probabilities, self.noise_scale, rng), rng)
