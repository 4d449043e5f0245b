import numpy as np
import pytest
from art.defences.postprocessor import Rounded
from privassay.defenses.none import NoDefense
from privassay.defenses.output_perturbation import OutputPerturbation
from privassay.harness.errors import UsageError
from privassay.models.torch_mlp import TorchMLP


@pytest.fixture
def answers():
    return np.random.default_rng(0).dirichlet(np.full(5, 0.3), size=4000)


def released(defense, answers, seed=1):
    return defense.release(answers, np.random.default_rng(seed))


def test_every_answer_is_a_distribution_and_the_input_is_left_alone(answers):
    before = answers.copy()
    out = released(OutputPerturbation(noise_scale=0.3), answers)
    assert out.shape == answers.shape
    assert out.dtype == np.float64
    assert (out >= 0).all()
    np.testing.assert_allclose(out.sum(axis=1), 1.0)
    np.testing.assert_array_equal(answers, before)


def test_without_noise_it_is_arts_rounding_renormalised(answers):
    rounded = Rounded(decimals=2)(answers)
    expected = rounded / rounded.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(released(OutputPerturbation(0.0, 2), answers), expected)


@pytest.mark.parametrize(("scale", "decimals"), [(0.05, 1), (0.3, 2), (0.5, 0), (0.0, 1)])
def test_it_is_noise_cut_off_rounded_and_then_normalised_once(answers, scale, decimals):
    noisy = answers + np.random.default_rng(1).normal(0.0, scale, answers.shape)
    kept = np.round(np.maximum(noisy, 0.0), decimals)
    kept[kept.sum(axis=1) == 0] = 1.0
    expected = kept / kept.sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(released(OutputPerturbation(scale, decimals), answers), expected)


def test_a_row_that_rounds_to_zero_becomes_uniform():
    out = released(OutputPerturbation(0.0, 0), np.array([[0.4, 0.3, 0.3], [0.9, 0.1, 0.0]]))
    np.testing.assert_allclose(out, [[1 / 3, 1 / 3, 1 / 3], [1.0, 0.0, 0.0]])


@pytest.mark.parametrize(("scale", "accepted"), [(0.05, True), (0.05 * 2 / 3, False), (0.05 * 3 / 2, False)])
def test_the_noise_has_the_stated_scale(scale, accepted):
    # Two equal classes: nothing is clipped, and their ratio shows the noise before renormalising.
    out = released(OutputPerturbation(scale, 9), np.full((20_000, 2), 0.5))
    difference = (out[:, 0] - out[:, 1]).std()
    # difference = (n0 - n1) / (1 + n0 + n1), to first order of deviation 0.05 sqrt(2).
    assert (abs(difference / (0.05 * np.sqrt(2)) - 1) < 0.03) == accepted


def test_the_generator_alone_decides(answers):
    defense = OutputPerturbation()
    np.testing.assert_array_equal(released(defense, answers, 1), released(defense, answers, 1))
    assert (released(defense, answers, 1) != released(defense, answers, 2)).any()


def test_it_shares_its_models_with_no_defence():
    assert OutputPerturbation().training_parameters() == NoDefense().training_parameters() == {}
    assert OutputPerturbation().guarantee == "heuristic"
    assert OutputPerturbation().supports(TorchMLP(), 600) is None


@pytest.mark.parametrize("parameters", [{"noise_scale": -0.1}, {"noise_scale": np.nan}, {"decimals": -1}])
def test_a_parameter_out_of_range_is_refused(parameters):
    with pytest.raises(UsageError, match=next(iter(parameters))):
        OutputPerturbation(**parameters)
