"""Objective perturbation of convex models: a random linear term in what is minimised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..harness.checks import positive
from ..harness.mechanisms import objective_claim, objective_noise, weight_noise
from ..harness.seeds import generator
from ..harness.types import Float64, PrivacyClaim
from ._convex_solver import Objective, minimum
from ._convex_training import ConvexTraining, Problem

SOLVER_SHARE = 0.01
"""Share of epsilon that hides where the solver stopped."""


@dataclass(frozen=True)
class ObjectivePerturbation(ConvexTraining):
    """Objective perturbation (Chaudhuri et al. 2011, JMLR 12, algorithm 2) of logistic regression, for pure epsilon.

    Minimises mean loss + (L / 2) ||W||^2 + b . W / records with random b. The recipe gives the form of the model; its
    `C` and its solver are replaced.

    Deviations. More than two classes are one softmax, for which `mechanisms.objective_noise` has the proof. The theorem
    is about the exact minimum, so 1 % of epsilon pays for noise that hides where the solver stopped (approximate minima
    perturbation, Iyengar et al. 2019). The noise grows with the number of weights: for hundreds of them the Gaussian
    `convex_output_perturbation` disturbs less.

    Attributes:
        target_epsilon: epsilon of the claim, greater than 0; delta is 0.
        regularisation: L of the objective on records scaled to norm at most 1, greater than 0; raised where epsilon is
            too small for it.
        max_norm: L2 norm to which records are clipped, greater than 0 and chosen without looking at them; None: the
            largest that the data's public range allows.
    """

    words: ClassVar[str] = "objective perturbation"

    target_epsilon: float = 1.0
    regularisation: float = 0.01
    max_norm: float | None = None

    def __post_init__(self) -> None:
        positive(target_epsilon=self.target_epsilon, regularisation=self.regularisation)
        if self.max_norm is not None:
            positive(max_norm=self.max_norm)

    def fitted(self, problem: Problem, seed: int) -> tuple[Float64, PrivacyClaim]:
        """Return the minimum of the perturbed objective with its claim."""
        rng = generator(seed, "objective noise")
        records = len(problem.z)
        noise = objective_noise((1 - SOLVER_SHARE) * self.target_epsilon, problem.loss, records, self.regularisation)
        strength = self.regularisation + noise.extra_regularisation
        objective = Objective(problem, strength, noise.draw(problem.shape, problem.loss, rng))
        solver = weight_noise(2 * objective.tolerance / strength, SOLVER_SHARE * self.target_epsilon, None)
        weights = minimum(objective) + solver.draw(problem.shape, rng)
        how = f"Minimum of a logistic regression with regularisation {self.regularisation:.10g}"
        solved = (
            f"The solver reached a gradient norm of {objective.tolerance:.4g}, fixed in advance; {SOLVER_SHARE:.0%} of"
            " epsilon hides where it stopped."
        )
        return weights, objective_claim(noise, solver, how, (problem.words, solved))
