import numpy as np
import pytest
from privassay.defenses._convex_training import problem_of
from privassay.defenses.bolt_on import BoltOn
from privassay.harness.errors import UsageError
from privassay.harness.seeds import generator
from privassay.harness.types import TrainingData
from privassay.models.sklearn_logistic_regression import SklearnLogisticRegression
from scipy import stats

RECIPE = SklearnLogisticRegression()
SILENT = 1e12
"""An epsilon whose noise is nothing: the weights are those of the descent."""


def data(classes, records=40, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.choice([-1.0, 1.0], size=(records, 3)).astype(np.float32)
    return TrainingData(x, rng.integers(0, classes, size=records), classes, (-1.0, 1.0))


def weights(defense, made, seed=0):
    return defense.fitted(problem_of(made, np.arange(len(made.y)), None), seed)[0]


def replaced(made, row, rng):
    x, y = made.x.copy(), made.y.copy()
    x[row], y[row] = rng.choice([x[row], -x[row]]), (y[row] + 1) % made.n_classes
    return TrainingData(x, y, made.n_classes, made.bounds)


def naive_descent(problem, order_batches, steps, strength):
    """One record at a time, gradients summed by hand."""
    w = np.zeros(problem.shape)
    for step, batch in zip(steps, order_batches, strict=True):
        gradient = strength * w
        for i in batch:
            scores = w @ problem.z[i]
            p = 1 / (1 + np.exp(-scores)) if len(scores) == 1 else np.exp(scores) / np.exp(scores).sum()
            gradient = gradient + np.outer(p - problem.targets[i], problem.z[i]) / len(batch)
        w = w - step * gradient
    return w


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("learning_rate", [None, 0.5])
def test_descent_is_that_of_the_paper(classes, learning_rate):
    made = data(classes, records=23)
    defense = BoltOn(SILENT, None, passes=3, batch_size=5, regularisation=0.1, learning_rate=learning_rate)
    problem = problem_of(made, np.arange(23), None)
    order = generator(4, "bolt-on order").permutation(23)
    batches = np.array_split(order, 5) * 3
    smoothness = 0.1 + (0.25 if classes == 2 else 0.5)
    steps = [learning_rate or min(1 / smoothness, 1 / (0.1 * t)) for t in range(1, 16)]
    np.testing.assert_allclose(weights(defense, made, seed=4), naive_descent(problem, batches, steps, 0.1), atol=1e-9)


# With the share of the bound that random neighbours reach: half, where all weights are so small that the labels of a
# record pull by 1/2 each; less, where the shared descent forgets.
SETTINGS = [
    (BoltOn(SILENT, None, passes=1, batch_size=1, regularisation=0.0, learning_rate=0.05), 0.49),
    (BoltOn(SILENT, None, passes=4, batch_size=5, regularisation=0.0, learning_rate=2.0), 0.15),
    (BoltOn(SILENT, None, passes=4, batch_size=7, regularisation=0.2, learning_rate=1.0), 0.12),
    (BoltOn(SILENT, None, passes=4, batch_size=1, regularisation=0.5), 0.45),
    (BoltOn(SILENT, None, passes=4, batch_size=7, regularisation=0.5), 0.45),
    (BoltOn(SILENT, None, passes=4, batch_size=10, regularisation=2.0), 0.48),
]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(("defense", "share"), SETTINGS)
def test_no_replaced_record_moves_the_weights_beyond_the_sensitivity(defense, share, classes):
    rng, moved = np.random.default_rng(0), []
    for trial in range(40):
        made = data(classes, seed=trial)
        other = replaced(made, int(rng.integers(40)), rng)
        moved.append(np.linalg.norm(weights(defense, made) - weights(defense, other)))
    problem = problem_of(made, np.arange(40), None)
    allowed = defense.sensitivity(problem, defense.passes, max(1, round(40 / defense.batch_size)))
    assert max(moved) <= allowed
    assert max(moved) > share * allowed


@pytest.mark.parametrize("batch", [8, 10])
def test_dividing_the_sensitivity_of_decreasing_steps_by_the_batch_would_be_wrong(batch):
    """2 x lipschitz / (L x records x batch), as TensorFlow Privacy 0.9 has it, is exceeded by real neighbours."""
    rng, strength = np.random.default_rng(0), 0.5
    defense = BoltOn(SILENT, None, passes=4, batch_size=batch, regularisation=strength)
    made = data(2)
    moved = max(
        float(np.linalg.norm(weights(defense, made) - weights(defense, replaced(made, row, rng)))) for row in range(40)
    )
    assert moved > 2 * (2 / (strength * 40 * batch))
    assert moved <= 2 / (strength * 40)


@pytest.mark.parametrize(("delta", "degrees"), [(1e-3, None), (None, 12)])
def test_noise_has_the_claimed_law(delta, degrees):
    settings = {"passes": 2, "batch_size": 10, "learning_rate": 1.0, "regularisation": 0.0}
    made, defense = data(3), BoltOn(2.0, delta, **settings)
    exact, noise = BoltOn(SILENT, None, **settings), []
    for seed in range(300):
        noise.append((weights(defense, made, seed) - weights(exact, made, seed)).ravel())
    sensitivity = 2 * 2 * 2**0.5 * 1.0 / 10
    if degrees is None:
        drawn, law = np.ravel(noise), stats.norm(scale=1.44524 * sensitivity)  # epsilon 2 at delta 1e-3
    else:
        drawn, law = np.linalg.norm(noise, axis=1), stats.gamma(degrees, scale=sensitivity / 2.0)
    assert stats.kstest(drawn, law.cdf).pvalue > 1e-3
    assert stats.kstest(drawn * 0.8, law.cdf).pvalue < 1e-3
    assert stats.kstest(drawn * 1.2, law.cdf).pvalue < 1e-3


def test_claim_counts_passes_and_uses_the_smallest_batch():
    defense = BoltOn(2.0, 1e-3, passes=3, batch_size=7, regularisation=0.0, learning_rate=0.5)
    _, claim = defense.fitted(problem_of(data(2), np.arange(40), None), 0)
    assert "3 passes" in claim.event
    assert "6 batches" in claim.event  # of 7, 7, 7, 7, 6 and 6 records
    assert f"L2 sensitivity {2 * 3 * 0.5 / 6:.10g}" in claim.event
    assert claim.accountant == "gaussian"


def test_utility_rises_with_epsilon():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(2000, 3)).astype(np.float32)
    made = TrainingData(x, (x @ np.array([1.0, -2.0, 0.5]) > 0).astype(np.int64), 2, (-1.0, 1.0))

    def accuracy(epsilon):
        trained = BoltOn(target_epsilon=epsilon).train(RECIPE, made, [np.arange(1000)] * 10, list(range(10)))
        return np.mean([(t.model.logits(x).argmax(axis=1) == made.y)[1000:].mean() for t in trained])

    assert accuracy(0.01) < 0.75
    assert accuracy(1.0) > 0.85
    assert accuracy(8.0) > 0.95


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"target_epsilon": 0.0}, "target_epsilon=0.0"),
        ({"target_delta": 0.0}, "target_delta=0.0"),
        ({"passes": 0}, "passes=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"regularisation": -0.1}, "regularisation=-0.1"),
        ({"regularisation": 0.0}, "learning_rate must be given"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
    ],
)
def test_bad_parameters_are_refused_by_name(parameters, message):
    with pytest.raises(UsageError, match=message):
        BoltOn(**parameters)


def test_a_step_that_could_drive_neighbours_apart_is_refused():
    defense = BoltOn(regularisation=0.1, learning_rate=6.0)
    with pytest.raises(UsageError, match=r"learning_rate=6\.0: must be at most 5\.714"):
        next(iter(defense.train(RECIPE, data(2), [np.arange(40)], [0])))
