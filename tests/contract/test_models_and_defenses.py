"""What every catalogued recipe, defence and data set must fulfil, and which of them go together."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from privassay.defenses.none import NoDefense
from privassay.harness import catalog
from privassay.harness.accounting import claim_of
from privassay.harness.cache import cache_folder
from privassay.harness.dataset_checks import check_dataset
from privassay.harness.errors import NotApplicable
from privassay.harness.protocols import task_of
from privassay.harness.types import TrainingData

RECIPES = {
    "keras_cnn": {"channels": [4], "epochs": 20, "batch_size": 16},
    "keras_mlp": {"hidden": [16], "epochs": 5},
    "keras_module": {"build": "user_models:keras_network", "epochs": 20},
    "python": {"train": "user_models:train"},
    "sklearn_estimator": {"build": "user_models:pipeline"},
    "sklearn_hist_gradient_boosting": {"max_iter": 5},
    "sklearn_logistic_regression": {},
    "sklearn_mlp": {"hidden_layer_sizes": [16], "max_iter": 500, "learning_rate_init": 0.03},
    "sklearn_random_forest": {"n_estimators": 10},
    "sklearn_random_forest_regressor": {"n_estimators": 10},
    "sklearn_ridge": {},
    "sklearn_svm": {"cv": 2},
    "torch_cnn": {"channels": [4], "epochs": 20, "batch_size": 16},
    "torch_mlp": {"hidden": [16], "epochs": 5},
    "torch_mlp_regressor": {"epochs": 20},
    "torch_module": {"build": "user_models:torch_network", "epochs": 20},
}
DATASETS = {
    "adult": {"records": 500},
    "cifar10": {"records": 500},
    "diabetes": {},
    "digits": {},
    "fashion_mnist": {"records": 500},
    "german_credit": {},
    "image_folder": {"path": "pictures"},
    "location30": {},
    "mnist": {"records": 500},
    "nursery": {"records": 500},
    "purchase100": {"records": 500},
    "released_digits": {"records": 500},
    "table": {"path": "table.csv", "target": "y", "categorical": ["sex"]},
    "texas100": {"records": 500},
}
DOWNLOADED = {  # what the cache folder holds of each
    "adult": "adult/*",
    "cifar10": "cifar-10-binary.tar.gz",
    "fashion_mnist": "fashion_mnist/*",
    "german_credit": "german_credit/*",
    "location30": "dataset_location.tgz",
    "mnist": "mnist/*",
    "nursery": "nursery/*",
    "purchase100": "dataset_purchase.tgz",
    "texas100": "dataset_texas.tgz",
}
DEFENSES = {
    "bolt_on": {"target_delta": 1e-3},
    "class_labels": {},
    "convex_output_perturbation": {"target_delta": 1e-3},
    "distillation": {},
    "dp_sgd": {"epochs": 2, "batch_size": 30, "target_delta": 1e-3},
    "dropout": {},
    "early_stopping": {},
    "gaussian_noise": {},
    "high_confidence": {},
    "k_anonymity": {"k": 2},
    "l2": {},
    "label_smoothing": {},
    "laplace_noise": {},
    "mixup": {},
    "none": {},
    "objective_perturbation": {},
    "output_perturbation": {},
    "pate": {"target_delta": 1e-3, "teachers": 2, "queries": 100},
    "relaxloss": {},
    "reverse_sigmoid": {},
    "rounded": {},
    "top_k": {},
}


USER_CODE = Path(__file__).resolve().parents[1] / "support" / "user_code"
WITHOUT_GRADIENTS = {  # a recipe that is not named here has gradients, and keeps them
    "python": "no input gradients that are known here",
    "sklearn_estimator": "scikit-learn gives none",
    "sklearn_hist_gradient_boosting": "no input gradients",
    "sklearn_random_forest": "no input gradients",
    "sklearn_random_forest_regressor": "a regressor has no classes",
    "sklearn_ridge": "a regressor has no classes",
    "sklearn_svm": "no input gradients here",
    "torch_mlp_regressor": "a regressor has no classes",
}


SLOW = {("keras_cnn", "dp_sgd"), ("keras_cnn", "pate"), ("keras_module", "pate")}  # the contract table trains them too


def keras_marked(names):
    return [pytest.param(name, marks=pytest.mark.keras) if "keras" in name else name for name in names]


@pytest.fixture(scope="module")
def data_of():
    """Records that a recipe can learn: digits, for regressors diabetes; rows 300 .. 399 are public."""
    kept = {}
    for task, name in (("classification", "digits"), ("regression", "diabetes")):
        d = catalog.build("datasets", name, {}, "test").load()
        public = np.arange(300, 400)
        kept[task] = TrainingData(d.x[:400], d.y[:400], d.n_classes, d.bounds, public, grid=d.grid)
    return lambda name: kept[task_of(recipe(name))]


@pytest.fixture(scope="module")
def trained(data_of):
    """Two models of a recipe behind a defence. Defences that share the function that trains share its models."""
    kept = {}

    def train(name, defense):
        key = name, type(defense).train, repr(sorted(defense.training_parameters().items()))
        if key not in kept:
            rows = [np.arange(0, 150), np.arange(150, 300)]
            kept[key] = list(defense.train(recipe(name), data_of(name), rows, [0, 1]))
        return kept[key]

    return train


@pytest.fixture(scope="module")
def fitted(trained):
    """A model of a recipe, fitted to rows 0 .. 149 with seed 0."""
    return lambda name: trained(name, NoDefense())[0].model


def recipe(name):
    if name.startswith("keras"):
        pytest.importorskip("tensorflow", reason="needs the [keras] extra")
    return catalog.build("models", name, RECIPES[name], "test", USER_CODE)


def test_every_component_is_under_contract():
    assert set(RECIPES) == set(catalog.BUILT_IN["models"])
    assert set(DEFENSES) == set(catalog.BUILT_IN["defenses"])
    assert set(DATASETS) == set(catalog.BUILT_IN["datasets"])


@pytest.mark.parametrize("name", keras_marked(RECIPES))
def test_recipe_trains_and_repeats(name, data_of, fitted):
    made, data = recipe(name), data_of(name)
    assert dataclasses.is_dataclass(made)
    assert made.framework in ("torch", "keras", "sklearn", "python")
    logits = fitted(name).logits(data.x)
    assert logits.shape == (400, data.n_classes)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    said, true = logits[:150].argmax(axis=1), data.y[:150]
    assert (said == true).mean() > 0.5 if data.grid is None else np.corrcoef(said, true)[0, 1] > 0.5
    assert np.array_equal(made.fit(data, np.arange(150), seed=0).logits(data.x), logits)


@pytest.mark.parametrize("name", keras_marked(RECIPES))
def test_model_is_saved_without_pickle_and_read_back(name, data_of, fitted, tmp_path):
    model, data = fitted(name), data_of(name)
    model.save(tmp_path)
    files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [f for f in files if f.endswith((".pkl", ".pickle", ".joblib", ".pt"))]
    again = recipe(name).load(tmp_path, data.shape, data.n_classes)
    if name == "python":  # whatever the user's code returned cannot be written without pickle
        with pytest.raises(NotApplicable, match="are not kept"):
            again.logits(data.x)
        return
    assert np.array_equal(again.logits(data.x), model.logits(data.x))


@pytest.mark.parametrize("name", keras_marked(RECIPES))
def test_class_gradient_is_that_of_the_probability_or_refused(name, data_of, fitted):
    model, data = fitted(name), data_of(name)
    x, labels = data.x[:3], data.y[:3]

    def probability(at):
        logits = model.logits(at).astype(np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (powers / powers.sum(axis=1, keepdims=True))[np.arange(3), labels]

    if name in WITHOUT_GRADIENTS:
        with pytest.raises(NotApplicable, match=WITHOUT_GRADIENTS[name]):
            model.class_gradient(x, labels)
        return
    gradient = model.class_gradient(x, labels)
    assert gradient.shape == x.shape
    direction = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    direction /= np.linalg.norm(direction)
    step = np.float32(2e-3)  # float32 logits are good to about 1e-6, and a longer step crosses kinks of ReLU
    slope = (probability(x + step * direction) - probability(x - step * direction)) / (2 * step)
    assert (gradient * direction).reshape(3, -1).sum(axis=1) == pytest.approx(slope, abs=5e-3)


def pairs():
    for name in RECIPES:
        for defense in DEFENSES:
            marks = [pytest.mark.keras] * ("keras" in name) + [pytest.mark.slow] * ((name, defense) in SLOW)
            yield pytest.param(name, defense, marks=marks, id=f"{name}-{defense}")


@pytest.mark.parametrize(("name", "defense_name"), list(pairs()))
def test_defence_trains_the_recipe_or_says_why_not(name, defense_name, data_of, trained):
    made, defense = recipe(name), catalog.build("defenses", defense_name, DEFENSES[defense_name], "test")
    data, reason = data_of(name), defense.supports(made, 150)
    if reason is not None:
        assert made.framework in reason
        with pytest.raises(NotApplicable):
            next(iter(defense.train(made, data, [np.arange(150)], [0])))
        return
    results = trained(name, defense)
    assert len(results) == 2
    for result in results:
        assert np.isfinite(result.model.logits(data.x)).all()
        assert (result.mechanism is not None) == (defense.guarantee == "formal")
        if result.mechanism is not None:
            claim = claim_of(result.mechanism)
            assert 0 < claim.epsilon < 100
            assert 0 <= claim.delta <= 1e-3
    assert not np.array_equal(*(result.model.logits(data.x) for result in results))


@pytest.mark.parametrize("defense_name", DEFENSES)
def test_released_answers_are_probabilities(defense_name):
    defense = catalog.build("defenses", defense_name, DEFENSES[defense_name], "test")
    probabilities = np.random.default_rng(0).dirichlet(np.full(10, 0.1), size=50)
    before = probabilities.copy()
    released = defense.release(probabilities, np.random.default_rng(1))
    assert np.array_equal(probabilities, before)
    assert released.shape == (50, 10)
    assert released.min() >= 0
    assert released.sum(axis=1) == pytest.approx(np.ones(50))
    again = defense.release(probabilities, np.random.default_rng(1))
    assert np.array_equal(released, again)


@pytest.fixture
def small_files(tmp_path):
    """What `table` and `image_folder` read: a table of 30 records, 6 pictures of 2 classes."""
    rng = np.random.default_rng(0)
    rows = [f"{age:.2f},{'fm'[k % 2]},{k % 3}" for k, age in enumerate(rng.uniform(20, 80, 30))]
    (tmp_path / "table.csv").write_text("\n".join(["age,sex,y", *rows]))
    for k in range(6):
        folder = tmp_path / "pictures" / "ab"[k % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (4, 4)).astype(np.uint8)).save(folder / f"{k}.png")
    return tmp_path


@pytest.mark.parametrize("name", DATASETS)
def test_dataset_is_sound(name, small_files):
    if name in DOWNLOADED and not list(cache_folder().glob(DOWNLOADED[name])):
        pytest.skip(f"{name} is not in {cache_folder()}: tests download nothing")
    first, second = (catalog.build("datasets", name, DATASETS[name], "test", small_files).load() for _ in range(2))
    check_dataset(first, "test")
    assert first.x.dtype == np.float32
    assert first.y.dtype == np.int64
    assert first.licence
    assert first.sha256 == second.sha256
