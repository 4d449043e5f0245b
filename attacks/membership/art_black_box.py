"""ART's attack model on the target's probabilities (Shokri et al. 2017), fed in two ways that must not be confused.

`ArtBlackBox` learns "member or not" on reference models, whose members the attacker chose himself: nothing of the
target's membership is used. `ArtBlackBoxKnowsMembers` is what ART's examples do: it learns on records of the target
whose membership it is told, which is a stronger attacker and is labelled so in every output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...harness.checks import one_of, positive
from ...harness.errors import NotApplicable
from ...harness.protocols import MembershipContext, View
from ...harness.types import Bools, Candidates, Family, Float64, Ints, Scores, ThreatModel

ATTACK_MODEL_TYPES = ("rf", "gb", "lr", "dt", "knn", "svm")
"""ART's attack models that can be seeded; its `nn` draws from the process-wide generator of torch."""


def _fitted(view: View, model_type: str, rows: tuple[Float64, Ints, Bools], seed: int) -> Any:
    """ART's attack fitted on rows of (probabilities (r, classes), labels (r,), member (r,))."""
    from art.attacks.inference.membership_inference import MembershipInferenceBlackBox

    from .._art import ProbabilityClassifier, one_hot

    probabilities, labels, member = rows
    attack = MembershipInferenceBlackBox(ProbabilityClassifier(view), attack_model_type=model_type)
    if "random_state" in attack.attack_model.get_params():
        attack.attack_model.set_params(random_state=seed)
    if model_type == "rf":
        attack.attack_model.set_params(n_jobs=-1)
    encoded = one_hot(labels, view.n_classes)
    attack.fit(
        y=encoded[member],
        pred=probabilities[member],
        test_y=encoded[~member],
        test_pred=probabilities[~member],
    )
    if model_type == "rf":
        attack.attack_model.set_params(n_jobs=1)  # parallel trees add their votes in any order: other last digits
    return attack


def _scored(attack: Any, view: View, candidates: Candidates, chosen: Bools) -> Scores:
    """Membership probabilities of the chosen candidates."""
    from .._art import one_hot

    values = attack.infer(candidates.x[chosen], one_hot(candidates.y[chosen], view.n_classes), probabilities=True)
    return Scores(candidates.ids[chosen], np.asarray(values, dtype=np.float64).ravel())


@dataclass(frozen=True)
class ArtBlackBox:
    """`MembershipInferenceBlackBox` of ART on the outputs of reference models.

    Attributes:
        attack_model_type: ART's name of the attack model: rf, gb, lr, dt, knn or svm.
        max_rows: how many (reference, record) rows feed it, drawn evenly from all references; its time grows with
            them and its strength hardly does.
    """

    attack_model_type: str = "rf"
    max_rows: int = 5000

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "adversarial-robustness-toolbox: MembershipInferenceBlackBox"
    needs_classes: ClassVar[str] = "learns from the probabilities of classes: a regressor answers with a number"
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="probabilities", knows_members=False, knows_recipe=True, reference_models=1, query_budget=1
    )

    def __post_init__(self) -> None:
        one_of(ATTACK_MODEL_TYPES, attack_model_type=self.attack_model_type)
        positive(max_rows=self.max_rows)

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:
        """Score every candidate; higher = member."""
        if context.references is None:
            raise NotApplicable("ART's black-box attack needs reference models to learn from")
        references, rng = context.references, np.random.default_rng(context.seed)
        each = min(len(candidates), -(-self.max_rows // len(references)))
        drawn = [np.sort(rng.permutation(len(candidates))[:each]) for _ in range(len(references))]
        rows = (
            np.concatenate([references.probabilities(k)[chosen] for k, chosen in enumerate(drawn)]),
            np.concatenate([candidates.y[chosen] for chosen in drawn]),
            np.concatenate([references.member[k][chosen] for k, chosen in enumerate(drawn)]),
        )
        attack = _fitted(view, self.attack_model_type, rows, context.seed)
        return _scored(attack, view, candidates, np.ones(len(candidates), dtype=np.bool_))


@dataclass(frozen=True)
class ArtBlackBoxKnowsMembers:
    """`MembershipInferenceBlackBox` of ART as its examples use it: told the membership of some of the records.

    The records it is told about are not scored: an attack evaluated on what it was fitted on looks strong on noise.

    Attributes:
        attack_model_type: ART's name of the attack model: rf, gb, lr, dt, knn or svm.
    """

    attack_model_type: str = "rf"

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "adversarial-robustness-toolbox: MembershipInferenceBlackBox"
    needs_classes: ClassVar[str] = "learns from the probabilities of classes: a regressor answers with a number"
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="probabilities", knows_members=True, knows_recipe=False, reference_models=0, query_budget=1
    )

    def __post_init__(self) -> None:
        one_of(ATTACK_MODEL_TYPES, attack_model_type=self.attack_model_type)

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:
        """Score the candidates whose membership was not told; higher = member."""
        if context.known is None:
            raise NotApplicable("this attack needs the membership of some of the target's records")
        told = np.isin(candidates.ids, context.known.ids)
        member = np.zeros(len(candidates), dtype=np.bool_)
        member[np.searchsorted(candidates.ids, context.known.ids)] = context.known.member
        rows = (view.predict(candidates.x[told]), candidates.y[told], member[told])
        attack = _fitted(view, self.attack_model_type, rows, context.seed)
        return _scored(attack, view, candidates, ~told)
