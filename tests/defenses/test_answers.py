"""What every defence that changes answers must fulfil, and which of them may change the predicted class."""

import numpy as np
import pytest
from privassay.defenses.class_labels import ClassLabels
from privassay.defenses.gaussian_noise import GaussianNoise
from privassay.defenses.high_confidence import HighConfidence
from privassay.defenses.laplace_noise import LaplaceNoise
from privassay.defenses.none import NoDefense
from privassay.defenses.output_perturbation import OutputPerturbation
from privassay.defenses.reverse_sigmoid import ReverseSigmoid
from privassay.defenses.rounded import Rounded
from privassay.defenses.top_k import TopK
from privassay.harness.errors import UsageError
from privassay.models.sklearn_logistic_regression import SklearnLogisticRegression
from privassay.models.torch_mlp import TorchMLP

NOISY = [GaussianNoise(), GaussianNoise(3.0), LaplaceNoise(), LaplaceNoise(3.0), OutputPerturbation(0.3)]
FIXED = [
    ClassLabels(),
    HighConfidence(),
    HighConfidence(0.9),
    OutputPerturbation(0.0, 0),
    ReverseSigmoid(),
    ReverseSigmoid(5.0, 0.5),
    ReverseSigmoid(1.0, 50.0),
    Rounded(),
    Rounded(0),
    TopK(1),
    TopK(3),
    TopK(1000),
]


def rows(classes):
    """Sharp and flat rows, with certain and undecided ones among them."""
    drawn = [np.random.default_rng(0).dirichlet(np.full(classes, a), size=100) for a in (0.05, 1.0, 20.0)]
    return np.concatenate([*drawn, np.eye(classes), np.full((1, classes), 1 / classes)])


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
@pytest.mark.parametrize("defense", NOISY + FIXED, ids=repr)
def test_every_answer_is_a_distribution_that_the_generator_alone_decides(defense, classes):
    probabilities = rows(classes)
    before = probabilities.copy()
    released = defense.release(probabilities, np.random.default_rng(1))
    np.testing.assert_array_equal(probabilities, before)
    assert not np.shares_memory(released, probabilities)
    assert released.shape == probabilities.shape
    assert released.dtype == np.float64
    assert released.min() >= 0
    np.testing.assert_allclose(released.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(released, defense.release(probabilities, np.random.default_rng(1)))
    another = defense.release(probabilities, np.random.default_rng(2))
    assert (another != released).any() == (defense in NOISY)


@pytest.mark.parametrize("defense", NOISY + FIXED, ids=repr)
def test_it_is_a_heuristic_that_shares_its_models_with_no_defence(defense):
    assert defense.guarantee == "heuristic"
    assert defense.training_parameters() == NoDefense().training_parameters() == {}
    assert defense.supports(TorchMLP(), 10) is None
    assert defense.supports(SklearnLogisticRegression(), 10) is None


def changed(defense, probabilities):
    return defense.release(probabilities, np.random.default_rng(1)).argmax(axis=1) != probabilities.argmax(axis=1)


@pytest.mark.parametrize("defense", [ClassLabels(), TopK(1), TopK(2), TopK(7)], ids=repr)
def test_the_predicted_class_stays(defense):
    assert not changed(defense, rows(10)).any()


@pytest.mark.parametrize("defense", [GaussianNoise(), LaplaceNoise(), OutputPerturbation()], ids=repr)
def test_noise_may_change_the_predicted_class(defense):
    assert changed(defense, rows(10)).any()


def test_a_cut_off_changes_the_predicted_class_only_below_it():
    probabilities = rows(10)
    at_least = probabilities.max(axis=1) >= 0.25
    assert not changed(HighConfidence(0.25), probabilities)[at_least].any()
    np.testing.assert_allclose(HighConfidence(0.25).release(probabilities[~at_least], np.random.default_rng(1)), 0.1)
    assert 0 < at_least.mean() < 1


@pytest.mark.parametrize(
    ("defense", "parameters"),
    [
        (GaussianNoise, {"scale": 0.0}),
        (GaussianNoise, {"scale": np.inf}),
        (HighConfidence, {"cutoff": 0.0}),
        (HighConfidence, {"cutoff": 1.0}),
        (LaplaceNoise, {"scale": -0.1}),
        (ReverseSigmoid, {"beta": 0.0}),
        (ReverseSigmoid, {"gamma": -1.0}),
        (Rounded, {"decimals": -1}),
        (TopK, {"k": 0}),
    ],
)
def test_a_parameter_out_of_range_is_refused(defense, parameters):
    with pytest.raises(UsageError, match=next(iter(parameters))):
        defense(**parameters)
