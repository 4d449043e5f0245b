import dataclasses
import math
import re
import textwrap

import numpy as np
import pytest
from privassay.defenses.dp_sgd import DPSGD
from privassay.experiments.digits import Digits
from privassay.harness.accounting import dp_sgd_claim
from privassay.harness.errors import NotApplicable
from privassay.harness.types import ObservedSampling, TrainingData
from privassay.harness.user_code import UserFunction
from privassay.models.keras_cnn import KerasCNN
from privassay.models.keras_mlp import KerasMLP
from privassay.models.keras_module import KerasModule
from scipy import stats

pytestmark = pytest.mark.keras

NOISE = {"target_epsilon": None, "noise_multiplier": 1.0}

# Networks whose norms are easy to get wrong, each a function of (shape, classes); all are compiled by `made`.
NETWORKS = """
    import tensorflow as tf
    from tensorflow import keras
    from keras import layers

    def made(inputs, outputs):
        network = keras.Model(inputs, outputs)
        network.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return network

    def on_rows(shape, n):  # one dense layer on every row of the picture
        x = layers.Input(shape)
        return made(x, layers.Dense(n)(layers.Flatten()(layers.Dense(5, "tanh")(x))))

    def embedding(shape, n):  # most rows of a record share a few codes
        x = layers.Input(shape)
        codes = layers.Embedding(9, 3)(layers.Lambda(lambda v: tf.cast(8 * v, tf.int32))(layers.Flatten()(x)))
        return made(x, layers.Dense(n)(layers.GlobalAveragePooling1D()(codes)))

    def shared(shape, n):  # one layer used twice: the squared norms of its uses do not add up to that of their sum
        x, twice = layers.Input(shape), layers.Dense(n)
        flat = layers.Flatten()(x)
        return made(x, layers.Add()([twice(flat), twice(flat)]))

    def nested(shape, n):
        x = layers.Input(shape)
        inner = keras.Sequential([layers.Flatten(), layers.Dense(6, "tanh")])
        return made(x, layers.Dense(n)(inner(x)))

    def normalised(shape, n):
        x = layers.Input(shape)
        h = layers.GroupNormalization(2)(layers.Dense(6, "tanh")(x))
        return made(x, layers.Dense(n)(layers.LayerNormalization()(layers.Flatten()(h))))

    def plain(shape, n, layer=None):
        x = layers.Input(shape)
        h = layers.Dense(6, "tanh")(layers.Flatten()(x))
        return made(x, layers.Dense(n)(layer(h) if layer else h))

    class Centred(layers.Layer):  # a batch normalisation that is not called so
        def call(self, x, training=None): return x - tf.reduce_mean(x, 0) if training else x

    class Remembering(layers.Layer):
        def build(self, shape): self.last = self.add_weight("last", shape[1:], trainable=False)
        def call(self, x, training=None):
            if training: self.last.assign(x[0])
            return x

    def batch_norm(shape, n): return plain(shape, n, layers.BatchNormalization(name="the_one"))
    def centred(shape, n): return plain(shape, n, Centred())
    def remembering(shape, n): return plain(shape, n, Remembering())
    def dropout(shape, n): return plain(shape, n, layers.Dropout(0.5))
    def activity(shape, n): return plain(shape, n, layers.Dense(6, activity_regularizer="l2"))

    def recurrent(shape, n, **options):
        x = layers.Input(shape)
        return made(x, layers.Dense(n)(layers.LSTM(4, name="memory", **options)(x)))

    def unrolled(shape, n): return recurrent(shape, n, unroll=True)
"""


@pytest.fixture(scope="module")
def data() -> TrainingData:
    pytest.importorskip("tensorflow_privacy", reason="needs the [keras] extra")
    digits = Digits().load()
    return TrainingData(digits.x, digits.y, digits.n_classes, digits.bounds)


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    (folder / "networks_of_a_user.py").write_text(textwrap.dedent(NETWORKS))
    return lambda kind: KerasModule(UserFunction(f"networks_of_a_user:{kind}", folder))


@pytest.fixture(scope="module")
def recipes(user):
    own = {"mlp": KerasMLP(hidden=(7,), activation="tanh"), "cnn": KerasCNN(channels=(4, 6))}
    return lambda kind: own[kind] if kind in own else user(kind)


def train(recipe, data, rows, seed=1, **settings):
    return next(DPSGD(**settings).train(recipe, data, [np.asarray(rows)], [seed]))


def flat(weights):
    return np.concatenate([np.asarray(weight).ravel() for weight in weights]).astype(np.float64)


