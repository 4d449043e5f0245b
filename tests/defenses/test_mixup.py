import numpy as np
import pytest
import torch
from privassay.defenses._regularised_torch import mixed
from privassay.defenses.mixup import Mixup
from privassay.harness.errors import UsageError
from privassay.harness.types import TrainingData
from privassay.models.torch_mlp import TorchMLP
from privassay.tests.support.regularised import SMALL, digits, softmax
from scipy import stats


def test_the_loss_and_its_gradient_are_those_of_mixed_records_and_labels():
    data, members, _ = digits()
    module, share = SMALL.untrained(data.shape, 10, seed=0), 0.3
    x, y, partners = data.x[members[:5]], data.y[members[:5]], np.array([2, 0, 1, 4, 3])
    inputs = (share * x + (1 - share) * x[partners]).astype(np.float32)
    labels = share * np.eye(10)[y] + (1 - share) * np.eye(10)[y[partners]]
    p = softmax(module(torch.from_numpy(inputs)).detach().numpy().astype(np.float64))
    loss = mixed(SMALL, module, torch.from_numpy(x), torch.from_numpy(y), share, torch.from_numpy(partners))
    loss.backward()
    assert loss.item() == pytest.approx(-(labels * np.log(p)).sum(axis=1).mean(), rel=1e-5)
    last = list(module.parameters())[-1]  # the bias of the logits
    np.testing.assert_allclose(last.grad, (p - labels).mean(axis=0), atol=1e-6)


def shares_of(alpha, epochs=600):
    """What training mixes of two records, 0 and 1: 1 - share where they are partners, 0 where not."""
    inputs = []

    class Watched(TorchMLP):
        def untrained(self, shape, n_classes, seed):
            module = super().untrained(shape, n_classes, seed)
            module.register_forward_pre_hook(lambda _, given: inputs.append(given[0].flatten().tolist()))
            return module

    data = TrainingData(np.array([[0], [1]], dtype=np.float32), np.array([0, 1]), 2, (0, 1))
    recipe = Watched(hidden=(), epochs=epochs, batch_size=2, learning_rate=1e-3)
    list(Mixup(alpha).train(recipe, data, [np.arange(2)], [4]))
    assert len(inputs) == epochs
    np.testing.assert_allclose(np.sum(inputs, axis=1), 1, atol=1e-6)  # one share for both
    return np.array(inputs)[:, 0]


@pytest.mark.parametrize("alpha", [0.4, 1.0, 3.0])
def test_shares_are_of_the_beta_distribution_and_partners_are_drawn(alpha):
    found = shares_of(alpha)
    partners = (found != 0) & (found != 1)
    assert stats.binomtest(int(partners.sum()), len(found), 0.5).pvalue > 0.001
    own = found[partners]
    assert stats.kstest(own, stats.beta(alpha, alpha).cdf).pvalue > 0.01
    assert stats.kstest(own, stats.beta(2 * alpha, 2 * alpha).cdf).pvalue < 1e-3
    assert stats.kstest(own, stats.beta(alpha / 2, alpha / 2).cdf).pvalue < 1e-3


@pytest.mark.parametrize("alpha", [0.0, -1.0, np.inf])
def test_alpha_is_positive(alpha):
    with pytest.raises(UsageError, match="alpha"):
        Mixup(alpha)
