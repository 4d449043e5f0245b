"""Output perturbation of convex models: noise on the weights of the regularised minimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..harness.checks import open_unit, positive
from ..harness.mechanisms import output_sensitivity, weight_noise, weights_claim
from ..harness.seeds import generator
from ..harness.types import Float64, PrivacyClaim
from ._convex_solver import Objective, minimum
from ._convex_training import ConvexTraining, Problem


@dataclass(frozen=True)
class ConvexOutputPerturbation(ConvexTraining):
    """Output perturbation (Chaudhuri et al. 2011, JMLR 12, algorithm 1) of logistic regression.

    Minimises mean loss + (regularisation / 2) ||W||^2 and adds noise to the weights. The recipe gives the form of the
    model; its `C` (which would be 1 / (records x regularisation)) and its solver are replaced.

    Deviations. More than two classes are one softmax, whose gradient has norm at most sqrt(2): one binary model a class
    with a share of epsilon each would cost more. Noise is Gaussian with its exact epsilon (Balle and Wang 2018), or the
    paper's with `target_delta` null. The sensitivity counts the gradient norm at which the solver stops, which is fixed
    in advance.

    Attributes:
        target_epsilon: epsilon of the claim, greater than 0.
        target_delta: delta of the claim, below one over the number of training records; None for pure epsilon, whose
            noise grows with the number of weights and not with its square root.
        regularisation: L of the objective on records scaled to norm at most 1, greater than 0. The noise falls as it
            grows.
        max_norm: L2 norm to which records are clipped, greater than 0 and chosen without looking at them; None: the
            largest that the data's public range allows.
    """

    words: ClassVar[str] = "output perturbation"

    target_epsilon: float = 1.0
    target_delta: float | None = 1e-5
    regularisation: float = 0.01
    max_norm: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        positive(**given)
        if self.target_delta is not None:
            open_unit(target_delta=self.target_delta)

    def fitted(self, problem: Problem, seed: int) -> tuple[Float64, PrivacyClaim]:
        """Return the perturbed minimum with its claim."""
        objective = Objective(problem, self.regularisation, np.zeros(problem.shape))
        sensitivity = output_sensitivity(problem.loss, len(problem.z), self.regularisation, objective.tolerance)
        noise = weight_noise(sensitivity, self.target_epsilon, self.target_delta)
        weights = minimum(objective) + noise.draw(problem.shape, generator(seed, "convex output noise"))
        how = f"Minimum of a logistic regression with regularisation {self.regularisation:.10g}"
        solved = (
            f"The solver reached a gradient norm of {objective.tolerance:.4g}, fixed in advance and counted in the"
            " sensitivity; this was checked."
        )
        return weights, weights_claim(noise, how, (problem.words, solved))