def descend(network, data, batches, multiplier=0.0, norm=1.0, expected=1.0):
    """Private steps with learning rate 1 on `batches` of rows: (steps taken, how far each weight moved)."""
    import tensorflow as tf
    from privassay.defenses._dpsgd_keras import Noise, private_descent

    network.optimizer.learning_rate = 1.0
    before = flat(network.trainable_variables)
    noise = Noise(multiplier, norm, expected, tf.random.Generator.from_seed(0))
    taken = private_descent(network, noise, tf.constant(data.x), tf.constant(data.y), batches)
    return taken, flat(network.trainable_variables) - before


def one_step(recipe, data, batch, **noise):
    network = recipe.untrained(data.shape, 10, seed=1)
    if hasattr(network.optimizer, "momentum"):
        network.optimizer.momentum = 0.0
    return descend(network, data, [np.asarray(batch)], **noise)[1]


def record_gradients(recipe, data, rows):
    """Gradient of each record's cross-entropy in all weights, one tape a record: (n, parameters)."""
    import tensorflow as tf

    network, gradients = recipe.untrained(data.shape, 10, seed=1), []
    for i in rows:
        with tf.GradientTape() as tape:
            log_p = tf.nn.log_softmax(network(data.x[i : i + 1]))
            loss = -log_p[0, int(data.y[i])]
        found = tape.gradient(loss, network.trainable_variables)
        gradients.append(flat(tf.convert_to_tensor(gradient) for gradient in found))
    return np.array(gradients)


# The step


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("on_rows", "nested")]


@pytest.mark.parametrize("kind", ["mlp", "cnn", "embedding", "shared", "normalised", *SLOW])
def test_each_record_is_clipped_by_itself(recipes, kind, data):
    """Against gradients record by record, at a norm that some records exceed and others do not."""
    recipe, rows = recipes(kind), np.arange(80)
    gradients = record_gradients(recipe, data, rows)
    norms = np.linalg.norm(gradients, axis=1)
    bound = float(np.median(norms))
    assert norms.min() < 0.97 * bound < 1.03 * bound < norms.max()
    clipped = gradients / np.maximum(1, norms / bound)[:, None]
    moved = one_step(recipe, data, rows, norm=bound, expected=50.0)
    np.testing.assert_allclose(moved, -clipped.sum(axis=0) / 50, atol=1e-5)


def test_the_formulas_of_a_perceptron_give_the_same_clipped_sum(recipes, data):
    """The same against gradients by hand in float64, without TensorFlow."""
    recipe, rows = recipes("mlp"), np.arange(40)
    w1, b1, w2, b2 = (w.astype(np.float64) for w in recipe.untrained(data.shape, 10, seed=1).get_weights())
    x, y = data.x[rows].reshape(40, -1).astype(np.float64), data.y[rows]
    h = np.tanh(x @ w1 + b1)
    p = np.exp(h @ w2 + b2)
    delta2 = p / p.sum(axis=1, keepdims=True) - np.eye(10)[y]
    delta1 = (delta2 @ w2.T) * (1 - h**2)
    parts = [x[:, :, None] * delta1[:, None], delta1, h[:, :, None] * delta2[:, None], delta2]
    gradients = np.concatenate([part.reshape(40, -1) for part in parts], axis=1)
    norms = np.linalg.norm(gradients, axis=1)
    assert norms.min() < 3.0 < norms.max()
    clipped = gradients / np.maximum(1, norms / 3.0)[:, None]
    moved = one_step(recipe, data, rows, norm=3.0, expected=40.0)
    np.testing.assert_allclose(moved, -clipped.sum(axis=0) / 40, atol=2e-6)


@pytest.mark.parametrize(
    ("kind", "fast"),
    [("mlp", True), ("on_rows", True), ("embedding", True), ("shared", False), ("nested", False), ("cnn", False)],
)
def test_fast_clipping_is_used_only_where_it_is_exact(recipes, kind, fast, data):
    from privassay.defenses._clipping_keras import clips_fast

    assert clips_fast(recipes(kind).untrained(data.shape, 10, seed=1), data.shape) == fast


