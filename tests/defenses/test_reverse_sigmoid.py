import numpy as np
import pytest
from privassay.defenses.reverse_sigmoid import ReverseSigmoid

VECTORS = [
    ([0.7, 0.2, 0.1], 1.0, 0.1, [0.6355238074, 0.2196353786, 0.1448408141]),
    ([0.5, 0.3, 0.2], 1.0, 0.5, [0.3933839916, 0.3181344146, 0.2884815938]),
    ([0.34, 0.33, 0.33], 1.0, 0.1, [0.3389602628, 0.3305198686, 0.3305198686]),
]


def release(defense, probabilities):
    return defense.release(np.asarray(probabilities), np.random.default_rng(0))


def bent(p, beta=1.0, gamma=0.1):
    """Lee et al. 2018, before normalising: sigmoid(gamma logit(p)) is p^gamma / (p^gamma + (1 - p)^gamma)."""
    p = np.asarray(p)
    return np.clip(p - beta * (p**gamma / (p**gamma + (1 - p) ** gamma) - 0.5), 0, 1)


@pytest.mark.parametrize(("p", "beta", "gamma", "out"), VECTORS)
def test_vectors(p, beta, gamma, out):
    np.testing.assert_allclose(release(ReverseSigmoid(beta, gamma), [p])[0], out, atol=1e-10)


@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 0.1), (0.3, 0.5), (4.0, 0.2), (1.0, 30.0)])
def test_it_is_the_formula_of_the_paper(beta, gamma):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(6), size=500)
    expected = bent(probabilities, beta, gamma)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(release(ReverseSigmoid(beta, gamma), probabilities), expected, rtol=1e-9)
    assert np.abs(release(ReverseSigmoid(beta, 1.1 * gamma), probabilities) - expected).max() > 1e-3


@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 0.1), (1.0, 0.9), (0.9, 1.0), (0.2, 0.5)])
def test_a_class_above_one_half_stays_predicted(beta, gamma):
    probabilities = np.random.default_rng(0).dirichlet(np.full(5, 0.3), size=5000)
    probabilities = np.concatenate([probabilities[probabilities.max(axis=1) > 0.5], np.eye(5)])
    released = release(ReverseSigmoid(beta, gamma), probabilities)
    np.testing.assert_array_equal(released.argmax(axis=1), probabilities.argmax(axis=1))


def test_otherwise_the_predicted_class_may_change():
    # By the defaults 0 becomes 0.39 and 0.3 becomes 0.32 before normalising.
    assert release(ReverseSigmoid(), [[0.3, 0.25, 0.25, 0.2, 0.0]]).argmax() == 4
    assert release(ReverseSigmoid(beta=2.0, gamma=0.5), [[0.9, 0.1]]).argmax() == 1


def test_where_the_map_rises_an_attacker_inverts_it():
    # Of two classes both are bent by the same amount, so the normaliser is 1 and the answer is the map itself.
    p = np.random.default_rng(0).uniform(0.5, 0.97, 1000)
    answer = release(ReverseSigmoid(), np.stack([p, 1 - p], axis=1))[:, 0]
    assert np.abs(answer - p).max() > 0.05
    table = np.linspace(0.5, 0.97, 100_001)
    np.testing.assert_allclose(np.interp(answer, bent(table), table), p, atol=1e-6)


def test_where_it_turns_back_two_probabilities_give_one_answer():
    beyond = np.linspace(0.98, 1 - 1e-6, 1_000_001)
    twin = beyond[np.abs(bent(beyond) - bent(0.9)).argmin()]
    first, second = release(ReverseSigmoid(), [[0.9, 0.1], [twin, 1 - twin]])
    assert twin > 0.99
    np.testing.assert_allclose(first, second, atol=1e-5)
