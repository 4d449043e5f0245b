"""Reverse sigmoid: a perturbation that bends high and low probabilities towards each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..harness.checks import positive
from ..harness.types import Float64, Guarantee
from ._plain import PlainTraining


@dataclass(frozen=True)
class ReverseSigmoid(PlainTraining):
    """ART's `ReverseSigmoid` (Lee et al. 2018, arXiv:1806.00054), a defence against model stealing.

    Each probability p becomes p - beta (sigmoid(gamma logit(p)) - 1/2), cut to [0, 1]; then the row is divided by its
    sum. A heuristic. It hides how confident an answer is, since near 0 and near 1 the map turns back: two probabilities
    give the same answer. The weights are those of plain training, and asking again tells nothing new. Adaptive attacks:
    the map is fixed and known, so where it rises it can be inverted, and references that answer through it are compared
    like with like; label-only attacks lose little.

    The predicted class may change. Where neither beta nor gamma is above 1 and one of them is below, it stays if its
    probability is above 1/2. Otherwise a class that the model excludes can overtake it: with the defaults a probability
    of 0 is answered as 0.39 before normalising, one of 0.3 as 0.32.

    Attributes:
        beta: size of the perturbation, greater than 0.
        gamma: how steep the sigmoid is, greater than 0.
    """

    guarantee: ClassVar[Guarantee] = "heuristic"

    beta: float = 1.0
    gamma: float = 0.1

    def __post_init__(self) -> None:
        positive(beta=self.beta, gamma=self.gamma)

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:  # noqa: ARG002 - draws nothing
        """Answer with perturbed probabilities: float64 (n, classes), each row at least 0 with sum 1."""
        from art.defences.postprocessor import ReverseSigmoid as Postprocessor

        with np.errstate(over="ignore"):  # ART's exponential overflows to the right limit where gamma is large
            return np.asarray(Postprocessor(beta=self.beta, gamma=self.gamma)(probabilities))
