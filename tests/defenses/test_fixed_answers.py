"""Rounding, cut-offs and labels: equal to ART's post-processors where those give distributions, and told apart."""

import numpy as np
import pytest
from art.defences.postprocessor import ClassLabels as ARTClassLabels
from art.defences.postprocessor import HighConfidence as ARTHighConfidence
from art.defences.postprocessor import Rounded as ARTRounded
from privassay.defenses.class_labels import ClassLabels
from privassay.defenses.high_confidence import HighConfidence
from privassay.defenses.rounded import Rounded
from privassay.defenses.top_k import TopK

RNG = np.random.default_rng(0)


@pytest.fixture
def answers():
    return np.random.default_rng(0).dirichlet(np.full(6, 0.3), size=1000)


def test_rounded_is_arts_normalised(answers):
    rounded = ARTRounded(decimals=2)(answers)
    np.testing.assert_array_equal(Rounded(2).release(answers, RNG), rounded / rounded.sum(axis=1, keepdims=True))


def test_what_rounds_to_zeros_becomes_uniform_and_to_a_tie_the_lower_class():
    probabilities = np.array([[0.4, 0.3, 0.3], [0.24, 0.26, 0.5], [0.26, 0.36, 0.38]])
    np.testing.assert_allclose(Rounded(0).release(probabilities, RNG)[0], np.full(3, 1 / 3))
    assert Rounded(1).release(probabilities, RNG).argmax(axis=1).tolist() == [0, 2, 1]


def test_labels_are_arts_of_each_record_by_itself(answers):
    released = ClassLabels().release(answers, RNG)
    np.testing.assert_array_equal(released, np.concatenate([ARTClassLabels()(row[None]) for row in answers]))
    assert (np.sort(released, axis=1) == [0, 0, 0, 0, 0, 1]).all()


@pytest.mark.parametrize("cutoff", [0.1, 0.25, 0.6])
def test_a_cut_off_tells_what_arts_tells(answers, cutoff):
    released, arts = HighConfidence(cutoff).release(answers, RNG), ARTHighConfidence(cutoff)(answers)
    assert 0 < (arts == 0).mean() < 1
    np.testing.assert_array_equal(released[arts > 0], arts[arts > 0])
    # ART's answer follows from ours, and ours from ART's: nothing is told or hidden beside it.
    np.testing.assert_array_equal(ARTHighConfidence(cutoff)(released), arts)
    for mine, other in zip(released, arts, strict=True):
        if (other == 0).any():
            np.testing.assert_allclose(mine[other == 0], (1 - other.sum()) / (other == 0).sum(), atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 5, 6, 9])
def test_top_k_by_a_naive_oracle(answers, k):
    for row, released in zip(answers, TopK(k).release(answers, RNG), strict=True):
        expected, ranking = row.copy(), sorted(range(6), key=lambda c: -row[c])
        for c in ranking[k:]:
            expected[c] = sum(row[other] for other in ranking[k:]) / (6 - k)
        np.testing.assert_allclose(released, expected, rtol=1e-12)


def test_of_equal_probabilities_the_lower_class_is_kept():
    released = TopK(2).release(np.array([[0.1, 0.3, 0.3, 0.3]]), RNG)
    np.testing.assert_allclose(released, [[0.2, 0.3, 0.3, 0.2]])
