"""Support vector machine of scikit-learn, with probabilities."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np

from ..harness.checks import one_of, positive, require
from ..harness.errors import UsageError
from ..harness.types import Ints, TrainingData
from ._sklearn import SklearnModel, SklearnRecipe

if TYPE_CHECKING:
    from sklearn.calibration import CalibratedClassifierCV

Kernel = Literal["linear", "poly", "rbf", "sigmoid"]


class SVMModel(SklearnModel):
    """A fitted support vector machine with its calibration."""

    no_gradient: ClassVar[str] = (
        "a calibrated SVM has no input gradients here: scikit-learn gives none, ART those of its scores only, "
        "not of its probabilities"
    )


@dataclass(frozen=True)
class SklearnSVM(SklearnRecipe):
    """A support vector machine fitted on all rows, its scores made probabilities by one sigmoid a class (Platt 1999).

    The sigmoids are fitted on scores that rows get from machines trained without them, in `cv` folds; the seed draws
    the folds. This is `CalibratedClassifierCV(SVC(), ensemble=False)`, which scikit-learn 1.9 puts in the place of
    `SVC(probability=True)`.

    Attributes:
        C: inverse strength of the penalty, > 0; the default is weak enough to fit small halves almost perfectly.
        kernel: `linear`, `poly` (of degree 3), `rbf` or `sigmoid`.
        gamma: coefficient of the kernel, > 0; `scale` is 1 / (features x variance of all values), `auto` 1 / features.
        cv: folds of the calibration, at least 2; every class must have as many training rows.
    """

    C: float = 10.0
    kernel: Kernel = "rbf"
    gamma: float | Literal["scale", "auto"] = "scale"
    cv: int = 5

    model: ClassVar[type[SklearnModel]] = SVMModel
    trusted: ClassVar[tuple[str, ...]] = (
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.model_selection._split.StratifiedKFold",
    )

    def __post_init__(self) -> None:
        positive(C=self.C)
        one_of(get_args(Kernel), kernel=self.kernel)
        if isinstance(self.gamma, str):
            one_of(("scale", "auto"), gamma=self.gamma)
        else:
            positive(gamma=self.gamma)
        require(self.cv >= 2, "cv", self.cv, ">= 2")

    def untrained(self, seed: int) -> CalibratedClassifierCV:
        """The machine and its calibration before fitting."""
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.model_selection import StratifiedKFold
        from sklearn.svm import SVC

        folds = StratifiedKFold(self.cv, shuffle=True, random_state=seed)
        machine = SVC(C=self.C, kernel=self.kernel, gamma=self.gamma)
        return CalibratedClassifierCV(machine, method="sigmoid", cv=folds, ensemble=False)

    def penalised(self, weight_decay: float, records: int) -> SklearnSVM:
        """The machine with C = 1 / (weight_decay x records), as if all records stood in each of its parts."""
        return replace(self, C=1 / (weight_decay * records))

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> SklearnModel:
        """Fit on `rows` of `data`, on one core; the same seed gives the same model.

        Raises:
            UsageError: the rows hold one class only, or fewer of a class than the calibration has folds.
        """
        classes, counts = np.unique(data.y[rows], return_counts=True)
        if counts.min() < self.cv:
            raise UsageError(
                f"class {classes[counts.argmin()]} has {counts.min()} training rows: the calibration of an SVM needs "
                f"one for each of its cv={self.cv} folds"
            )
        return super().fit(data, rows, seed)
