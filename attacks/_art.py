"""The target as an estimator of the Adversarial Robustness Toolbox (ART), every call going through the view.

ART's attacks take an ART estimator. These two pass each prediction and gradient on to the `View`, so that queries
are counted and the threat model holds whatever ART does inside. Gradients of neural networks come from ART's own
estimator of the framework (`PyTorchClassifier`, `TensorFlowV2Classifier`), which the backends use.
"""

from __future__ import annotations

import numpy as np
from art.estimators.classification import BlackBoxClassifierNeuralNetwork
from art.estimators.classification.classifier import ClassGradientsMixin

from ..harness.protocols import View
from ..harness.types import Float32, Ints


class ProbabilityClassifier(ClassGradientsMixin, BlackBoxClassifierNeuralNetwork):  # type: ignore[misc]
    """Answers probabilities and, where the view grants them, gradients of the probability of a class."""

    def __init__(self, view: View) -> None:
        super().__init__(view.predict, view.shape, view.n_classes, clip_values=view.bounds)
        self._view = view

    def class_gradient(self, x: Float32, label: Ints, **_: object) -> Float32:
        """Gradients of the probability of `label[i]` at `x[i]`: float32 (n, 1, *shape), as ART lays them out."""
        gradients = self._view.class_gradient(x, np.asarray(label, dtype=np.int64))
        return gradients[:, np.newaxis]


class LabelClassifier(BlackBoxClassifierNeuralNetwork):  # type: ignore[misc]
    """Answers labels only, one-hot encoded."""

    def __init__(self, view: View) -> None:
        super().__init__(lambda x: one_hot(view.predict_labels(x), view.n_classes), view.shape, view.n_classes)


def one_hot(labels: Ints, n_classes: int) -> Float32:
    """Labels (n,) as float32 (n, classes). ART guesses the number of classes from labels that are not encoded."""
    return np.eye(n_classes, dtype=np.float32)[labels]
