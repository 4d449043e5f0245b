import dataclasses

import numpy as np
import pytest
from privassay.defenses._convex_solver import Objective, minimum
from privassay.defenses._convex_training import problem_of
from privassay.defenses.bolt_on import BoltOn
from privassay.defenses.convex_output_perturbation import ConvexOutputPerturbation
from privassay.defenses.objective_perturbation import ObjectivePerturbation
from privassay.experiments.digits import Digits
from privassay.harness.accounting import gaussian_epsilon
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.mechanisms import output_sensitivity
from privassay.harness.types import TrainingData
from privassay.models.sklearn_logistic_regression import SklearnLogisticRegression
from privassay.models.sklearn_random_forest import SklearnRandomForest
from privassay.models.torch_mlp import TorchMLP
from scipy import stats

RECIPE = SklearnLogisticRegression()
DEFENSES = [ConvexOutputPerturbation(), ObjectivePerturbation(), BoltOn()]
each = pytest.mark.parametrize("defense", DEFENSES, ids=lambda defense: type(defense).__name__)


def small(classes, records=60, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=(records, 3)).astype(np.float32)
    return TrainingData(x, rng.integers(0, classes, size=records), classes, (-1.0, 1.0))


@pytest.fixture(scope="module")
def even_digits() -> TrainingData:
    """Whether a digit is even: two classes."""
    digits = Digits().load()
    return TrainingData(digits.x, digits.y % 2, 2, digits.bounds)


def one(defense, data, rows, seed=0):
    (trained,) = defense.train(RECIPE, data, [rows], [seed])
    return trained


def scaled_weights(model, problem):
    """A model's weights as they are on scaled records."""
    factor = np.sqrt(1 - 0.25**2) / problem.bound
    return np.hstack([model.estimator.coef_ / factor, model.estimator.intercept_[:, None] / 0.25])


@pytest.mark.parametrize("max_norm", [None, 0.8])
def test_scaled_records_have_norm_at_most_1_and_the_models_answers_fit_them(max_norm):
    data = small(4)
    rows = np.arange(10, 60)
    problem = problem_of(data, rows, max_norm)
    norms = np.linalg.norm(problem.z, axis=1)
    assert norms.max() <= 1 + 1e-12
    assert problem.bound == (max_norm or pytest.approx(3**0.5))
    weights = np.random.default_rng(0).normal(size=problem.shape)
    answers = problem.model(RECIPE, weights).probabilities(data.x[rows])
    unclipped = np.linalg.norm(data.x[rows], axis=1) <= problem.bound
    assert 0.05 < unclipped.mean() <= 1
    powers = np.exp(problem.z @ weights.T)
    np.testing.assert_allclose(answers[unclipped], (powers / powers.sum(axis=1, keepdims=True))[unclipped], rtol=1e-5)
    assert norms[~unclipped] == pytest.approx(np.ones((~unclipped).sum()))


def test_records_outside_the_public_range_are_clipped():
    data = small(2)
    data.x[3] = 100.0  # all three features: to the corner (1, 1, 1), whose norm is the largest
    z = problem_of(data, np.arange(60), None).z
    assert np.linalg.norm(z[3]) == pytest.approx(1.0)


@pytest.mark.parametrize("classes", [2, 3])
def test_no_replaced_record_moves_the_minimum_beyond_the_sensitivity(classes):
    rng, strength = np.random.default_rng(0), 0.05
    moved = []
    for trial in range(60):
        here = small(classes, records=8, seed=trial)
        x, y = here.x.copy(), here.y.copy()
        x[:] = rng.choice([-1, 1], size=x.shape)  # corners of the range are furthest apart
        there = x.copy(), y.copy()
        there[0][0], there[1][0] = rng.choice([x[0], -x[0]]), (y[0] + 1) % classes
        found = []
        for x_of, y_of in ((x, y), there):
            problem = problem_of(TrainingData(x_of, y_of, classes, (-1.0, 1.0)), np.arange(8), None)
            found.append(minimum(Objective(problem, strength, np.zeros(problem.shape))))
        moved.append(np.linalg.norm(found[0] - found[1]) / output_sensitivity(problem.loss, 8, strength))
    assert max(moved) <= 1
    assert max(moved) > 0.25  # not by a wide margin: curvature of the other records takes the rest


def residual_noise(defense, data, seeds):
    rows = np.arange(len(data.y))
    problem = problem_of(data, rows, None)
    exact = minimum(Objective(problem, defense.regularisation, np.zeros(problem.shape)))
    trained = list(defense.train(RECIPE, data, [rows] * seeds, list(range(seeds))))
    return problem, [scaled_weights(t.model, problem) - exact for t in trained], trained[0].mechanism


