import numpy as np
import pytest
from privassay.defenses.none import NoDefense
from privassay.experiments.digits import Digits
from privassay.harness.types import TrainingData
from privassay.models.torch_mlp import TorchMLP


def test_it_trains_what_the_recipe_trains_in_order():
    digits = Digits().load()
    data = TrainingData(digits.x, digits.y, digits.n_classes, digits.bounds)
    recipe, rows, seeds = TorchMLP(hidden=(8,), epochs=1), [np.arange(100), np.arange(50, 150)], [3, 4]
    trained = list(NoDefense().train(recipe, data, rows, seeds))
    assert [one.mechanism for one in trained] == [None, None]
    for one, own_rows, seed in zip(trained, rows, seeds, strict=True):
        direct = recipe.fit(data, own_rows, seed)
        np.testing.assert_array_equal(one.model.logits(data.x), direct.logits(data.x))


def test_rows_and_seeds_must_match():
    digits = Digits().load()
    data = TrainingData(digits.x, digits.y, digits.n_classes, digits.bounds)
    with pytest.raises(ValueError, match="zip"):
        list(NoDefense().train(TorchMLP(), data, [], [1]))


def test_it_promises_and_changes_nothing():
    defense, answers = NoDefense(), np.array([[0.25, 0.75]])
    assert defense.guarantee == "none"
    assert defense.supports(TorchMLP(), 600) is None
    assert defense.training_parameters() == {}
    np.testing.assert_array_equal(defense.release(answers, np.random.default_rng(0)), [[0.25, 0.75]])