def test_fast_clipping_of_a_layer_used_twice_would_break_the_bound(recipes, data):
    """Why it is not used there: TensorFlow Privacy's norms are then too small for some record."""
    from privassay.defenses._clipping_keras import _fast_sums

    network = recipes("shared").untrained(data.shape, 10, seed=1)
    sums = _fast_sums(network, 0.5)
    norms = [np.linalg.norm(flat(sums(data.x[i : i + 1], data.y[i : i + 1]))) for i in range(10)]
    np.testing.assert_allclose(norms, 0.5 * math.sqrt(2), rtol=1e-4)


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize(("factor", "accepted"), [(1, True), (4 / 5, False), (5 / 4, False)])
def test_the_noise_is_gaussian_with_deviation_multiplier_times_norm_over_the_expected_size(
    recipes, kind, factor, accepted, data
):
    noise = one_step(recipes(kind), data, [], multiplier=1.7 * factor, norm=0.5, expected=20.0)
    assert len(noise) > 500
    standard = noise / (1.7 * 0.5 / 20)
    tail = stats.chi2.cdf((standard**2).sum(), len(noise))
    deviation_p, shape_p = 2 * min(tail, 1 - tail), stats.kstest(standard / factor, stats.norm.cdf).pvalue
    assert shape_p > 0.01
    assert deviation_p > 0.01 if accepted else deviation_p < 1e-5


def test_a_batch_gets_the_noise_of_an_empty_one_whatever_its_size(recipes, data):
    recipe, settings = recipes("mlp"), {"norm": 0.5, "expected": 20.0}
    empty = one_step(recipe, data, [], multiplier=2.0, **settings)
    loud, quiet = (one_step(recipe, data, np.arange(70), multiplier=m, **settings) for m in (2.0, 0.0))
    np.testing.assert_allclose(loud - quiet, empty, atol=1e-6)


def test_two_steps_get_independent_noise(recipes, data):
    network = recipes("mlp").untrained(data.shape, 10, seed=1)
    network.optimizer.momentum = 0.0
    none = np.arange(0)
    taken, once = descend(network, data, [none], multiplier=1.0)
    again, both = descend(network, data, [none, none], multiplier=1.0)
    assert (taken, again) == (1, 2)
    first, second = once, both - once  # the same seed: the first of the two is the one step's
    assert abs(np.corrcoef(first, second)[0, 1]) * math.sqrt(len(first)) < 4
    assert both.std() == pytest.approx(math.sqrt(2), rel=4.4 / math.sqrt(2 * len(both)))


def test_weight_decay_is_applied_outside_the_clipping(data):
    recipe = KerasMLP(hidden=(7,), weight_decay=0.5)
    start = flat(recipe.untrained(data.shape, 10, seed=1).get_weights())
    np.testing.assert_allclose(one_step(recipe, data, np.arange(8), norm=1e-6), -0.5 * start, atol=1e-5)


def test_without_noise_and_clipping_it_is_plain_training(data):
    """At a rate of 1 every batch is all records, as in plain training with one batch an epoch."""
    recipe, rows = KerasMLP(hidden=(16,), epochs=8, batch_size=200), np.arange(200)
    plain = recipe.fit(data, rows, seed=1)
    private = train(recipe, data, rows, max_grad_norm=1e3, target_epsilon=None, noise_multiplier=1e-9).model
    np.testing.assert_allclose(private.logits(data.x), plain.logits(data.x), atol=1e-3)


# The sampler


def test_batch_sizes_vary_as_independent_coins_do():
    pytest.importorskip("tensorflow_privacy", reason="needs the [keras] extra")
    from privassay.defenses._dpsgd_keras import poisson_batches

    batches = list(poisson_batches(500, 0.1, 2000, np.random.default_rng(0)))
    sizes = np.array([len(batch) for batch in batches])
    variance = 500 * 0.1 * 0.9
    assert abs(sizes.mean() - 50) < 4 * math.sqrt(variance / 2000)
    assert 0.87 < sizes.var() / variance < 1.14
    counts = np.bincount(np.concatenate(batches), minlength=500)
    assert stats.chisquare(counts).pvalue > 0.001
    pairs = sum(0 in batch and 1 in batch for batch in batches)  # two records join independently
    assert abs(pairs - 20) < 4 * math.sqrt(20)


@pytest.mark.parametrize(("batch_size", "steps", "rate"), [(30, 10, 0.3), (40, 8, 0.4), (5000, 3, 1.0)])
def test_the_mechanism_tells_what_training_did(data, batch_size, steps, rate):
    settings = {"epochs": 3, "batch_size": batch_size, "max_grad_norm": 0.7, "target_delta": 1e-4}
    mechanism = train(KerasMLP(hidden=(4,)), data, np.arange(100), **settings, **NOISE).mechanism
    assert mechanism.sampling == ObservedSampling("poisson", rate, steps, steps * rate)
    assert (mechanism.noise_multiplier, mechanism.max_grad_norm, mechanism.delta) == (1.0, 0.7, 1e-4)
    claim = dp_sgd_claim(mechanism, "rdp")
    assert (claim.sampler, claim.neighbouring, claim.unit) == ("poisson", "add_or_remove_one", "record")
    assert claim.statement == mechanism.statement


