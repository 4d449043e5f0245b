"""Only probabilities above a cut-off are answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..harness.checks import open_unit
from ..harness.types import Float64, Guarantee
from ._plain import PlainTraining
from ._rows import with_rest_spread


@dataclass(frozen=True)
class HighConfidence(PlainTraining):
    """Probabilities of at least `cutoff` as they are: ART's `HighConfidence`; the other classes share the rest evenly.

    A heuristic. It hides the small probabilities; the weights are those of plain training, and asking again tells
    nothing new. Adaptive attacks: whatever needs the confidence in the predicted class only, since members are mostly
    predicted with a probability above the cut-off, and references that answer so too. The predicted class stays where
    its probability reaches the cut-off; elsewhere the row is uniform, and class 0 is predicted.

    Deviation from ART, which answers 0 in place of each small probability: their sum, which ART's answer gives away as
    well, is spread over them, so that every answer is a distribution that tells what ART's tells.

    Attributes:
        cutoff: smallest probability that is answered, between 0 and 1.
    """

    guarantee: ClassVar[Guarantee] = "heuristic"

    cutoff: float = 0.25

    def __post_init__(self) -> None:
        open_unit(cutoff=self.cutoff)

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:  # noqa: ARG002 - draws nothing
        """Answer with the large probabilities: float64 (n, classes), each row at least 0 with sum 1."""
        return with_rest_spread(probabilities, probabilities >= self.cutoff)
