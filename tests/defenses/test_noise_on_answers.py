"""Gaussian and Laplace noise: the stated distribution, ART's treatment of it, and the attack by averaging."""

import numpy as np
import pytest
from art.defences.postprocessor import GaussianNoise as ARTGaussianNoise
from privassay.defenses.gaussian_noise import GaussianNoise
from privassay.defenses.laplace_noise import LaplaceNoise


def test_given_the_same_draws_it_is_arts():
    answers = np.random.default_rng(0).dirichlet(np.full(5, 0.3), size=1000)
    np.random.seed(7)
    expected = ARTGaussianNoise(scale=0.1)(answers)
    released = GaussianNoise(scale=0.1).release(answers, np.random.RandomState(7))
    np.testing.assert_array_equal(released, expected)
    assert (released == 0).any()  # so that cutting off and normalising were tried


def test_laplace_noise_is_treated_like_gaussian_noise():
    answers = np.random.default_rng(0).dirichlet(np.full(5, 0.3), size=1000)
    released = LaplaceNoise(0.1).release(answers, np.random.default_rng(3))
    noisy = np.clip(answers + np.random.default_rng(3).laplace(scale=0.1, size=(1000, 5)), 0, None)
    np.testing.assert_allclose(released, noisy / noisy.sum(axis=1)[:, None])
    assert (released == 0).any()


def test_a_row_with_nothing_above_zero_becomes_uniform():
    class Low:
        def normal(self, loc, scale, size):
            return np.full(size, -1.0)

        laplace = normal

    answers = np.array([[0.7, 0.2, 0.1]])
    for defense in (GaussianNoise(), LaplaceNoise()):
        np.testing.assert_allclose(defense.release(answers, Low()), np.full((1, 3), 1 / 3))


def spread(defense):
    """Deviation of the noise, and its mean size over its deviation, from what two equal classes answer."""
    released = defense.release(np.full((200_000, 2), 0.5), np.random.default_rng(1))
    # (n0 - n1) / (1 + n0 + n1), nearly n0 - n1 for small noise, none of which is cut off
    difference = released[:, 0] - released[:, 1]
    return difference.std() / np.sqrt(2), np.abs(difference).mean() / difference.std()


@pytest.mark.parametrize(("scale", "accepted"), [(0.02, True), (0.02 * 0.97, False), (0.02 * 1.03, False)])
@pytest.mark.parametrize(("defense", "deviation"), [(GaussianNoise, 1.0), (LaplaceNoise, np.sqrt(2))])
def test_the_noise_has_the_stated_scale(defense, deviation, scale, accepted):
    measured, _ = spread(defense(scale))
    assert (abs(measured / (0.02 * deviation) - 1) < 0.01) == accepted


def test_the_noise_has_the_stated_shape():
    # |n0 - n1| has mean 1.5 b and deviation 2 b for Laplace noise of scale b, sqrt(2 / pi) deviations for Gaussian.
    assert spread(LaplaceNoise(0.01))[1] == pytest.approx(0.75, abs=0.01)
    assert spread(GaussianNoise(0.01))[1] == pytest.approx(np.sqrt(2 / np.pi), abs=0.01)


@pytest.mark.parametrize("defense", [GaussianNoise(0.02), LaplaceNoise(0.02 / np.sqrt(2))], ids=repr)
def test_who_asks_again_and_averages_gets_the_answer(defense):
    probabilities = np.array([[0.5, 0.3, 0.2], [0.35, 0.33, 0.32]])
    rng = np.random.default_rng(1)

    def error(questions):
        return np.abs(np.mean([defense.release(probabilities, rng) for _ in range(questions)], axis=0) - probabilities)

    assert np.mean([error(1).max() for _ in range(100)]) > 0.02
    assert error(3000).max() < 0.002
