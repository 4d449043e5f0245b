import numpy as np
import pytest
from privassay.defenses._convex_solver import Objective
from privassay.defenses._convex_training import problem_of
from privassay.defenses.objective_perturbation import SOLVER_SHARE, ObjectivePerturbation
from privassay.harness.mechanisms import objective_noise
from privassay.harness.types import TrainingData
from privassay.models.sklearn_logistic_regression import SklearnLogisticRegression
from scipy import stats

RECIPE = SklearnLogisticRegression()


def data(classes, records=200):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(records, 3)).astype(np.float32)
    return TrainingData(x, rng.integers(0, classes, size=records), classes, (-1.0, 1.0))


@pytest.mark.parametrize(("classes", "epsilon"), [(2, 2.0), (3, 2.0), (2, 0.02), (3, 0.02)])
def test_the_random_term_that_was_minimised_has_the_claimed_law(classes, epsilon):
    """At the minimum the gradient is 0, so minus `records` times the rest of it is the random term itself."""
    made, defense = data(classes), ObjectivePerturbation(target_epsilon=epsilon, regularisation=0.05)
    rows = np.arange(200)
    problem = problem_of(made, rows, None)
    noise = objective_noise((1 - SOLVER_SHARE) * epsilon, problem.loss, 200, 0.05)
    assert (noise.extra_regularisation > 0) == (epsilon == 0.02)
    plain = Objective(problem, 0.05 + noise.extra_regularisation, np.zeros(problem.shape))
    factor = np.sqrt(1 - 0.25**2) / problem.bound
    norms = []
    for trained in defense.train(RECIPE, made, [rows] * 300, list(range(300))):
        estimator = trained.model.estimator
        weights = np.hstack([estimator.coef_ / factor, estimator.intercept_[:, None] / 0.25])
        norms.append(200 * np.linalg.norm(plain.gradient(weights)))
    lipschitz = 1 if classes == 2 else 2**0.5
    law = stats.gamma(problem.z.shape[1] * (1 if classes == 2 else 3), scale=2 * lipschitz / noise.rate)
    assert stats.kstest(norms, law.cdf).pvalue > 1e-3
    assert stats.kstest(np.array(norms) * 0.8, law.cdf).pvalue < 1e-3
    assert stats.kstest(np.array(norms) * 1.2, law.cdf).pvalue < 1e-3
    assert trained.mechanism.epsilon == pytest.approx(epsilon)


def test_noise_against_the_solvers_error_is_small_beside_the_weights():
    made = data(2)
    (trained,) = ObjectivePerturbation().train(RECIPE, made, [np.arange(200)], [0])
    scale = float(trained.mechanism.event.split("noise of scale ")[1].split()[0])
    assert 0 < scale < 1e-3 * np.linalg.norm(trained.model.estimator.coef_)


def test_utility_rises_with_epsilon():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(2000, 3)).astype(np.float32)
    made = TrainingData(x, (x @ np.array([1.0, -2.0, 0.5]) > 0).astype(np.int64), 2, (-1.0, 1.0))

    def accuracy(epsilon):
        defense = ObjectivePerturbation(target_epsilon=epsilon)
        trained = defense.train(RECIPE, made, [np.arange(1000)] * 10, list(range(10)))
        return np.mean([(t.model.logits(x).argmax(axis=1) == made.y)[1000:].mean() for t in trained])

    assert accuracy(0.01) < 0.75
    assert accuracy(1.0) > 0.9
    assert accuracy(8.0) > 0.95
