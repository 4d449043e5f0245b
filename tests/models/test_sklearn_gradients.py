"""Input gradients: those of the probability, by hand where scikit-learn and ART give none, or the reason why not."""

import numpy as np
import pytest
from privassay.experiments.digits import Digits
from privassay.harness.errors import NotApplicable
from privassay.harness.types import TrainingData
from privassay.models.sklearn_hist_gradient_boosting import SklearnHistGradientBoosting
from privassay.models.sklearn_logistic_regression import SklearnLogisticRegression
from privassay.models.sklearn_mlp import SklearnMLP
from privassay.models.sklearn_random_forest import SklearnRandomForest
from privassay.models.sklearn_svm import SklearnSVM

REGRESSION = SklearnLogisticRegression(C=0.1)  # soft probabilities, so that no gradient vanishes


def perceptron(*layers, activation="relu"):
    """Soft for the same reason, and soon converged."""
    return SklearnMLP(layers, activation, alpha=1.0, batch_size=64, learning_rate_init=0.02)


RECIPES = {
    "regression": REGRESSION,
    "no hidden layer": perceptron(),
    "identity": perceptron(8, activation="identity"),
    "logistic": perceptron(8, activation="logistic"),
    "tanh, two layers": perceptron(12, 6, activation="tanh"),
    "relu, three layers": perceptron(16, 12, 8),
}


@pytest.fixture(scope="module")
def data() -> TrainingData:
    digits = Digits().load()
    return TrainingData(digits.x, digits.y, digits.n_classes, digits.bounds)


@pytest.fixture(scope="module")
def rows(data) -> np.ndarray:
    return np.random.default_rng(0).permutation(len(data.y))[:200]


def numeric_gradient(model, x, labels, step=1e-6):
    """Central differences of the probability of the labels, computed in float64 by the estimator."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    columns = np.searchsorted(model.estimator.classes_, labels)
    gradient = np.zeros_like(flat)
    for j in range(flat.shape[1]):
        ends = []
        for sign in (1, -1):
            moved = flat.copy()
            moved[:, j] += sign * step
            ends.append(model.estimator.predict_proba(moved)[np.arange(len(x)), columns])
        gradient[:, j] = (ends[0] - ends[1]) / (2 * step)
    return gradient.reshape(x.shape)


@pytest.mark.parametrize("classes", [10, 2])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_class_gradient_is_that_of_the_probability(recipe, data, rows, classes):
    few = TrainingData(data.x, data.y, classes, data.bounds)
    model = recipe.fit(few, rows[data.y[rows] < classes], seed=1)
    x, labels = data.x[:10], np.arange(10) % classes
    gradient = model.class_gradient(x, labels)
    assert gradient.dtype == np.float32
    assert np.abs(gradient).max() > 0.01
    np.testing.assert_allclose(gradient, numeric_gradient(model, x, labels), atol=1e-6)


@pytest.mark.parametrize("recipe", [REGRESSION, perceptron(8)], ids=["regression", "perceptron"])
def test_class_gradient_of_an_unseen_class_is_zero(recipe, data, rows):
    model = recipe.fit(data, rows[data.y[rows] != 4], seed=1)
    x, labels = data.x[:6], np.array([3, 4, 5, 9, 4, 0])
    gradient = model.class_gradient(x, labels)
    assert not gradient[labels == 4].any()
    seen = labels != 4
    np.testing.assert_allclose(gradient[seen], numeric_gradient(model, x[seen], labels[seen]), atol=1e-6)


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (
            SklearnHistGradientBoosting(max_iter=2),
            "boosted trees have no input gradients: their probabilities are steps",
        ),
        (SklearnRandomForest(n_estimators=2), "a random forest has no input gradients: its probabilities are steps"),
        (SklearnSVM(), "a calibrated SVM has no input gradients here: .* not of its probabilities"),
    ],
)
def test_a_model_without_gradients_says_why(recipe, reason, data, rows):
    model = recipe.fit(data, rows, seed=1)
    with pytest.raises(NotApplicable, match=f"^{reason}$"):
        model.class_gradient(data.x[:1], data.y[:1])


def test_art_returns_the_gradient_of_the_logarithm(data, rows):
    """Why ART's own gradient is not used; the day it changes, this fails."""
    from art.estimators.classification import SklearnClassifier

    model = REGRESSION.fit(data, rows, seed=1)
    x, labels = data.x[:8], np.arange(8)
    arts = SklearnClassifier(model.estimator).class_gradient(x.reshape(8, 64), label=labels)
    p = model.probabilities(x)[np.arange(8), labels]
    np.testing.assert_allclose(p[:, None] * arts[:, 0], model.class_gradient(x, labels).reshape(8, 64), atol=1e-6)


@pytest.mark.parametrize(
    ("recipe", "gradients"),
    [
        (SklearnHistGradientBoosting(max_iter=2), False),
        (REGRESSION, True),
        (perceptron(8), False),
        (SklearnRandomForest(n_estimators=2), False),
        (SklearnSVM(), False),
    ],
)
def test_art_wraps_every_model_and_gives_gradients_of_the_regression_only(recipe, gradients, data, rows):
    from art.estimators.classification import SklearnClassifier

    model = recipe.fit(data, rows, seed=1)
    wrapped = SklearnClassifier(model.estimator, clip_values=data.bounds)
    x = data.x[:20].reshape(20, 64)
    assert wrapped.nb_classes == 10
    np.testing.assert_array_equal(wrapped.predict(x), model.probabilities(data.x[:20]))
    assert hasattr(wrapped, "class_gradient") == gradients
