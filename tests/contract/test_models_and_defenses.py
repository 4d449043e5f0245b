"""What every catalogued recipe, defence and data set must fulfil, and which of them go together."""

import dataclasses

import numpy as np
import pytest
from privassay.harness import catalog
from privassay.harness.accounting import dp_sgd_claim
from privassay.harness.cache import cache_folder
from privassay.harness.dataset_checks import check_dataset
from privassay.harness.errors import NotApplicable
from privassay.harness.types import TrainingData

RECIPES = {
    "keras_mlp": {"hidden": [16], "epochs": 5},
    "sklearn_logistic_regression": {},
    "sklearn_random_forest": {"n_estimators": 10},
    "torch_cnn": {"channels": [4], "epochs": 20, "batch_size": 16},
    "torch_mlp": {"hidden": [16], "epochs": 5},
}
DATASETS = {"digits": {}, "location30": {}, "mnist": {"records": 500}}
DOWNLOADED = {"location30": "dataset_location.tgz", "mnist": "mnist"}  # what the cache folder holds of each
DEFENSES = {
    "dp_sgd": {"epochs": 2, "batch_size": 30, "target_delta": 1e-3},
    "none": {},
    "output_perturbation": {},
}


def keras_marked(names):
    return [pytest.param(name, marks=pytest.mark.keras) if "keras" in name else name for name in names]


@pytest.fixture(scope="module")
def data():
    digits = catalog.build("datasets", "digits", {}, "test").load()
    return TrainingData(digits.x[:300], digits.y[:300], digits.n_classes, digits.bounds)


def recipe(name):
    if name.startswith("keras"):
        pytest.importorskip("tensorflow", reason="needs the [keras] extra")
    return catalog.build("models", name, RECIPES[name], "test")


def test_every_component_is_under_contract():
    assert set(RECIPES) == set(catalog.BUILT_IN["models"])
    assert set(DEFENSES) == set(catalog.BUILT_IN["defenses"])
    assert set(DATASETS) == set(catalog.BUILT_IN["datasets"])


@pytest.mark.parametrize("name", keras_marked(RECIPES))
def test_recipe_trains_saves_and_repeats(name, data, tmp_path):
    made = recipe(name)
    assert dataclasses.is_dataclass(made)
    assert made.framework in ("torch", "keras", "sklearn")
    rows = np.arange(150)
    model = made.fit(data, rows, seed=1)
    logits = model.logits(data.x)
    assert logits.shape == (300, 10)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert (logits[:150].argmax(axis=1) == data.y[:150]).mean() > 0.5
    model.save(tmp_path)
    files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [f for f in files if f.endswith((".pkl", ".pickle", ".joblib", ".pt"))]
    assert np.array_equal(made.load(tmp_path, data.shape, data.n_classes).logits(data.x), logits)
    assert np.array_equal(made.fit(data, rows, seed=1).logits(data.x), logits)


@pytest.mark.parametrize("name", keras_marked(RECIPES))
def test_class_gradient_is_that_of_the_probability_or_refused(name, data):
    model = recipe(name).fit(data, np.arange(150), seed=1)
    x, labels = data.x[:3], data.y[:3]

    def probability(at):
        logits = model.logits(at).astype(np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (powers / powers.sum(axis=1, keepdims=True))[np.arange(3), labels]

    if name == "sklearn_random_forest":
        with pytest.raises(NotApplicable, match="no input gradients"):
            model.class_gradient(x, labels)
        return
    gradient = model.class_gradient(x, labels)
    assert gradient.shape == x.shape
    direction = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    direction /= np.linalg.norm(direction)
    step = np.float32(2e-3)  # float32 logits are good to about 1e-6, and a longer step crosses kinks of ReLU
    slope = (probability(x + step * direction) - probability(x - step * direction)) / (2 * step)
    assert (gradient * direction).sum(axis=(1, 2)) == pytest.approx(slope, abs=5e-3)


@pytest.mark.parametrize("defense_name", DEFENSES)
@pytest.mark.parametrize("name", keras_marked(RECIPES))
def test_defence_trains_the_recipe_or_says_why_not(name, defense_name, data):
    made, defense = recipe(name), catalog.build("defenses", defense_name, DEFENSES[defense_name], "test")
    rows = [np.arange(0, 150), np.arange(150, 300)]
    reason = defense.supports(made, 150)
    if reason is not None:
        assert made.framework in reason
        with pytest.raises(NotApplicable):
            next(iter(defense.train(made, data, rows, [0, 1])))
        return
    trained = list(defense.train(made, data, rows, [0, 1]))
    assert len(trained) == 2
    for result in trained:
        assert np.isfinite(result.model.logits(data.x)).all()
        assert (result.mechanism is not None) == (defense.guarantee == "formal")
        if result.mechanism is not None:
            assert 0 < dp_sgd_claim(result.mechanism).epsilon < 100
    assert not np.array_equal(trained[0].model.logits(data.x), trained[1].model.logits(data.x))


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


@pytest.mark.parametrize("name", DATASETS)
def test_dataset_is_sound(name):
    if name in DOWNLOADED and not (cache_folder() / DOWNLOADED[name]).exists():
        pytest.skip(f"{name} is not in {cache_folder()}: tests download nothing")
    dataset = catalog.build("datasets", name, DATASETS[name], "test").load()
    check_dataset(dataset, "test")
    assert dataset.x.dtype == np.float32
    assert dataset.y.dtype == np.int64
    assert dataset.licence
    assert dataset.sha256 == catalog.build("datasets", name, DATASETS[name], "test").load().sha256
