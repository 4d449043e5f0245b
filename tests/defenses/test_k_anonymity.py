import numpy as np
import pytest
from privassay.defenses._k_anonymity_sklearn import leaves, representative
from privassay.defenses.k_anonymity import KAnonymity
from privassay.defenses.none import NoDefense
from privassay.experiments.digits import Digits
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.types import TrainingData
from privassay.models.sklearn_logistic_regression import SklearnLogisticRegression
from privassay.models.torch_mlp import TorchMLP

ROWS = [np.arange(300), np.arange(200, 450)]
SEEDS = [3, 4]
RECIPES = [SklearnLogisticRegression(), TorchMLP(hidden=(8,), epochs=2)]


@pytest.fixture(scope="module")
def data():
    digits = Digits().load()
    return TrainingData(digits.x, digits.y, digits.n_classes, digits.bounds, public=np.arange(1000, 1100))


def naive_representative(records):
    """Per feature: the value of the first record whose value is nearest to the median."""
    chosen = []
    for values in records.T.tolist():
        median = np.median(values)
        chosen.append(min(values, key=lambda value, median=median: abs(value - median)))
    return chosen


def naively_anonymised(x, y, k, seed):
    flat = x.reshape(len(x), -1)
    leaf = leaves(flat, y, k, seed)
    return np.array([naive_representative(flat[leaf == own]) for own in leaf], dtype=np.float32).reshape(x.shape)


@pytest.mark.parametrize("k", [2, 5, 40, 250])
def test_every_distinct_record_occurs_at_least_k_times_in_each_model(data, k):
    shown, rows = KAnonymity(k).anonymised(data, ROWS, SEEDS)
    for own, original in zip(rows, ROWS, strict=True):
        _, counts = np.unique(shown.x[own].reshape(len(own), -1), axis=0, return_counts=True)
        assert counts.min() >= k
        assert len(counts) > 1 or k > 100
        np.testing.assert_array_equal(shown.y[own], data.y[original])


def test_the_records_are_those_of_a_naive_oracle(data):
    shown, rows = KAnonymity(4).anonymised(data, ROWS, SEEDS)
    for own, original, seed in zip(rows, ROWS, SEEDS, strict=True):
        expected = naively_anonymised(data.x[original], data.y[original], 4, seed)
        np.testing.assert_array_equal(shown.x[own], expected)
        assert (expected != data.x[original]).any()


def test_a_representative_has_the_values_nearest_to_the_medians():
    records = np.array([[0, 9, 1], [1, 5, 1], [5, 5, 0], [9, 0, 0]], dtype=np.float32)
    # medians 3, 5, 0.5: of 1 and 5, and of 1 and 0, the first record's is taken
    np.testing.assert_array_equal(representative(records), [1, 5, 1])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.framework)
def test_each_model_is_trained_on_its_own_anonymised_records(data, recipe):
    trained = list(KAnonymity(4).train(recipe, data, ROWS, SEEDS))
    assert [one.mechanism for one in trained] == [None, None]
    plain = list(NoDefense().train(recipe, data, ROWS, SEEDS))
    for one, other, own, seed in zip(trained, plain, ROWS, SEEDS, strict=True):
        x = naively_anonymised(data.x[own], data.y[own], 4, seed)
        replaced = TrainingData(x, data.y[own], data.n_classes, data.bounds)
        direct = recipe.fit(replaced, np.arange(len(own)), seed)
        np.testing.assert_array_equal(one.model.logits(data.x), direct.logits(data.x))
        assert (one.model.logits(data.x) != other.model.logits(data.x)).any()


def test_the_original_records_are_left_alone(data):
    before = data.x.copy()
    next(KAnonymity(4).train(RECIPES[0], data, ROWS, SEEDS))
    np.testing.assert_array_equal(data.x, before)


def test_k_of_one_is_plain_training(data):
    recipe = TorchMLP(hidden=(8,), epochs=1)
    plain = list(NoDefense().train(recipe, data, ROWS, SEEDS))
    for one, other in zip(KAnonymity(1).train(recipe, data, ROWS, SEEDS), plain, strict=True):
        np.testing.assert_array_equal(one.model.logits(data.x), other.model.logits(data.x))
    assert KAnonymity(1).training_parameters() == NoDefense().training_parameters() == {}
    assert KAnonymity(2).training_parameters() == {"k": 2}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.framework)
def test_fewer_records_than_k_are_refused(data, recipe):
    assert KAnonymity(300).supports(recipe, 300) is None
    reason = KAnonymity(301).supports(recipe, 300)
    assert reason == f"k=301: the {recipe.framework} recipe has 300 training records, fewer than k"
    with pytest.raises(NotApplicable, match="k=260"):  # the second model's rows are too few
        next(KAnonymity(260).train(recipe, data, ROWS, SEEDS))


def test_no_models_are_no_work(data):
    assert list(KAnonymity().train(RECIPES[0], data, [], [])) == []


def test_it_is_a_heuristic_that_answers_plainly():
    answers = np.array([[0.25, 0.75]])
    assert KAnonymity().guarantee == "heuristic"
    np.testing.assert_array_equal(KAnonymity().release(answers, np.random.default_rng(0)), answers)


def test_k_below_one_is_refused():
    with pytest.raises(UsageError, match="k=0"):
        KAnonymity(0)
