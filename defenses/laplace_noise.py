"""Laplace noise on the answered probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..harness.checks import positive
from ..harness.types import Float64, Guarantee
from ._plain import PlainTraining
from ._rows import normalised


@dataclass(frozen=True)
class LaplaceNoise(PlainTraining):
    """Independent Laplace noise on every probability of every answer, then cut off at 0 and normalised.

    A heuristic. It hides the exact probabilities of one answer; the weights are those of plain training. Adaptive
    attack: ask again and average, which divides the noise by the square root of the number of answers. The epsilon that
    follows from the range of probabilities alone, 2 / scale for one answer (two distributions differ by at most 2 in
    L1), adds up over the answers and says nothing at scales that leave a model useful, so none is stated. The predicted
    class may change.

    ART has no such post-processor; this one treats its noise as ART's `GaussianNoise` does. A row that has nothing
    above 0 becomes uniform.

    Attributes:
        scale: scale of the noise, greater than 0; its standard deviation is sqrt(2) times this.
    """

    guarantee: ClassVar[Guarantee] = "heuristic"

    scale: float = 0.1

    def __post_init__(self) -> None:
        positive(scale=self.scale)

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:
        """Answer with noisy probabilities: float64 (n, classes), each row at least 0 with sum 1."""
        noise = rng.laplace(0.0, self.scale, probabilities.shape)
        return normalised(np.maximum(probabilities + noise, 0.0))
