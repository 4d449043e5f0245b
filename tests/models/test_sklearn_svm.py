"""The calibrated machine against Platt's method written out."""

import numpy as np
import pytest
from privassay.experiments.digits import Digits
from privassay.harness.errors import UsageError
from privassay.harness.types import TrainingData
from privassay.models.sklearn_svm import SklearnSVM
from scipy.optimize import minimize
from scipy.special import expit, xlogy
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC


@pytest.fixture(scope="module")
def data() -> TrainingData:
    """Threes and eights, some labels wrong, so that no probability is near 0 or 1."""
    digits = Digits().load()
    of_two = np.flatnonzero(np.isin(digits.y, (3, 8)))
    y = (digits.y[of_two] == 8).astype(np.int64)
    y[::5] = 1 - y[::5]
    return TrainingData(digits.x[of_two], y, 2, digits.bounds)


def platt(scores, y):
    """Slope and offset of p(1) = 1 / (1 + exp(a s + b)), fitted to Platt's smoothed targets (1999, section 2.2)."""
    positives = y.sum()
    target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (len(y) - positives + 2))

    def loss(parameters):
        p = expit(-(parameters[0] * scores + parameters[1]))
        return -(xlogy(target, p) + xlogy(1 - target, 1 - p)).sum()

    return minimize(loss, np.array([-1.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x


def test_probabilities_are_platts_on_scores_of_rows_left_out(data):
    rows, recipe = np.arange(120), SklearnSVM(C=1.0, cv=4)
    x, y = data.x.reshape(len(data.y), -1), data.y[rows]
    left_out = np.zeros(120)
    for train, test in StratifiedKFold(4, shuffle=True, random_state=9).split(x[rows], y):
        left_out[test] = SVC(C=1.0).fit(x[train], y[train]).decision_function(x[test])
    machine = SVC(C=1.0).fit(x[rows], y)

    def expected(scores):
        slope, offset = platt(scores, y)
        return expit(-(slope * machine.decision_function(x) + offset))

    found = recipe.fit(data, rows, seed=9).probabilities(data.x)
    np.testing.assert_allclose(found[:, 1], expected(left_out), atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    on_its_own_scores = expected(machine.decision_function(x[rows]))
    assert np.abs(found[:, 1] - on_its_own_scores).max() > 0.02, "the test could not tell the two apart"


def test_a_class_with_fewer_rows_than_folds_is_refused(data):
    ones, zeros = np.flatnonzero(data.y == 1), np.flatnonzero(data.y == 0)
    few = np.concatenate([zeros[:30], ones[:4]])
    with pytest.raises(UsageError, match=r"class 1 has 4 training rows: .* one for each of its cv=5 folds"):
        SklearnSVM().fit(data, few, seed=0)
    assert SklearnSVM(cv=4).fit(data, few, seed=0).probabilities(data.x).shape == (len(data.y), 2)


def test_the_kernel_and_its_coefficient_reach_the_machine():
    machine = SklearnSVM(C=2.0, kernel="poly", gamma=0.25).untrained(0).estimator
    assert (machine.C, machine.kernel, machine.gamma) == (2.0, "poly", 0.25)
