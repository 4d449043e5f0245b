import numpy as np
import pytest
import skops.io
from privassay.experiments.digits import Digits
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.types import TrainingData
from privassay.models.sklearn_logistic_regression import SklearnLogisticRegression
from privassay.models.sklearn_random_forest import SklearnRandomForest
from sklearn.naive_bayes import GaussianNB

RECIPES = [SklearnLogisticRegression(), SklearnRandomForest(n_estimators=20)]
both = pytest.mark.parametrize("recipe", RECIPES, ids=["logistic_regression", "random_forest"])


def softmax(logits):
    weights = np.exp(logits.astype(np.float64))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    digits = Digits().load()
    return TrainingData(digits.x, digits.y, digits.n_classes, digits.bounds)


@pytest.fixture(scope="module")
def rows(data) -> np.ndarray:
    return np.random.default_rng(0).permutation(len(data.y))[:600]


@pytest.fixture(scope="module")
def held_out(data, rows) -> np.ndarray:
    return np.setdiff1d(np.arange(len(data.y)), rows)


@both
def test_logits_are_logarithms_of_the_clipped_probabilities(recipe, data, rows):
    model = recipe.fit(data, rows, seed=1)
    logits = model.logits(data.x)
    assert logits.dtype == np.float32
    assert logits.shape == (len(data.x), 10)
    direct = model.estimator.predict_proba(data.x.reshape(-1, 64)).astype(np.float64)
    np.testing.assert_allclose(np.exp(logits), np.clip(direct, 1e-7, 1 - 1e-7), rtol=1e-5)
    np.testing.assert_allclose(softmax(logits), direct, atol=2e-6)


@both
def test_the_model_fits_its_rows_and_generalises(recipe, data, rows, held_out):
    right = recipe.fit(data, rows, seed=1).logits(data.x).argmax(axis=1) == data.y
    assert right[rows].mean() > 0.999
    assert right[held_out].mean() > 0.9


@both
def test_one_seed_gives_one_model(recipe, data, rows):
    first, again = (recipe.fit(data, rows, seed=7).logits(data.x) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_another_seed_gives_another_forest(data, rows):
    first, other = (RECIPES[1].fit(data, rows, seed=seed).logits(data.x) for seed in (7, 8))
    assert not np.array_equal(first, other)


@both
def test_a_class_without_training_rows_keeps_its_column(recipe, data, rows):
    model = recipe.fit(data, rows[data.y[rows] != 4], seed=1)
    logits = model.logits(data.x)
    assert logits.shape == (len(data.x), 10)
    np.testing.assert_allclose(logits[:, 4], np.log(1e-7), rtol=1e-6)


@both
def test_one_class_alone_is_refused(recipe, data, rows):
    with pytest.raises(UsageError, match=r"hold classes \[4\]: must hold at least two"):
        recipe.fit(data, rows[data.y[rows] == 4], seed=1)


@both
def test_a_saved_model_answers_the_same(recipe, data, rows, tmp_path):
    model = recipe.fit(data, rows, seed=1)
    model.save(tmp_path)
    loaded = recipe.load(tmp_path, data.shape, data.n_classes)
    np.testing.assert_array_equal(loaded.logits(data.x), model.logits(data.x))


@both
def test_another_estimator_in_the_file_is_refused(recipe, data, rows, tmp_path):
    other = GaussianNB().fit(data.x[rows].reshape(-1, 64), data.y[rows])
    skops.io.dump(other, tmp_path / "model.skops")
    with pytest.raises(UsageError, match="holds a GaussianNB, expected a "):
        recipe.load(tmp_path, data.shape, data.n_classes)


class Intruder:
    """Stands for code that an artefact would like to run."""


@both
def test_a_type_that_is_not_trusted_is_refused(recipe, data, rows, tmp_path):
    model = recipe.fit(data, rows, seed=1)
    model.estimator.intruder = Intruder()
    model.save(tmp_path)
    with pytest.raises(UsageError, match=r"types that are not trusted: .*Intruder$"):
        recipe.load(tmp_path, data.shape, data.n_classes)


@both
@pytest.mark.parametrize("content", [b"", b"nothing like a model"])
def test_a_broken_file_is_refused(recipe, data, tmp_path, content):
    (tmp_path / "model.skops").write_bytes(content)
    with pytest.raises(UsageError, match=r"model\.skops: cannot be read"):
        recipe.load(tmp_path, data.shape, data.n_classes)


def numeric_gradient(model, x, labels, step=1e-3):
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
def test_class_gradient_is_that_of_the_probability(data, rows, classes):
    recipe = SklearnLogisticRegression(C=0.1)  # soft probabilities, so that no gradient vanishes
    two = TrainingData(data.x, data.y, classes, data.bounds)
    model = recipe.fit(two, rows[data.y[rows] < classes], seed=1)
    x, labels = data.x[:12], np.arange(12) % classes
    gradient = model.class_gradient(x, labels)
    assert gradient.dtype == np.float32
    assert np.abs(gradient).max() > 0.01
    np.testing.assert_allclose(gradient, numeric_gradient(model, x, labels), atol=1e-6)


def test_class_gradient_of_an_unseen_class_is_zero(data, rows):
    model = SklearnLogisticRegression(C=0.1).fit(data, rows[data.y[rows] != 4], seed=1)
    x, labels = data.x[:6], np.array([3, 4, 5, 9, 4, 0])
    gradient = model.class_gradient(x, labels)
    assert not gradient[labels == 4].any()
    seen = labels != 4
    np.testing.assert_allclose(gradient[seen], numeric_gradient(model, x[seen], labels[seen]), atol=1e-6)


def test_art_returns_the_gradient_of_the_logarithm(data, rows):
    """Why ART's own gradient is not used; the day it changes, this fails."""
    from art.estimators.classification import SklearnClassifier

    model = SklearnLogisticRegression(C=0.1).fit(data, rows, seed=1)
    x, labels = data.x[:8], np.arange(8)
    arts = SklearnClassifier(model.estimator).class_gradient(x.reshape(8, 64), label=labels)
    p = model.probabilities(x)[np.arange(8), labels]
    np.testing.assert_allclose(p[:, None] * arts[:, 0], model.class_gradient(x, labels).reshape(8, 64), atol=1e-6)


def test_a_forest_has_no_gradient(data, rows):
    model = RECIPES[1].fit(data, rows, seed=1)
    with pytest.raises(NotApplicable, match="no input gradients"):
        model.class_gradient(data.x[:1], data.y[:1])


@pytest.mark.parametrize(
    ("recipe", "field"),
    [
        (SklearnLogisticRegression, "C"),
        (SklearnLogisticRegression, "max_iter"),
        (SklearnRandomForest, "n_estimators"),
        (SklearnRandomForest, "max_depth"),
        (SklearnRandomForest, "min_samples_leaf"),
    ],
)
def test_a_parameter_out_of_range_is_named(recipe, field):
    with pytest.raises(UsageError, match=f"{field}=0: must be > 0"):
        recipe(**{field: 0})
