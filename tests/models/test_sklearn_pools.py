"""Pools on processes hold the models that sequential fits give, whatever the recipe."""

import textwrap
import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
from privassay.experiments.digits import Digits
from privassay.harness.protocols import PoolRecipe
from privassay.harness.types import TrainingData
from privassay.harness.user_code import UserFunction
from privassay.models import _processes
from privassay.models.sklearn_estimator import SklearnEstimator
from privassay.models.sklearn_hist_gradient_boosting import SklearnHistGradientBoosting
from privassay.models.sklearn_mlp import SklearnMLP
from privassay.models.sklearn_svm import SklearnSVM

CODE = """
    import numpy as np
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline

    class Root(TransformerMixin, BaseEstimator):
        def fit(self, x, y=None): self.n_features_in_ = x.shape[1]; return self
        def transform(self, x): return np.sqrt(x)

    def build(): return make_pipeline(Root(), RandomForestClassifier(10, n_jobs=-1))
"""


@pytest.fixture(scope="module")
def data() -> TrainingData:
    digits = Digits().load()
    return TrainingData(digits.x, digits.y, digits.n_classes, digits.bounds)


@pytest.fixture(scope="module")
def recipes(tmp_path_factory) -> list[PoolRecipe]:
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "their_rooted.py").write_text(textwrap.dedent(CODE))
    return [
        SklearnHistGradientBoosting(max_iter=5, max_leaf_nodes=8),
        SklearnMLP((16,), batch_size=64, learning_rate_init=0.02),
        SklearnSVM(),
        SklearnEstimator(UserFunction("their_rooted:build", folder)),
    ]


def test_processes_give_the_models_of_sequential_fits(recipes, data):
    class EachInTurn:
        """Defined here, it travels to the workers by value; its recipes travel as they do in a pool of their own."""

        def fit(self, data, rows, seed):
            return recipes[seed % len(recipes)].fit(data, rows, seed)

    generator = np.random.default_rng(3)
    tasks = [(np.sort(generator.permutation(1200)[:150]), seed) for seed in range(len(recipes))]
    sequential = [EachInTurn().fit(data, *task) for task in tasks]
    on_processes = _processes.on_processes(EachInTurn(), data, tasks, workers=2)
    for model, expected in zip(on_processes, sequential, strict=True):
        assert type(model) is type(expected)
        np.testing.assert_array_equal(model.logits(data.x), expected.logits(data.x))


def test_every_recipe_fits_pools_in_order(recipes, data, monkeypatch):
    monkeypatch.setattr(_processes, "cores", lambda: 1)
    rows = [np.arange(0, 200), np.arange(200, 400)]
    for recipe in recipes:
        assert isinstance(recipe, PoolRecipe)
        pool = list(recipe.fit_pool(data, rows, [5, 6]))
        assert len(pool) == 2
        np.testing.assert_array_equal(pool[1].logits(data.x), recipe.fit(data, rows[1], 6).logits(data.x))


def test_a_pool_is_not_shut_down_before_its_jobs_are_taken_over():
    """loky's managing thread dies of a job that it finds after the shutdown."""
    waiting, running, done = Future(), Future(), Future()
    running.set_running_or_notify_cancel()
    done.set_result(1)
    assert _processes.taken_over([running, done])
    assert _processes.taken_over([])
    assert not _processes.taken_over([running, waiting], seconds=0.01)
    timer = threading.Timer(0.05, waiting.set_running_or_notify_cancel)
    start = time.monotonic()
    timer.start()
    assert _processes.taken_over([running, waiting])
    assert time.monotonic() - start >= 0.05
