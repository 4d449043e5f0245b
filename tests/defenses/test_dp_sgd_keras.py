import dataclasses
import math

import numpy as np
import pytest
from privassay.defenses.dp_sgd import DPSGD
from privassay.experiments.digits import Digits
from privassay.harness.accounting import dp_sgd_claim
from privassay.harness.types import TrainingData
from privassay.models.keras_mlp import KerasMLP

pytestmark = pytest.mark.keras

NOISE = {"target_epsilon": None, "noise_multiplier": 1e-9}


@pytest.fixture(scope="module")
def data() -> TrainingData:
    pytest.importorskip("tensorflow_privacy", reason="needs the [keras] extra")
    digits = Digits().load()
    return TrainingData(digits.x, digits.y, digits.n_classes, digits.bounds)


def train(recipe, data, rows, seed=1, **settings):
    return next(DPSGD(**settings).train(recipe, data, [np.asarray(rows)], [seed]))


def weights_of(model):
    return np.concatenate([weight.ravel() for weight in model.network.get_weights()]).astype(np.float64)


def initial_weights(recipe, data, seed=1):
    kept = []
    recipe.fit_by(lambda network, x, y: kept.extend(network.get_weights()), data, np.arange(2), seed)
    return kept


def one_step(**settings):
    """A recipe of one step with learning rate 1, so that the weights move by minus the gradient."""
    return KerasMLP(hidden=(7,), activation="tanh", epochs=1, learning_rate=1.0, momentum=0.0, **settings)


def record_gradients(weights, x, y):
    """Gradient of each record's cross-entropy in all weights, (n, parameters), by the formulas in float64."""
    (w1, b1, w2, b2), x = (w.astype(np.float64) for w in weights), x.reshape(len(x), -1).astype(np.float64)
    h = np.tanh(x @ w1 + b1)
    logits = h @ w2 + b2
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    delta2 = p / p.sum(axis=1, keepdims=True) - np.eye(len(b2))[y]
    delta1 = (delta2 @ w2.T) * (1 - h**2)
    parts = [x[:, :, None] * delta1[:, None], delta1, h[:, :, None] * delta2[:, None], delta2]
    return np.concatenate([part.reshape(len(x), -1) for part in parts], axis=1)


@pytest.mark.parametrize("max_grad_norm", [1.5, 3.0, 100.0])
def test_each_record_is_clipped_by_itself(data, max_grad_norm):
    """TensorFlow Privacy's fast clipping against gradients record by record."""
    recipe, rows = one_step(), np.arange(40)
    start = initial_weights(recipe, data)
    gradients = record_gradients(start, data.x[rows], data.y[rows])
    norms = np.linalg.norm(gradients, axis=1)
    clipped = gradients / np.maximum(1, norms / max_grad_norm)[:, None]
    trained = train(recipe, data, rows, batch_size=40, max_grad_norm=max_grad_norm, **NOISE)
    moved = weights_of(trained.model) - np.concatenate([weight.ravel() for weight in start])
    np.testing.assert_allclose(moved, -clipped.mean(axis=0), atol=2e-6)
    if max_grad_norm == 3.0:
        assert norms.min() < 3.0 < norms.max(), "both kinds of record must occur"


@pytest.mark.parametrize("records", [40, 10])
def test_the_noise_is_scaled_by_clip_over_batch_size(data, records):
    recipe, rows = one_step(), np.arange(records)
    settings = {"batch_size": records, "max_grad_norm": 0.5}
    quiet = train(recipe, data, rows, **settings, **NOISE)
    loud = train(recipe, data, rows, **settings, target_epsilon=None, noise_multiplier=3.0)
    noise = weights_of(loud.model) - weights_of(quiet.model)
    expected = 3.0 * 0.5 / records
    # 4.4 standard errors of a standard deviation over len(noise) draws
    assert noise.std() == pytest.approx(expected, rel=4.4 / math.sqrt(2 * len(noise)))
    assert abs(noise.mean()) < 4.4 * expected / math.sqrt(len(noise))


def test_unequal_batches_carry_the_noise_of_their_own_size(data):
    """5 records in 2 batches: the mean over 3 gets noise C/3, the mean over 2 gets C/2."""
    recipe, rows = one_step(), np.arange(5)
    settings = {"batch_size": 2, "max_grad_norm": 1e-4}  # gradients vanish beside the noise
    loud = train(recipe, data, rows, **settings, target_epsilon=None, noise_multiplier=1e4)
    start = np.concatenate([weight.ravel() for weight in initial_weights(recipe, data)])
    noise = weights_of(loud.model) - start
    expected = math.hypot(1 / 3, 1 / 2)
    assert loud.mechanism.sampling.steps == 2
    assert noise.std() == pytest.approx(expected, rel=4.4 / math.sqrt(2 * len(noise)))


