import numpy as np
import pytest
import skops.io
from privassay.experiments.digits import Digits
from privassay.harness.errors import UsageError
from privassay.harness.types import TrainingData
from privassay.models.sklearn_hist_gradient_boosting import SklearnHistGradientBoosting
from privassay.models.sklearn_logistic_regression import SklearnLogisticRegression
from privassay.models.sklearn_mlp import SklearnMLP
from privassay.models.sklearn_random_forest import SklearnRandomForest
from privassay.models.sklearn_svm import SklearnSVM
from sklearn.naive_bayes import GaussianNB

RECIPES = {
    "hist_gradient_boosting": SklearnHistGradientBoosting(max_iter=12, learning_rate=0.3, max_leaf_nodes=12),
    "logistic_regression": SklearnLogisticRegression(),
    "mlp": SklearnMLP((32,), batch_size=64, learning_rate_init=0.02),
    "random_forest": SklearnRandomForest(n_estimators=20),
    "svm": SklearnSVM(),
}


@pytest.fixture(scope="module", params=RECIPES)
def recipe(request):
    return RECIPES[request.param]


@pytest.fixture(scope="module")
def model(recipe, data, rows):
    return recipe.fit(data, rows, seed=7)


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


def test_logits_are_logarithms_of_the_clipped_probabilities(model, data):
    logits = model.logits(data.x)
    assert logits.dtype == np.float32
    assert logits.shape == (len(data.x), 10)
    direct = model.estimator.predict_proba(data.x.reshape(-1, 64)).astype(np.float64)
    np.testing.assert_allclose(np.exp(logits), np.clip(direct, 1e-7, 1 - 1e-7), rtol=1e-5)
    np.testing.assert_allclose(softmax(logits), direct, atol=2e-6)


def test_the_model_fits_its_rows_and_generalises(model, data, rows, held_out):
    right = model.logits(data.x).argmax(axis=1) == data.y
    assert right[rows].mean() > 0.999
    assert right[held_out].mean() > 0.9


def test_one_seed_gives_one_model(recipe, model, data, rows):
    np.testing.assert_array_equal(recipe.fit(data, rows, seed=7).logits(data.x), model.logits(data.x))


@pytest.mark.parametrize("name", ["mlp", "random_forest", "svm"])
def test_another_seed_gives_another_model_where_something_is_drawn(name, data, rows):
    first, other = (RECIPES[name].fit(data, rows, seed=seed).logits(data.x) for seed in (7, 8))
    assert not np.array_equal(first, other)


def test_a_class_without_training_rows_keeps_its_column(recipe, data, rows):
    model = recipe.fit(data, rows[data.y[rows] != 4], seed=1)
    logits = model.logits(data.x)
    assert logits.shape == (len(data.x), 10)
    np.testing.assert_allclose(logits[:, 4], np.log(1e-7), rtol=1e-6)


def test_one_class_alone_is_refused(recipe, data, rows):
    with pytest.raises(UsageError, match=r"hold classes \[4\]: must hold at least two"):
        recipe.fit(data, rows[data.y[rows] == 4], seed=1)


def test_a_saved_model_answers_the_same(recipe, model, data, tmp_path):
    model.save(tmp_path)
    loaded = recipe.load(tmp_path, data.shape, data.n_classes)
    np.testing.assert_array_equal(loaded.logits(data.x), model.logits(data.x))


def test_another_estimator_in_the_file_is_refused(recipe, data, rows, tmp_path):
    other = GaussianNB().fit(data.x[rows].reshape(-1, 64), data.y[rows])
    skops.io.dump(other, tmp_path / "model.skops")
    with pytest.raises(UsageError, match="holds a GaussianNB, expected a "):
        recipe.load(tmp_path, data.shape, data.n_classes)


class Intruder:
    """Stands for code that an artefact would like to run."""


def test_a_type_that_is_not_trusted_is_refused(recipe, model, data, tmp_path, monkeypatch):
    monkeypatch.setattr(model.estimator, "intruder", Intruder(), raising=False)
    model.save(tmp_path)
    with pytest.raises(UsageError, match=r"types that are not trusted: .*Intruder$"):
        recipe.load(tmp_path, data.shape, data.n_classes)


@pytest.mark.parametrize("content", [b"", b"nothing like a model"])
def test_a_broken_file_is_refused(recipe, data, tmp_path, content):
    (tmp_path / "model.skops").write_bytes(content)
    with pytest.raises(UsageError, match=r"model\.skops: cannot be read"):
        recipe.load(tmp_path, data.shape, data.n_classes)


@pytest.mark.parametrize(
    ("recipe", "field"),
    [
        (SklearnHistGradientBoosting, "learning_rate"),
        (SklearnHistGradientBoosting, "max_depth"),
        (SklearnHistGradientBoosting, "max_iter"),
        (SklearnHistGradientBoosting, "min_samples_leaf"),
        (SklearnLogisticRegression, "C"),
        (SklearnLogisticRegression, "max_iter"),
        (SklearnMLP, "batch_size"),
        (SklearnMLP, "learning_rate_init"),
        (SklearnMLP, "max_iter"),
        (SklearnRandomForest, "n_estimators"),
        (SklearnRandomForest, "max_depth"),
        (SklearnRandomForest, "min_samples_leaf"),
        (SklearnSVM, "C"),
        (SklearnSVM, "gamma"),
    ],
)
def test_a_parameter_out_of_range_is_named(recipe, field):
    with pytest.raises(UsageError, match=f"{field}=0: must be > 0"):
        recipe(**{field: 0})


@pytest.mark.parametrize(
    ("recipe", "field", "value"),
    [
        (SklearnHistGradientBoosting, "l2_regularization", -0.1),
        (SklearnHistGradientBoosting, "max_leaf_nodes", 1),
        (SklearnMLP, "activation", "softplus"),
        (SklearnMLP, "alpha", -0.1),
        (SklearnSVM, "cv", 1),
        (SklearnSVM, "gamma", "wide"),
        (SklearnSVM, "kernel", "precomputed"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(recipe, field, value):
    with pytest.raises(UsageError, match=f"{field}={value!r}: must be "):
        recipe(**{field: value})


def test_every_layer_of_the_perceptron_is_checked():
    with pytest.raises(UsageError, match="hidden_layer_sizes=0: must be > 0"):
        SklearnMLP(hidden_layer_sizes=(8, 0))
