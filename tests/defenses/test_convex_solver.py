import numpy as np
import pytest
from privassay.defenses import _convex_solver
from privassay.defenses._convex_solver import Objective, minimum
from privassay.defenses._convex_training import problem_of
from privassay.harness.errors import PrivassayError
from privassay.harness.types import TrainingData
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression


def problem(classes, records=80, features=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=(records, features)).astype(np.float32)
    y = rng.integers(0, classes, size=records)
    return problem_of(TrainingData(x, y, classes, (-1.0, 1.0)), np.arange(records), max_norm=None)


def value(objective, weights):
    """The objective, written out."""
    p, n = objective.problem, len(objective.problem.z)
    scores = p.z @ weights.T
    if p.targets.shape[1] == 1:
        scores, targets = np.hstack([np.zeros((n, 1)), scores]), np.hstack([1 - p.targets, p.targets])
    else:
        targets = p.targets
    loss = (logsumexp(scores, axis=1) - (scores * targets).sum(axis=1)).mean()
    return loss + objective.regularisation / 2 * (weights**2).sum() + (objective.tilt * weights).sum() / n


@pytest.mark.parametrize("classes", [2, 4])
def test_gradient_and_curvature_are_those_of_the_objective(classes):
    p, rng = problem(classes), np.random.default_rng(1)
    objective = Objective(p, 0.03, rng.normal(size=p.shape))
    at, direction = rng.normal(size=(2, *p.shape))
    step = 1e-5 * direction
    slope = (value(objective, at + step) - value(objective, at - step)) / 2e-5
    assert (objective.gradient(at) * direction).sum() == pytest.approx(slope, rel=1e-6)
    bent = (objective.gradient(at + step) - objective.gradient(at - step)) / 2e-5
    answers = _convex_solver.predicted(p.z @ at.T)
    np.testing.assert_allclose(objective.curvature(answers, direction), bent, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("strength", [1.0, 0.01, 1e-5])
def test_minimum_is_that_of_scikit_learn(classes, strength):
    p = problem(classes)
    objective = Objective(p, strength, np.zeros(p.shape))
    found = minimum(objective)
    y = p.targets[:, 0] if classes == 2 else p.targets.argmax(axis=1)
    oracle = LogisticRegression(
        C=1 / (len(y) * strength), fit_intercept=False, solver="newton-cholesky", tol=1e-12, max_iter=1000
    ).fit(p.z, y)
    np.testing.assert_allclose(found, oracle.coef_, rtol=1e-4, atol=1e-6 / strength**0.5)
    assert np.linalg.norm(objective.gradient(found)) <= objective.tolerance


@pytest.mark.parametrize("classes", [2, 4])
def test_a_tilted_objective_is_minimised_from_far_away(classes):
    p = problem(classes)
    objective = Objective(p, 1e-3, 300 * np.random.default_rng(0).normal(size=p.shape))
    found = minimum(objective)
    assert np.linalg.norm(objective.gradient(found)) <= objective.tolerance
    assert np.linalg.norm(found) > 1000
    nearby = found + 1e-2 * np.random.default_rng(1).normal(size=p.shape)
    assert value(objective, found) < value(objective, nearby)


def test_no_weights_come_out_when_the_tolerance_is_not_reached(monkeypatch):
    monkeypatch.setattr(_convex_solver, "_MOST_STEPS", 1)
    p = problem(2)
    with pytest.raises(PrivassayError, match="no claim can be made"):
        minimum(Objective(p, 1e-5, np.zeros(p.shape)))