@pytest.mark.parametrize("classes", [2, 3])
def test_weights_are_the_minimum_plus_gaussian_noise_of_the_claimed_size(classes):
    defense = ConvexOutputPerturbation(target_epsilon=2.0, target_delta=1e-3, regularisation=0.1)
    problem, noise, claim = residual_noise(defense, small(classes), 300)
    sensitivity = 2 * (1 if classes == 2 else 2**0.5) / (60 * 0.1)
    deviation = float(np.std(noise))
    assert gaussian_epsilon(deviation / sensitivity, 1e-3) == pytest.approx(claim.epsilon, rel=0.1)
    expected = np.ravel(noise) / sensitivity / 1.44524  # gaussian_epsilon(1.44524, 1e-3) = 2
    assert gaussian_epsilon(1.44524, 1e-3) == pytest.approx(2.0, abs=1e-3)
    assert stats.kstest(expected, "norm").pvalue > 1e-3
    assert stats.kstest(expected * 0.8, "norm").pvalue < 1e-3
    assert stats.kstest(expected * 1.2, "norm").pvalue < 1e-3
    assert problem.shape == (1 if classes == 2 else 3, 4)


def test_weights_are_the_minimum_plus_pure_noise_of_the_claimed_size():
    defense = ConvexOutputPerturbation(target_epsilon=2.0, target_delta=None, regularisation=0.1)
    _, noise, claim = residual_noise(defense, small(3), 300)
    norms = np.linalg.norm(np.reshape(noise, (300, -1)), axis=1)
    law = stats.gamma(12, scale=2 * 2**0.5 / (60 * 0.1) / 2.0)
    assert stats.kstest(norms, law.cdf).pvalue > 1e-3
    assert stats.kstest(norms * 0.8, law.cdf).pvalue < 1e-3
    assert (claim.epsilon, claim.delta) == (pytest.approx(2.0), 0.0)


def test_utility_rises_with_epsilon(even_digits):
    rows, held_out = np.arange(1000), np.arange(1000, 1797)

    def accuracy(epsilon):
        defense = ConvexOutputPerturbation(target_epsilon=epsilon, max_norm=3.0)
        models = [one(defense, even_digits, rows, seed).model for seed in range(5)]
        return np.mean([(m.logits(even_digits.x).argmax(axis=1) == even_digits.y)[held_out].mean() for m in models])

    assert accuracy(0.01) < 0.65
    assert accuracy(8.0) > 0.78
    assert accuracy(100.0) > 0.82


@each
def test_claim_and_parameters_of_every_convex_defence(defense, even_digits):
    trained = one(defense, even_digits, np.arange(500))
    claim = trained.mechanism
    assert 1 - 1e-7 < claim.epsilon <= 1 + 1e-12
    assert (claim.neighbouring, claim.sampler, claim.unit) == ("replace_one", "none", "record")
    parameters = dict(defense.training_parameters())
    assert set(parameters) == {field.name for field in dataclasses.fields(defense)}
    assert parameters["target_epsilon"] == 1.0
    if "target_delta" in parameters:
        assert claim.delta == parameters["target_delta"] == 1e-5
    else:
        assert claim.delta == 0
    assert any("L2 norm 8" in text for text in claim.assumptions)  # 64 features from 0 to 1
    assert defense.guarantee == "formal"


@each
def test_one_seed_gives_one_model_that_is_stored_and_read_back(defense, even_digits, tmp_path):
    rows = np.arange(300)
    first, again, other = (one(defense, even_digits, rows, seed).model for seed in (1, 1, 2))
    logits = first.logits(even_digits.x)
    assert np.array_equal(again.logits(even_digits.x), logits)
    assert not np.array_equal(other.logits(even_digits.x), logits)
    first.save(tmp_path)
    assert np.array_equal(RECIPE.load(tmp_path, even_digits.shape, 2).logits(even_digits.x), logits)


@each
def test_a_class_without_training_records_stays_a_class(defense):
    data = small(3)
    rows = np.flatnonzero(data.y != 1)
    model = one(defense, data, rows).model
    assert model.probabilities(data.x).shape == (60, 3)
    assert model.probabilities(data.x)[:, 1].min() > 0


@each
def test_other_models_are_refused_with_the_framework(defense, even_digits):
    for recipe in (TorchMLP(hidden=(4,)), SklearnRandomForest()):
        reason = defense.supports(recipe, 500)
        assert recipe.framework in reason
        assert "logistic regression" in reason
        with pytest.raises(NotApplicable):
            next(iter(defense.train(recipe, even_digits, [np.arange(500)], [0])))


def test_delta_must_mean_something():
    assert "below 1 / 1000" in ConvexOutputPerturbation(target_delta=1e-3).supports(RECIPE, 1000)
    assert ConvexOutputPerturbation(target_delta=1e-3).supports(RECIPE, 999) is None
    assert ConvexOutputPerturbation(target_delta=None).supports(RECIPE, 10**9) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvexOutputPerturbation(target_epsilon=0.0), "target_epsilon=0.0"),
        (lambda: ConvexOutputPerturbation(target_delta=1.0), "target_delta=1.0"),
        (lambda: ConvexOutputPerturbation(regularisation=0.0), "regularisation=0.0"),
        (lambda: ConvexOutputPerturbation(max_norm=-1.0), "max_norm=-1.0"),
        (lambda: ObjectivePerturbation(target_epsilon=-1.0), "target_epsilon=-1.0"),
        (lambda: ObjectivePerturbation(max_norm=0.0), "max_norm=0.0"),
    ],
)
def test_bad_parameters_are_refused_by_name(make, message):
    with pytest.raises(UsageError, match=message):
        make()
