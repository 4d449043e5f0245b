"""Rounding of the answered probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..harness.checks import non_negative
from ..harness.types import Float64, Guarantee
from ._plain import PlainTraining
from ._rows import normalised


@dataclass(frozen=True)
class Rounded(PlainTraining):
    """Probabilities to a few decimals: ART's `Rounded`, normalised.

    A heuristic. It hides differences below a unit of the last decimal; the weights are those of plain training, and
    asking again tells nothing new. Adaptive attacks: references that answer rounded too, so that scores are compared
    with scores of the same coarseness, and label-only attacks, which lose nothing. The predicted class stays unless two
    classes round to the same number; the lower class is predicted then.

    Deviations from ART: the rounded row is divided by its sum, so that every answer is a distribution; a row that
    rounds to zeros becomes uniform; 0 decimals are allowed.

    Attributes:
        decimals: decimals that are kept, at least 0.
    """

    guarantee: ClassVar[Guarantee] = "heuristic"

    decimals: int = 3

    def __post_init__(self) -> None:
        non_negative(decimals=self.decimals)

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:  # noqa: ARG002 - draws nothing
        """Answer with rounded probabilities: float64 (n, classes), each row at least 0 with sum 1."""
        return normalised(np.round(probabilities, self.decimals))
