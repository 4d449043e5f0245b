"""Only the largest probabilities are answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..harness.checks import positive
from ..harness.types import Float64, Guarantee
from ._plain import PlainTraining
from ._rows import with_rest_spread


@dataclass(frozen=True)
class TopK(PlainTraining):
    """The k largest probabilities as they are; the other classes share the rest evenly.

    A heuristic (Shokri et al. 2017, arXiv:1610.05820, section VIII: "restrict the prediction vector to top k classes").
    It hides how the rest is divided; the weights are those of plain training, and asking again tells nothing new.
    Adaptive attacks: whatever needs the confidence in the predicted class only, since that is answered in full, and
    references that answer so too. The predicted class stays.

    An answer that names k classes with their probabilities tells the same: an attacker who gets one fills in the rest
    so. Of equal probabilities that of the lower class is kept.

    Attributes:
        k: classes whose probabilities are answered, at least 1; with as many as there are, nothing is hidden.
    """

    guarantee: ClassVar[Guarantee] = "heuristic"

    k: int = 3

    def __post_init__(self) -> None:
        positive(k=self.k)

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:  # noqa: ARG002 - draws nothing
        """Answer with the largest probabilities: float64 (n, classes), each row at least 0 with sum 1."""
        largest = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.k]
        kept = np.zeros(probabilities.shape, dtype=np.bool_)
        np.put_along_axis(kept, largest, True, axis=1)
        return with_rest_spread(probabilities, kept)
