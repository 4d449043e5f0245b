import dataclasses

import numpy as np
import pytest
import torch
from privassay.defenses._regularised_torch import smoothed
from privassay.defenses.label_smoothing import LabelSmoothing
from privassay.defenses.none import NoDefense
from privassay.harness.errors import UsageError
from privassay.models.keras_mlp import KerasMLP
from privassay.tests.support.regularised import SMALL, digits, one, softmax


def targets(y, smoothing, classes):
    return (1 - smoothing) * np.eye(classes)[y] + smoothing / classes


def logits_and_labels(n=7, classes=4):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, classes)) * 3, rng.integers(classes, size=n)


@pytest.mark.parametrize("smoothing", [-0.6, -0.05, 0.0, 0.1, 0.9])
def test_the_loss_and_its_gradient_are_those_of_the_smoothed_labels(smoothing):
    z, y = logits_and_labels()
    t, p = targets(y, smoothing, 4), softmax(z)
    logits = torch.tensor(z, requires_grad=True)
    loss = smoothed(logits, torch.tensor(y), smoothing)
    loss.backward()
    assert loss.item() == pytest.approx(-(t * np.log(p)).sum(axis=1).mean())
    np.testing.assert_allclose(logits.grad, (p - t) / len(y), atol=1e-12)
    if smoothing >= 0:
        theirs = torch.nn.functional.cross_entropy(torch.tensor(z), torch.tensor(y), label_smoothing=smoothing)
        assert loss.item() == pytest.approx(float(theirs))


def test_certainty_settles_at_the_smoothed_label():
    # The optimum answers members with 1 - s + s / classes; negative smoothing goes beyond plain training.
    data, members, _ = digits()
    recipe = dataclasses.replace(SMALL, epochs=60)

    def certainty(smoothing):
        logits = one(LabelSmoothing(smoothing), recipe, data, members).logits(data.x[members])
        return np.median(softmax(logits.astype(np.float64))[np.arange(len(members)), data.y[members]])

    assert certainty(0.3) == pytest.approx(1 - 0.3 + 0.03, abs=0.03)
    assert certainty(0.1) == pytest.approx(1 - 0.1 + 0.01, abs=0.02)
    assert 1 - certainty(-0.02) < 0.2 * (1 - certainty(0.0))


def test_negative_smoothing_comes_late_and_positive_at_once():
    negative = [LabelSmoothing(-0.2).at(epoch, 8) for epoch in range(8)]
    assert negative == [0.0, 0.0, 0.0, 0.0, -0.1, -0.2, -0.2, -0.2]
    assert {LabelSmoothing(0.2).at(epoch, 8) for epoch in range(8)} == {0.2}
    assert LabelSmoothing(-0.2).at(0, 1) == -0.2


@pytest.mark.parametrize("smoothing", [-1.1, 1.0, np.nan])
def test_smoothing_has_a_range(smoothing):
    with pytest.raises(UsageError, match="smoothing"):
        LabelSmoothing(smoothing)


@pytest.mark.keras
class TestKeras:
    recipe = KerasMLP(hidden=(32,), epochs=10)

    @pytest.fixture(autouse=True)
    def tensorflow(self):
        self.tf = pytest.importorskip("tensorflow", reason="needs the [keras] extra")

    @pytest.mark.parametrize("smoothing", [-0.6, 0.1])
    def test_the_loss_is_that_of_the_smoothed_labels(self, smoothing):
        from privassay.defenses._regularised_keras import smoothed as keras_smoothed

        z, y = logits_and_labels()
        expected = -(targets(y, smoothing, 4) * np.log(softmax(z))).sum(axis=1).mean()
        found = keras_smoothed(self.tf.constant(z), self.tf.constant(y), self.tf.constant(smoothing, self.tf.float64))
        assert float(found) == pytest.approx(expected)

    def test_without_smoothing_it_is_plain_training(self):
        data, members, others = digits()
        recipe = dataclasses.replace(self.recipe, weight_decay=0.01)  # penalties stay
        plain = one(NoDefense(), recipe, data, members).logits(data.x[others])
        found = one(LabelSmoothing(0.0), recipe, data, members).logits(data.x[others])
        np.testing.assert_allclose(found, plain, atol=1e-2)

    @pytest.mark.parametrize("smoothing", [-0.05, 0.3])
    def test_a_seed_gives_a_model_that_is_read_back(self, smoothing, tmp_path):
        data, members, others = digits()
        model, again = (one(LabelSmoothing(smoothing), self.recipe, data, members) for _ in range(2))
        logits = model.logits(data.x[others])
        np.testing.assert_array_equal(again.logits(data.x[others]), logits)
        model.save(tmp_path)
        loaded = self.recipe.load(tmp_path, data.shape, data.n_classes)
        np.testing.assert_array_equal(loaded.logits(data.x[others]), logits)
        certainty = softmax(model.logits(data.x[members]).astype(np.float64)).max(axis=1)
        assert (np.median(certainty) < 0.8) == (smoothing > 0)
