import dataclasses

import numpy as np
import pytest
import torch
from privassay.defenses._regularised_torch import flattened, relaxed
from privassay.defenses.none import NoDefense
from privassay.defenses.relaxloss import RelaxLoss
from privassay.harness.errors import UsageError
from privassay.tests.support.regularised import SMALL, digits, losses, one, softmax


def batch():
    rng = np.random.default_rng(0)
    return rng.normal(size=(6, 4)) * 2, rng.integers(4, size=6)


def loss_and_gradient(z, y, alpha, epoch):
    logits = torch.tensor(z, requires_grad=True)
    loss = relaxed(logits, torch.tensor(y), alpha, epoch)
    loss.backward()
    return loss.item(), logits.grad.numpy()


def cross_entropy(p, t):
    return -(t * np.log(p)).sum(axis=1).mean()


def test_the_soft_labels_keep_the_true_class_and_share_the_rest():
    found = flattened(torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.1, 0.3]])), torch.tensor([0, 2]))
    np.testing.assert_allclose(found, [[0.7, 0.15, 0.15], [0.35, 0.35, 0.3]], atol=1e-6)


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
def test_a_batch_is_descended_ascended_or_flattened(epoch):
    z, y = batch()
    p, hard = softmax(z), np.eye(4)[y]
    plain = cross_entropy(p, hard)

    above = loss_and_gradient(z, y, alpha=plain * 0.99, epoch=epoch)
    assert above[0] == pytest.approx(plain)
    np.testing.assert_allclose(above[1], (p - hard) / 6, atol=1e-12)

    below = loss_and_gradient(z, y, alpha=plain * 1.01, epoch=epoch)
    if epoch % 2 == 0:
        assert below[0] == pytest.approx(-plain)
        np.testing.assert_allclose(below[1], (hard - p) / 6, atol=1e-12)
        return
    true = p[np.arange(6), y][:, None]
    soft = np.where(hard == 1, true, (1 - true) / 3)
    assert below[0] == pytest.approx(cross_entropy(p, soft))
    np.testing.assert_allclose(below[1], (p - soft) / 6, atol=1e-12)  # none flows through the soft labels


@pytest.mark.parametrize("alpha", [0.15, 0.4])
def test_the_loss_of_members_stays_near_alpha(alpha):
    data, members, _ = digits()
    recipe = dataclasses.replace(SMALL, epochs=60, learning_rate=0.02)
    found = np.mean(
        [losses(one(RelaxLoss(alpha), recipe, data, members, seed), data, members).mean() for seed in (1, 2)]
    )
    assert 0.7 * alpha < found < 1.3 * alpha
    assert losses(one(NoDefense(), recipe, data, members), data, members).mean() < 0.5 * alpha


@pytest.mark.parametrize("alpha", [0.0, -0.5, np.nan])
def test_alpha_is_positive(alpha):
    with pytest.raises(UsageError, match="alpha"):
        RelaxLoss(alpha)
