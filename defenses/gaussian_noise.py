"""Gaussian noise on the answered probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..harness.checks import positive
from ..harness.types import Float64, Guarantee
from ._plain import PlainTraining
from ._rows import normalised


def with_gaussian_noise(probabilities: Float64, scale: float, rng: np.random.Generator) -> Float64:
    """Probabilities (n, classes) plus independent noise, cut off at 0: rows whose sum is not 1."""
    return np.maximum(probabilities + rng.normal(0.0, scale, probabilities.shape), 0.0)


@dataclass(frozen=True)
class GaussianNoise(PlainTraining):
    """Independent Gaussian noise on every probability of every answer: ART's `GaussianNoise`.

    A heuristic. It hides the exact probabilities of one answer; the weights are those of plain training. Adaptive
    attack: ask again and average, which divides the noise by the square root of the number of answers. The epsilon that
    follows from the range of probabilities alone (two distributions differ by at most sqrt(2) in L2) adds up over the
    answers and says nothing at scales that leave a model useful, so none is stated. The predicted class may change.

    Deviations from ART: the noise is drawn from the generator that `release` is given, not from numpy's global one, and
    a row that has nothing above 0 becomes uniform, where ART divides by 0.

    Attributes:
        scale: standard deviation of the noise, greater than 0.
    """

    guarantee: ClassVar[Guarantee] = "heuristic"

    scale: float = 0.2

    def __post_init__(self) -> None:
        positive(scale=self.scale)

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:
        """Answer with noisy probabilities: float64 (n, classes), each row at least 0 with sum 1."""
        return normalised(with_gaussian_noise(probabilities, self.scale, rng))
