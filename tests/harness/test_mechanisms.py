import math

import numpy as np
import pytest
from privassay.harness.accounting import gaussian_epsilon
from privassay.harness.errors import UsageError
from privassay.harness.mechanisms import (
    WeightNoise,
    constant_step_sensitivity,
    decreasing_step_sensitivity,
    gaussian_multiplier,
    logistic_loss,
    objective_claim,
    objective_noise,
    output_sensitivity,
    vote_noise,
    votes_claim,
    weight_noise,
    weights_claim,
)
from scipy import stats

BINARY = logistic_loss(2)

# The vectors `chaudhuri2011_output_objective`.
# n, L, epsilon, delta; sensitivity, Gamma scale, Gaussian deviation, epsilon' of the objective's noise
CHAUDHURI = [
    ((1000, 0.01, 1, 1e-5), (0.2, 0.2, 0.746126327, 0.9506147748)),
    ((2005, 0.01, 2, 1e-5), (0.09975062344, 0.04987531172, 0.1988840345, 1.975216535)),
    ((50000, 0.0001, 8, 1e-5), (0.4, 0.05, 0.2400916289, 7.902419672)),
]


@pytest.mark.parametrize(("setting", "expected"), CHAUDHURI)
def test_vectors_of_output_and_objective_perturbation(setting, expected):
    n, strength, epsilon, delta = setting
    s, gamma, deviation, rate = expected
    sensitivity = output_sensitivity(BINARY, n, strength)
    assert sensitivity == pytest.approx(s, rel=1e-9)
    assert weight_noise(sensitivity, epsilon, None).scale == pytest.approx(gamma, rel=1e-9)
    assert weight_noise(sensitivity, epsilon, delta).scale == pytest.approx(deviation, rel=1e-8)
    noise = objective_noise(epsilon, BINARY, n, strength)
    assert noise.rate == pytest.approx(rate, rel=1e-9)
    assert noise.extra_regularisation == 0


def test_a_small_epsilon_needs_more_regularisation():
    """Algorithm 2 of the paper: c / (n (e^(epsilon / 4) - 1)) - L is added and half of epsilon is left."""
    noise = objective_noise(0.04, BINARY, 1000, 0.01)
    assert noise.rate == 0.02
    assert noise.extra_regularisation == pytest.approx(0.25 / (1000 * (math.exp(0.01) - 1)) - 0.01)
    raised = BINARY.log_determinant(1000, 0.01 + noise.extra_regularisation)
    assert noise.rate + 2 * raised == pytest.approx(0.04)
    many = logistic_loss(10)
    noise = objective_noise(0.04, many, 1000, 0.01)
    assert noise.rate + 2 * many.log_determinant(1000, 0.01 + noise.extra_regularisation) == pytest.approx(0.04)


def test_a_solver_that_stops_early_costs_sensitivity():
    assert output_sensitivity(BINARY, 1000, 0.01, gradient_norm=1e-3) == pytest.approx(0.2 + 2e-3 / 0.01)


def test_vectors_of_wu2017_bolton_sensitivity():
    assert constant_step_sensitivity(1.0, passes=10, step=0.01, batch=1) == pytest.approx(0.2)
    assert constant_step_sensitivity(1.414213562, passes=5, step=0.1, batch=10) == pytest.approx(0.1414213562)
    assert decreasing_step_sensitivity(1.0, 0.01, batches=1000, batch=1) == pytest.approx(0.2)


def test_larger_batches_do_not_lower_the_sensitivity_of_decreasing_steps():
    assert decreasing_step_sensitivity(1.0, 0.01, batches=100, batch=10) == pytest.approx(0.2)


def curvature(p, z):
    return np.kron(np.diag(p) - np.outer(p, p), np.outer(z, z))


@pytest.mark.parametrize("classes", [3, 5])
def test_constants_of_the_softmax_are_never_exceeded_and_are_reached(classes):
    loss, rng = logistic_loss(classes), np.random.default_rng(0)
    most = dict.fromkeys(("lipschitz", "smoothness", "trace"), 0.0)
    sure = [np.eye(classes)[0] * 0.9999 + 1e-4 / classes, np.full(classes, 1 / classes)]
    torn = (np.eye(classes)[0] + np.eye(classes)[1]) / 2
    for p in [*rng.dirichlet(np.full(classes, 0.3), size=200), *sure, torn]:
        z = rng.normal(size=2)
        hessian = curvature(p, z / np.linalg.norm(z))
        eigenvalues = np.linalg.eigvalsh(hessian)
        assert (eigenvalues > 1e-12).sum() <= loss.rank
        most["lipschitz"] = max(most["lipschitz"], np.linalg.norm(p - np.eye(classes)[classes - 1]))
        most["smoothness"] = max(most["smoothness"], eigenvalues[-1])
        most["trace"] = max(most["trace"], np.trace(hessian))
    for name, found in most.items():
        allowed = getattr(loss, name)
        assert 0.999 * allowed <= found <= allowed * (1 + 1e-12)