def test_without_noise_and_clipping_it_is_plain_training(data):
    recipe = KerasMLP(hidden=(16,), epochs=15, batch_size=200)
    rows = np.arange(200)
    plain = recipe.fit(data, rows, seed=1)
    private = train(recipe, data, rows, max_grad_norm=1e3, target_epsilon=None, noise_multiplier=1e-9).model
    np.testing.assert_allclose(private.logits(data.x), plain.logits(data.x), atol=1e-3)


def test_weight_decay_is_applied_outside_the_clipping(data):
    recipe = one_step(weight_decay=0.5)
    start = np.concatenate([weight.ravel() for weight in initial_weights(recipe, data)])
    trained = train(recipe, data, np.arange(8), batch_size=8, max_grad_norm=1e-6, **NOISE)
    np.testing.assert_allclose(weights_of(trained.model), 0.5 * start, atol=1e-5)


def test_one_seed_gives_one_model_and_another_another(data):
    recipe, settings = KerasMLP(hidden=(8,), epochs=2), {"batch_size": 50}
    first, again, other = (
        train(recipe, data, np.arange(100), seed, **settings).model.logits(data.x) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_noise_depends_on_the_seed_alone(data):
    """A second model of a block must not continue, nor repeat, the noise of the first."""
    recipe, rows = KerasMLP(hidden=(8,), epochs=2), np.arange(100)
    block = [trained.model.logits(data.x) for trained in DPSGD().train(recipe, data, [rows] * 2, [1, 2])]
    alone = train(recipe, data, rows, seed=2).model.logits(data.x)
    np.testing.assert_array_equal(block[1], alone)
    assert not np.array_equal(block[0], block[1])


@pytest.mark.parametrize(
    ("batch_size", "steps", "rate"), [(30, 9, 1 / 3), (40, 6, 1 / 2), (100, 3, 1.0), (5000, 3, 1.0)]
)
def test_the_mechanism_tells_what_training_did(data, batch_size, steps, rate):
    recipe = KerasMLP(hidden=(4,))
    settings = {"epochs": 3, "batch_size": batch_size, "max_grad_norm": 0.7, "target_delta": 1e-4}
    mechanism = train(recipe, data, np.arange(100), **settings).mechanism
    assert mechanism.sampling.sampler == "shuffled"
    assert (mechanism.sampling.steps, mechanism.sampling.epochs) == (steps, 3.0)
    assert mechanism.sampling.sample_rate == pytest.approx(rate)
    assert (mechanism.max_grad_norm, mechanism.delta) == (0.7, 1e-4)
    claim = dp_sgd_claim(mechanism)
    assert 7.9 < claim.epsilon <= 8.0
    assert claim.sampler == "shuffled"


def test_the_claim_follows_observation_not_configuration(data):
    """A recipe that runs its loop twice must be charged for twice the passes."""

    @dataclasses.dataclass(frozen=True)
    class Twice(KerasMLP):
        def fit_by(self, loop, data, rows, seed):
            def twice(network, x, y):
                loop(network, x, y)
                loop(network, x, y)

            return super().fit_by(twice, data, rows, seed)

    once, doubled = (
        train(kind(hidden=(4,), epochs=3), data, np.arange(60), batch_size=20).mechanism for kind in (KerasMLP, Twice)
    )
    assert (once.sampling.steps, once.sampling.epochs) == (9, 3.0)
    assert (doubled.sampling.steps, doubled.sampling.epochs) == (18, 6.0)
    assert dp_sgd_claim(doubled).epsilon > 8.0 >= dp_sgd_claim(once).epsilon


@pytest.mark.parametrize(("records", "batches"), [(10, 3), (7, 7), (600, 19), (5, 1)])
def test_every_record_is_in_one_batch_of_an_epoch(data, records, batches):
    from privassay.defenses._dpsgd_keras import shuffled_batches

    drawn = list(shuffled_batches(records, batches, 4, np.random.default_rng(0)))
    sizes = [len(batch) for batch in drawn]
    assert len(sizes) == 4 * batches
    assert max(sizes) - min(sizes) <= 1
    epochs = [np.concatenate(drawn[i * batches : (i + 1) * batches]) for i in range(4)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(records))
    assert not np.array_equal(epochs[0], epochs[1])


def test_a_private_model_still_learns_digits(data):
    order = np.random.default_rng(0).permutation(len(data.y))
    settings = {"epochs": 30, "batch_size": 600, "learning_rate": 1.0, "momentum": 0.9}
    model = train(KerasMLP(), data, order[:600], **settings).model
    right = model.logits(data.x).argmax(axis=1) == data.y
    assert right[order[600:]].mean() > 0.85
