import numpy as np
from privassay.harness.types import TrainingData
from privassay.models.sklearn_hist_gradient_boosting import SklearnHistGradientBoosting
from sklearn.ensemble import HistGradientBoostingClassifier


def test_no_member_is_held_out_of_training_however_many_there_are():
    """scikit-learn's own default holds a tenth out above 10,000 rows; the root of the first tree counts its rows."""
    rng = np.random.default_rng(0)
    x = rng.random((10_500, 2), dtype=np.float32)
    data = TrainingData(x, (x[:, 0] > 0.5).astype(np.int64), 2, (0.0, 1.0))
    rows = np.arange(10_200)

    def rows_seen(estimator):
        return estimator._predictors[0][0].nodes["count"][0]

    model = SklearnHistGradientBoosting(max_iter=2).fit(data, rows, seed=0)
    default = HistGradientBoostingClassifier(max_iter=2, random_state=0).fit(x[rows], data.y[rows])
    assert rows_seen(model.estimator) == 10_200
    assert rows_seen(default) == 9_180


def test_no_limits_are_allowed():
    untrained = SklearnHistGradientBoosting(max_leaf_nodes=None, max_depth=None).untrained(0)
    assert untrained.max_leaf_nodes is None
    assert untrained.max_depth is None


def test_two_classes_are_stored_too(tmp_path):
    """Their loss is of another type than that of several."""
    x = np.random.default_rng(0).random((60, 3), dtype=np.float32)
    data = TrainingData(x, (x[:, 0] > 0.5).astype(np.int64), 2, (0.0, 1.0))
    recipe = SklearnHistGradientBoosting(max_iter=3)
    model = recipe.fit(data, np.arange(60), seed=0)
    model.save(tmp_path)
    np.testing.assert_array_equal(recipe.load(tmp_path, data.shape, 2).logits(x), model.logits(x))
