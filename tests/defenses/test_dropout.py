import numpy as np
import pytest
import torch
from privassay.defenses._regularised_torch import dropping
from privassay.defenses.dropout import Dropout
from privassay.harness.errors import UsageError
from privassay.models.torch_mlp import TorchMLP
from privassay.tests.support.regularised import SMALL, digits, one
from scipy import stats


def source(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_activations_are_dropped_at_the_rate_and_keep_their_mean(rate):
    layer, x = torch.nn.Sequential(torch.nn.ReLU()), torch.linspace(-1.0, 3.0, 40_000)
    with dropping(layer, rate, source()):
        dropped = layer(x)
    active = x > 0
    kept = dropped[active] != 0
    p_value = stats.binomtest(int((~kept).sum()), int(active.sum()), rate).pvalue
    assert p_value > 0.001
    assert stats.binomtest(int((~kept).sum()), int(active.sum()), rate * 1.1).pvalue < 1e-6  # the test tells
    torch.testing.assert_close(dropped[active][kept], x[active][kept] / (1 - rate))
    assert not dropped[~active].any()
    deviation = float(x[active].square().sum().sqrt()) * np.sqrt(rate / (1 - rate))
    assert abs(float(dropped.sum() - x[active].sum())) < 4 * deviation
    torch.testing.assert_close(layer(x), x.clamp(min=0), rtol=0, atol=0)  # outside, nothing is dropped


def test_gradients_follow_the_kept_activations_only():
    layer, x = torch.nn.Sequential(torch.nn.Tanh()), torch.full((100,), 0.3, requires_grad=True)
    with dropping(layer, 0.5, source()):
        dropped = layer(x)
    dropped.sum().backward()
    expected = torch.where(dropped != 0, 2 * (1 - torch.tanh(torch.tensor(0.3)) ** 2), torch.tensor(0.0))
    torch.testing.assert_close(x.grad, expected)


def test_training_drops_in_every_step_and_answers_do_not():
    data, members, _ = digits()
    shares = []

    class Watched(TorchMLP):
        def untrained(self, shape, n_classes, seed):
            module = super().untrained(shape, n_classes, seed)
            module[-1].register_forward_pre_hook(
                lambda _, inputs: shares.append((inputs[0] == 0).float().mean().item())
            )
            return module

    # tanh is never 0 by itself
    model = one(Dropout(0.3), Watched(hidden=(64,), activation="tanh", epochs=5, batch_size=60), data, members)
    assert len(shares) == 5 * len(members) // 60
    numbers = 60 * 64
    assert np.abs(np.array(shares) - 0.3).max() < 4.5 * np.sqrt(0.3 * 0.7 / numbers)
    assert len(set(shares)) > 1
    shares.clear()
    model.logits(data.x[members])
    assert shares == [0.0]


def test_hooks_are_removed_when_training_fails():
    module = SMALL.untrained((8, 8), 10, seed=0)
    with pytest.raises(RuntimeError, match="stop"), dropping(module, 0.5, source()):
        raise RuntimeError("stop")
    assert not any(part._forward_hooks for part in module.modules())


def test_a_network_without_activation_layers_is_refused():
    data, members, _ = digits()
    with pytest.raises(UsageError, match="no activation layer"):
        one(Dropout(), TorchMLP(hidden=()), data, members)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, np.nan])
def test_the_rate_is_a_probability_in_between(rate):
    with pytest.raises(UsageError, match="rate"):
        Dropout(rate)