def test_empty_batches_are_steps_too(data):
    trained = train(KerasMLP(hidden=(4,)), data, np.arange(10), epochs=2, batch_size=1, **NOISE)
    assert trained.mechanism.sampling == ObservedSampling("poisson", 0.1, 20, 2.0)
    assert np.isfinite(trained.model.logits(data.x)).all()


def test_the_claim_follows_observation_not_configuration(data):
    """A recipe that runs its loop twice must be charged for twice the steps."""

    @dataclasses.dataclass(frozen=True)
    class Twice(KerasMLP):
        def fit_by(self, loop, data, rows, seed):
            def twice(network, x, y):
                loop(network, x, y)
                loop(network, x, y)

            return super().fit_by(twice, data, rows, seed)

    once, doubled = (
        train(kind(hidden=(4,), epochs=3), data, np.arange(60), batch_size=20, **NOISE).mechanism
        for kind in (KerasMLP, Twice)
    )
    assert once.sampling == ObservedSampling("poisson", 1 / 3, 9, 3.0)
    assert doubled.sampling == ObservedSampling("poisson", 1 / 3, 18, 6.0)
    assert dp_sgd_claim(doubled, "rdp").epsilon > 1.3 * dp_sgd_claim(once, "rdp").epsilon


@pytest.mark.parametrize(("records", "batch_size", "epochs"), [(100, 7, 3), (90, 90, 5)])
def test_tensorflow_privacys_statement_is_about_the_same_run(data, records, batch_size, epochs):
    settings = {"epochs": epochs, "batch_size": batch_size, "target_delta": 1e-3}
    mechanism = train(KerasMLP(hidden=(4,)), data, np.arange(records), **settings, **NOISE).mechanism
    said = re.search(r"Poisson sampling \(\*\):\s+([\d.]+)", mechanism.statement)
    assert f"performed over {records} examples with {batch_size} examples" in mechanism.statement
    assert float(said[1]) == pytest.approx(dp_sgd_claim(mechanism, "rdp").epsilon, abs=1e-3)


# The component


def test_one_seed_gives_one_model_and_another_another(data):
    """A second model of a block must not continue, nor repeat, the noise of the first."""
    recipe, rows = KerasMLP(hidden=(8,), epochs=2, batch_size=50), np.arange(100)
    block = [trained.model.logits(data.x) for trained in DPSGD(**NOISE).train(recipe, data, [rows] * 2, [1, 2])]
    alone = train(recipe, data, rows, seed=2, **NOISE).model.logits(data.x)
    np.testing.assert_array_equal(block[1], alone)
    assert not np.array_equal(block[0], block[1])


@pytest.mark.parametrize("kind", ["cnn", "plain", pytest.param("unrolled", marks=pytest.mark.slow)])
def test_other_recipes_train_privately_and_repeat(recipes, kind, data):
    recipe = dataclasses.replace(recipes(kind), epochs=2, batch_size=50)
    first, again = (train(recipe, data, np.arange(150), learning_rate=0.2, **NOISE) for _ in range(2))
    assert first.mechanism.sampling == ObservedSampling("poisson", 1 / 3, 6, 2.0)
    np.testing.assert_array_equal(first.model.logits(data.x), again.model.logits(data.x))


def test_a_private_model_meets_its_target_and_still_learns(data):
    order = np.random.default_rng(0).permutation(len(data.y))
    settings = {"epochs": 20, "batch_size": 120, "learning_rate": 0.15, "target_epsilon": 8.0}
    trained = train(KerasMLP(hidden=(64,)), data, order[:600], **settings)
    assert 7.9 < dp_sgd_claim(trained.mechanism).epsilon <= 8.0
    model = trained.model
    right = model.logits(data.x).argmax(axis=1) == data.y
    assert right[order[600:]].mean() > 0.85


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (
            "batch_norm",
            "layer 'the_one' is BatchNormalization, which mixes the records of a batch; use GroupNormalization or "
            "LayerNormalization",
        ),
        ("centred", "what it answers for a record depends on the rest of the batch; use GroupNormalization"),
        ("remembering", "it keeps statistics of the records, to which no noise is added"),
        ("dropout", "it draws random numbers in training (Dropout)"),
        ("activity", "a layer adds a loss that depends on the records (add_loss, activity_regularizer)"),
        (
            "recurrent",
            "layer 'memory' is LSTM, of which TensorFlow does not compute gradients record by record; unroll",
        ),
    ],
)
def test_a_network_that_bounds_no_records_part_is_refused(user, kind, reason, data):
    with pytest.raises(NotApplicable, match=re.escape(reason)) as refused:
        train(user(kind), data, np.arange(50), **NOISE)
    assert str(refused.value).startswith("DP-SGD is not available for this keras network: ")
