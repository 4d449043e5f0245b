"""ART's MIFace: the model inversion of Fredrikson et al. 2015 (algorithm 1), one class at a time.

The attack climbs the probability of a class in the space of inputs. Deviation, on purpose: ART's default
`threshold=0.99` keeps an input active while its cost 1 - p is at most 0.99, so an attack that starts from an
improbable image (many classes, or a confident model) stops after ONE step, and success never stops it. Here the
threshold is 1.0, which keeps every input active for exactly `max_iter` steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...harness.checks import positive
from ...harness.protocols import InversionContext, View
from ...harness.types import Family, Ints, Reconstruction, ThreatModel

_ALWAYS_ACTIVE = 1.0


@dataclass(frozen=True)
class ArtMIFace:
    """`MIFace` of ART with full access to the weights.

    Attributes:
        max_iter: gradient steps for each class.
        learning_rate: step size on the gradient of the probability. ART's own default is 0.1; on digits a step of
            1.0 makes more images recognisable in a quarter of the steps.
    """

    max_iter: int = 100
    learning_rate: float = 1.0

    family: ClassVar[Family] = "inversion"
    implementation: ClassVar[str] = "adversarial-robustness-toolbox: MIFace"
    needs_classes: ClassVar[str] = "reconstructs a typical record of each class: a regressor has no classes"

    def __post_init__(self) -> None:
        positive(max_iter=self.max_iter, learning_rate=self.learning_rate)

    @property
    def threat_model(self) -> ThreatModel:
        """Gradients; each step costs one gradient and one prediction."""
        return ThreatModel(
            access="gradients",
            knows_members=False,
            knows_recipe=False,
            reference_models=0,
            query_budget=2 * self.max_iter,
        )

    def reconstruct(self, view: View, labels: Ints, context: InversionContext) -> Reconstruction:  # noqa: ARG002
        """Invert each class from the middle of the feature range."""
        from art.attacks.inference.model_inversion import MIFace

        from .._art import ProbabilityClassifier

        attack = MIFace(
            ProbabilityClassifier(view),
            max_iter=self.max_iter,
            threshold=_ALWAYS_ACTIVE,
            learning_rate=self.learning_rate,
            batch_size=1,
            verbose=False,
        )
        start = np.full((len(labels), *view.shape), np.mean(view.bounds), dtype=np.float32)
        return Reconstruction(labels, np.asarray(attack.infer(start, labels), dtype=np.float32))