@pytest.mark.parametrize("classes", [3, 5])
def test_log_determinant_bounds_what_one_record_adds(classes):
    loss, rng, found = logistic_loss(classes), np.random.default_rng(1), []
    for _ in range(300):
        n, strength = int(rng.integers(1, 5)), float(rng.uniform(0.02, 2))
        p = rng.dirichlet(np.full(classes, rng.choice([0.3, 3, 300])))
        z = rng.normal(size=(n + 1, 2))
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        others = rng.dirichlet(np.full(classes, 0.3), size=n) * rng.integers(0, 2)
        a = n * strength * np.eye(2 * classes) + sum(curvature(*pair) for pair in zip(others, z[1:], strict=True))
        added = np.linalg.slogdet(a + curvature(p, z[0]))[1] - np.linalg.slogdet(a)[1]
        found.append(added / loss.log_determinant(n, strength))
    assert 0.98 < max(found) <= 1 + 1e-12


def test_gaussian_multiplier_is_the_smallest_within_the_target():
    for epsilon, delta in [(0.1, 1e-5), (1.0, 1e-6), (8.0, 1e-3), (100.0, 1e-5)]:
        sigma = gaussian_multiplier(epsilon, delta)
        assert epsilon * (1 - 1e-7) <= gaussian_epsilon(sigma, delta) <= epsilon
        assert gaussian_epsilon(sigma * (1 - 1e-6), delta) > epsilon


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.2])
def test_norm_of_pure_noise_is_gamma_with_its_scale(scale):
    noise, rng = WeightNoise(sensitivity=0.5, scale=0.25 * scale, delta=None), np.random.default_rng(0)
    norms = [np.linalg.norm(noise.draw((2, 4), rng)) for _ in range(2000)]
    accepted = stats.kstest(norms, stats.gamma(8, scale=0.25).cdf).pvalue > 1e-3
    assert accepted == (scale == 1)


def test_direction_of_pure_noise_is_uniform():
    noise, rng = WeightNoise(0.5, 0.25, None), np.random.default_rng(0)
    drawn = np.array([noise.draw((2, 4), rng).ravel() for _ in range(4000)])
    shares = drawn**2 / (drawn**2).sum(axis=1, keepdims=True)
    for share in shares.T:  # one squared coordinate of a uniform direction in 8 dimensions
        assert stats.kstest(share, stats.beta(0.5, 3.5).cdf).pvalue > 1e-3
    assert np.abs(np.sign(drawn).mean(axis=0)).max() < 0.06
    assert stats.kstest(shares[:, 0], stats.beta(0.5, 3.0).cdf).pvalue < 1e-3  # would be 7 dimensions


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.2])
def test_gaussian_noise_has_its_deviation(scale):
    drawn = WeightNoise(0.5, 0.25 * scale, 1e-5).draw((100, 40), np.random.default_rng(0)).ravel()
    assert (stats.kstest(drawn / 0.25, "norm").pvalue > 1e-3) == (scale == 1)


def test_epsilon_of_pure_noise_by_its_density():
    """Density e^(-||b|| / scale): no shift by the sensitivity changes its logarithm by more than epsilon."""
    noise, rng = weight_noise(0.5, 2.0, None), np.random.default_rng(0)
    b = np.array([noise.draw((3,), rng) for _ in range(2000)])
    shift = 0.5 * np.array([1.0, 0.0, 0.0])
    ratios = np.abs(np.linalg.norm(b + shift, axis=1) - np.linalg.norm(b, axis=1)) / noise.scale
    assert 1.98 < ratios.max() <= 2.0


def test_claim_of_weights_says_what_it_is():
    pure = weights_claim(weight_noise(0.2, 1.5, None), "Minimum", ("Clipped.",))
    assert (pure.epsilon, pure.delta, pure.accountant) == (pytest.approx(1.5), 0.0, "closed_form")
    gaussian = weights_claim(weight_noise(0.2, 1.5, 1e-5), "Minimum", ("Clipped.",))
    assert (gaussian.delta, gaussian.accountant) == (1e-5, "gaussian")
    assert 1.5 * (1 - 1e-7) < gaussian.epsilon <= 1.5
    for claim in (pure, gaussian):
        assert (claim.neighbouring, claim.sampler, claim.unit) == ("replace_one", "none", "record")
        assert claim.assumptions[0] == "Clipped."
        assert any("not cryptographic" in text for text in claim.assumptions)
        assert any("choosing settings" in text for text in claim.assumptions)


def log_density(weights, z, targets, noise):
    """Logarithm of the density of objective perturbation's minimum at `weights`, up to a constant, by its definition.

    The random term is minus the gradient of everything else; the density is that of the term times the determinant of
    the derivative. One column of weights and targets is the binary logistic loss, more are the softmax.
    """
    n, strength = len(z), 1e-3 + noise.extra_regularisation
    classes = targets.shape[1]
    scores = z @ weights.T
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    p = powers / powers.sum(axis=1, keepdims=True) if classes > 1 else 1 / (1 + np.exp(-scores))
    term = -((p - targets).T @ z + n * strength * weights)
    blocks = [
        curvature(own, x) if classes > 1 else own * (1 - own) * np.outer(x, x) for own, x in zip(p, z, strict=True)
    ]
    derivative = np.sum(blocks, axis=0) + n * strength * np.eye(weights.size)
    norm = np.linalg.norm(term) * noise.rate / (2 * logistic_loss(max(2, classes)).lipschitz)
    return np.linalg.slogdet(derivative)[1] - norm


