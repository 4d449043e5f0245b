import numpy as np
from privassay.experiments.digits import Digits
from privassay.harness.types import TrainingData
from privassay.models.sklearn_mlp import SklearnMLP


def data():
    digits = Digits().load()
    return TrainingData(digits.x, digits.y, digits.n_classes, digits.bounds)


def test_a_batch_is_at_most_all_rows():
    """scikit-learn warns of a batch larger than the data, which would be an error here."""
    recipe = SklearnMLP((8,), batch_size=64, learning_rate_init=0.05)
    small = recipe.fit(data(), np.arange(40), seed=0)
    assert small.estimator.batch_size == 40
    assert recipe.fit(data(), np.arange(100), seed=0).estimator.batch_size == 64


def test_no_member_is_held_out_of_training():
    estimator = SklearnMLP((8,), learning_rate_init=0.05).fit(data(), np.arange(60), seed=0).estimator
    assert estimator.early_stopping is False
    assert estimator.t_ == 60 * estimator.n_iter_, "records seen: every one in every epoch"
