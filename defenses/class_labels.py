"""Only the predicted class is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..harness.types import Float64, Guarantee
from ._plain import PlainTraining


@dataclass(frozen=True)
class ClassLabels(PlainTraining):
    """The predicted class with probability 1: ART's `ClassLabels`.

    A heuristic. It hides all confidence; the weights are those of plain training, and asking again tells nothing new.
    Adaptive attacks need labels only: whether the prediction is right (the gap between accuracy on members and on
    others), and the distance to the decision boundary, which takes many questions about one record (Choquette-Choo et
    al. 2021, arXiv:2007.14321). The predicted class stays; of equal probabilities the lower class is predicted.

    ART's own (1.20.1) is right for one record at a time: on several it marks in every row each class that was predicted
    for any of them (its pull request 2824). Hence it is not what runs here.
    """

    guarantee: ClassVar[Guarantee] = "heuristic"

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:  # noqa: ARG002 - draws nothing
        """Answer with the predicted class: float64 (n, classes), one-hot."""
        return np.asarray(np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)])