@pytest.mark.parametrize("epsilon", [2.0, 10.0, 20.0])
def test_objective_perturbation_of_two_classes_by_the_density_of_its_minimum(epsilon):
    """One record of eleven is turned almost round, the others pull aside: where it counts its gradient turns by 2."""
    z = np.vstack([np.tile([1.0, 0.0], (10, 1)), [[0.98, 0.199]]])
    turned = np.vstack([z[:10], [[-0.98, 0.199]]])
    targets = np.append(np.ones(10), 0.0)[:, None]
    noise = objective_noise(epsilon, BINARY, 11, 1e-3)
    assert (noise.extra_regularisation > 0) == (epsilon == 2.0)
    worst = max(
        abs(log_density(w[None], z, targets, noise) - log_density(w[None], turned, targets, noise))
        for w in np.stack(np.meshgrid(np.linspace(-5, 5, 21), np.linspace(0, 60, 31)), axis=-1).reshape(-1, 2)
    )
    assert worst <= epsilon
    assert worst > (0.5 if epsilon == 2.0 else 0.95) * noise.rate


@pytest.mark.parametrize("epsilon", [2.0, 40.0])
def test_objective_perturbation_of_three_classes_by_the_density_of_its_minimum(epsilon):
    """The same with two of three classes in play, where the gradient turns by 2 sqrt(2)."""
    z = np.vstack([np.tile([1.0, 0.0], (10, 1)), [[0.98, 0.199]]])
    turned = np.vstack([z[:10], [[-0.98, 0.199]]])
    targets = np.eye(3)[[1] * 10 + [0]]
    noise = objective_noise(epsilon, logistic_loss(3), 11, 1e-3)
    assert (noise.extra_regularisation > 0) == (epsilon == 2.0)
    worst = 0.0
    for w in np.stack(np.meshgrid(np.linspace(-5, 5, 21), np.linspace(0, 60, 31)), axis=-1).reshape(-1, 2):
        weights = np.array([-w / 2, w / 2, -w / 2])
        ratio = log_density(weights, z, targets, noise) - log_density(weights, turned, targets, noise)
        worst = max(worst, abs(ratio))
    assert worst <= epsilon
    assert worst > 0.5 * noise.rate


def test_claim_of_an_objective_adds_what_hides_the_solver():
    noise = objective_noise(0.99, BINARY, 1000, 0.01)
    claim = objective_claim(noise, weight_noise(1e-7, 0.01, None), "Minimum", ())
    assert (claim.epsilon, claim.delta, claim.accountant) == (pytest.approx(1.0), 0.0, "closed_form")
    assert f"{noise.rate:.10g}" in claim.event


def test_votes_of_one_changed_teacher_move_by_the_sensitivity():
    rng, queries = np.random.default_rng(0), 20
    distances = []
    for _ in range(300):
        before, after = rng.integers(0, 4, size=(2, queries))
        distances.append(np.linalg.norm(np.eye(4)[before] - np.eye(4)[after]))
    distances.append(np.linalg.norm(np.eye(4)[np.zeros(queries, int)] - np.eye(4)[np.ones(queries, int)]))
    sigma = vote_noise(3.0, 1e-5, queries)
    assert max(distances) == pytest.approx(sigma / gaussian_multiplier(3.0, 1e-5), rel=1e-9)


def test_claim_of_votes_counts_the_queries():
    sigma = vote_noise(3.0, 1e-5, 50)
    claim = votes_claim(sigma, 1e-5, 50, teachers=10)
    assert 3.0 * (1 - 1e-7) < claim.epsilon <= 3.0
    assert (claim.accountant, claim.neighbouring, claim.sampler) == ("gaussian", "replace_one", "none")
    assert votes_claim(sigma, 1e-5, 51, teachers=10).epsilon > 3.01
    assert claim.event.startswith("50 queries")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: logistic_loss(1), "classes=1"),
        (lambda: output_sensitivity(BINARY, 100, 0.0), "regularisation=0.0"),
        (lambda: output_sensitivity(BINARY, 100, 0.1, -1.0), "gradient_norm=-1.0"),
        (lambda: weight_noise(1.0, 0.0, None), "epsilon=0.0"),
        (lambda: weight_noise(1.0, 1.0, 1.0), "delta=1.0"),
        (lambda: objective_noise(-1.0, BINARY, 100, 0.1), "epsilon=-1.0"),
        (lambda: vote_noise(1.0, 1e-5, 0), "queries=0"),
        (lambda: constant_step_sensitivity(1.0, 0, 0.1, 1), "passes=0"),
        (lambda: decreasing_step_sensitivity(1.0, 0.0, 10, 1), "regularisation=0.0"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, message):
    with pytest.raises(UsageError, match=message):
        call()
