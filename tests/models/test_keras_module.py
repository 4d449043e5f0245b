import random
import textwrap

import numpy as np
import pytest
from privassay.defenses.dp_sgd import DPSGD
from privassay.defenses.early_stopping import EarlyStopping
from privassay.experiments.digits import Digits
from privassay.harness import catalog
from privassay.harness.errors import UsageError
from privassay.harness.seeds import generator
from privassay.harness.types import TrainingData
from privassay.harness.user_code import UserFunction
from privassay.models.keras_mlp import KerasMLP
from privassay.models.keras_module import KerasModule

pytestmark = pytest.mark.keras

# One module of a user's, every function a model; `compiled` is theirs, not ours.
USER_CODE = """
    import numpy as np
    import tensorflow as tf
    from tensorflow import keras
    from keras import layers, losses

    SPARSE = losses.SparseCategoricalCrossentropy

    def compiled(network, loss="sparse_categorical_crossentropy", **settings):
        network.compile(keras.optimizers.SGD(0.1, 0.9), loss, **settings)
        return network

    def stack(shape, *rest):
        return keras.Sequential([layers.Input(shape), layers.Flatten(), layers.Dense(16, "relu"), *rest])

    def softmax(shape, n): return compiled(stack(shape, layers.Dense(n, "softmax")))
    def logits(shape, n): return compiled(stack(shape, layers.Dense(n)), SPARSE(from_logits=True))
    def softmax_layer(shape, n): return compiled(stack(shape, layers.Dense(n), layers.Softmax()))
    def one_hot(shape, n): return compiled(stack(shape, layers.Dense(n, "softmax")), "categorical_crossentropy")
    def function(shape, n): return compiled(stack(shape, layers.Dense(n, "softmax")),
                                            losses.sparse_categorical_crossentropy)
    def smoothed(shape, n): return compiled(stack(shape, layers.Dense(n)),
                                            losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2))
    def dropout(shape, n): return compiled(stack(shape, layers.Dropout(0.3), layers.Dense(n, "softmax")))
    def batch_norm(shape, n):
        return compiled(stack(shape, layers.BatchNormalization(momentum=0.9), layers.Dense(n, "softmax")))

    class Own(keras.Model):
        def __init__(self, n):
            super().__init__()
            self.hidden, self.out = layers.Dense(16, "relu"), layers.Dense(n, "softmax")
        def call(self, x):
            return self.out(self.hidden(tf.reshape(x, (-1, 64))))

    def subclass(shape, n): return compiled(Own(n))

    class OwnStep(Own):
        def train_step(self, data): return {}

    def own_step(shape, n): return compiled(OwnStep(n))
    def no_model(shape, n): return "model"
    def fails(shape, n): raise RuntimeError("no such file\\nmore")
    def other_shape(shape, n): return compiled(keras.Sequential([layers.Input((5,)), layers.Dense(n, "softmax")]))
    def wide(shape, n): return compiled(stack(shape, layers.Dense(n + 1, "softmax")))
    def not_compiled(shape, n): return stack(shape, layers.Dense(n))
    def no_loss(shape, n): return compiled(stack(shape, layers.Dense(n)), None)
    def squared(shape, n): return compiled(stack(shape, layers.Dense(n)), "mse")
    def twice_softmax(shape, n): return compiled(stack(shape, layers.Dense(n, "softmax")), SPARSE(from_logits=True))
    def forgot_softmax(shape, n): return compiled(stack(shape, layers.Dense(n)))
    def weighted(shape, n): return compiled(stack(shape, layers.Dense(n, "softmax")), loss_weights=[3.0])
    def summed(shape, n): return compiled(stack(shape, layers.Dense(n, "softmax")), SPARSE(reduction="sum"))
    def legacy(shape, n):
        network = stack(shape, layers.Dense(n, "softmax"))
        network.compile(keras.optimizers.legacy.SGD(0.1), "sparse_categorical_crossentropy")
        return network
    def adam(shape, n):
        network = stack(shape, layers.Dense(n, "softmax"))
        network.compile("adam", "sparse_categorical_crossentropy")
        return network
    def schedule(shape, n):
        network = stack(shape, layers.Dense(n, "softmax"))
        rate = keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.9)
        network.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
        return network
    def averaged(shape, n, every=None):
        network = keras.Sequential([layers.Input(shape), layers.Flatten(), layers.Dense(n, "softmax")])
        network.compile(
            keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=every),
            "sparse_categorical_crossentropy",
        )
        return network
    def averaged_every_third(shape, n): return averaged(shape, n, 3)
    def not_averaged(shape, n):
        network = averaged(shape, n)
        network.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        return network

    class OwnSGD(keras.optimizers.legacy.SGD): pass
    def own_legacy(shape, n):
        network = stack(shape, layers.Dense(n, "softmax"))
        network.compile(OwnSGD(0.1), "sparse_categorical_crossentropy")
        return network
    def scaled(shape, n):
        network = stack(shape, layers.Dense(n, "softmax"))
        scaling = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD(0.1))
        network.compile(scaling, "sparse_categorical_crossentropy")
        return network
    DP = {"l2_norm_clip": 1.0, "noise_multiplier": 1.0}
    NO_MEAN = losses.SparseCategoricalCrossentropy(reduction="none")
    def dp_optimizer(shape, n):
        from tensorflow_privacy import DPKerasSGDOptimizer
        network = stack(shape, layers.Dense(n, "softmax"))
        network.compile(DPKerasSGDOptimizer(**DP, num_microbatches=1, learning_rate=0.1), NO_MEAN)
        return network
    def dp_optimizer_of_tf1(shape, n):
        from tensorflow_privacy.privacy.optimizers.dp_optimizer import DPGradientDescentGaussianOptimizer as Optimizer
        network = stack(shape, layers.Dense(n, "softmax"))
        network.compile(Optimizer(**DP, num_microbatches=1, learning_rate=0.1), NO_MEAN)
        return network
    def dp_model(shape, n):
        from tensorflow_privacy.privacy.keras_models.dp_keras_model import DPSequential
        parts = [layers.Input(shape), layers.Flatten(), layers.Dense(n, "softmax")]
        return compiled(DPSequential(**DP, layers=parts), NO_MEAN)
    def unseeded(shape, n):
        network = softmax(shape, n)
        network.layers[-1].set_weights([np.random.default_rng().normal(size=(16, n)), np.zeros(n)])
        return network
"""


PLAIN = (
    "give the plain network with a plain optimiser, e.g. tf.keras.optimizers.SGD, and put the defence dp_sgd before "
    "it, which draws the batches that its claim is about"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    (folder / "their_keras_models.py").write_text(textwrap.dedent(USER_CODE))
    return folder


@pytest.fixture(scope="module")
def data() -> TrainingData:
    pytest.importorskip("tensorflow", reason="needs the [keras] extra")
    digits = Digits().load()
    return TrainingData(digits.x, digits.y, digits.n_classes, digits.bounds)


@pytest.fixture(scope="module")
def rows(data) -> np.ndarray:
    return np.random.default_rng(0).permutation(len(data.y))[:300]


@pytest.fixture
def recipe(folder):
    def made(function, **settings):
        return KerasModule(UserFunction(f"their_keras_models:{function}", folder), **{"epochs": 5, **settings})

    return made


def softmaxed(logits):
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


KINDS = ["softmax", "softmax_layer", "smoothed", "dropout", "batch_norm", "subclass"]


@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_repeats_and_comes_back_from_its_file(recipe, kind, data, rows, tmp_path):
    model = recipe(kind).fit(data, rows, seed=1)
    logits = model.logits(data.x)
    assert (logits.argmax(axis=1) == data.y)[rows].mean() > 0.5
    np.testing.assert_array_equal(recipe(kind).fit(data, rows, seed=1).logits(data.x), logits)
    model.save(tmp_path)
    loaded = recipe(kind).load(tmp_path, data.shape, 10)
    np.testing.assert_array_equal(loaded.logits(data.x), logits)


@pytest.mark.parametrize("kind", ["softmax", "subclass"])
def test_class_gradient_is_that_of_the_probability(recipe, kind, data, rows):
    model = recipe(kind, epochs=1).fit(data, rows, seed=1)
    x, labels = data.x[:3], data.y[:3]
    gradient, step = model.class_gradient(x, labels), np.float32(1e-3)
    ahead, behind = (softmaxed(model.logits(x + sign * step * np.sign(gradient))) for sign in (1, -1))
    slope = (ahead - behind)[np.arange(3), labels] / (2 * step)
    assert slope.min() > 0.02
    np.testing.assert_allclose(np.abs(gradient).sum(axis=(1, 2)), slope, rtol=0.02, atol=2e-3)


@pytest.mark.parametrize("kind", ["softmax", "function", "logits", "one_hot"])
def test_every_way_to_name_the_loss_is_understood(recipe, kind, data):
    network = recipe(kind).untrained(data.shape, 10, seed=1)
    logits = np.asarray(network(data.x[:7]), np.float64)
    expected = -np.log(softmaxed(logits))[np.arange(7), data.y[:7]]
    np.testing.assert_allclose(network.loss.call(data.y[:7], network(data.x[:7])), expected, atol=1e-5)


def test_the_logits_of_a_softmax_lose_no_digits(recipe, data):
    """A probability of 1 - 1e-9 is 1 in float32; its logits tell how far from 1 it was."""
    network = recipe("softmax").untrained(data.shape, 10, seed=1)
    kernel, bias = network.layers[-1].get_weights()
    network.layers[-1].set_weights([0 * kernel, bias + 25.0 * (np.arange(10) == 3)])
    np.testing.assert_allclose(np.asarray(network(data.x[:2])), 25.0 * np.eye(10)[[3, 3]], atol=1e-5)


def test_it_trains_as_the_same_network_of_ours_does(recipe, data, rows):
    """Same weights, batches and loss, though the user's model ends in a softmax."""
    theirs = recipe("softmax", epochs=3)
    start = theirs.untrained(data.shape, 10, seed=5).get_weights()

    class Started(KerasMLP):
        def untrained(self, shape, n_classes, seed):
            network = super().untrained(shape, n_classes, seed)
            network.set_weights(start)
            return network

    expected = Started(hidden=(16,), epochs=3).fit(data, rows, seed=5)
    np.testing.assert_allclose(
        theirs.fit(data, rows, seed=5).logits(data.x), expected.logits(data.x), atol=1e-4, rtol=1e-4
    )


def test_the_smoothing_of_the_users_loss_is_kept(recipe, data):
    network = recipe("smoothed").untrained(data.shape, 10, seed=1)
    y, logits = data.y[:7], np.asarray(network(data.x[:7]), np.float64)
    expected = -((0.8 * np.eye(10)[y] + 0.02) * np.log(softmaxed(logits))).sum(axis=1)
    np.testing.assert_allclose(network.loss.call(y, network(data.x[:7])), expected, atol=1e-5)


def descended(recipe, data, rows, seed, every):
    """Kernel and bias by hand, and their exponential averages over the steps, in float64."""
    weights = [w.astype(np.float64) for w in recipe.untrained(data.shape, 10, seed).get_weights()]
    averages = [w.copy() for w in weights]
    x, y = data.x[rows].reshape(len(rows), -1).astype(np.float64), np.eye(10)[data.y[rows]]
    rng, steps = generator(seed, "shuffle"), 0
    for _ in range(recipe.epochs):
        order = rng.permutation(len(rows))
        for first in range(0, len(rows), recipe.batch_size):
            batch = order[first : first + recipe.batch_size]
            error = (softmaxed(x[batch] @ weights[0] + weights[1]) - y[batch]) / len(batch)
            weights = [weights[0] - 0.1 * x[batch].T @ error, weights[1] - 0.1 * error.sum(axis=0)]
            averages = [0.9 * a + 0.1 * w for a, w in zip(averages, weights, strict=True)]
            steps += 1
            if every and steps % every == 0:
                weights = [a.copy() for a in averages]
    return weights, averages


@pytest.mark.parametrize(("kind", "every"), [("averaged", None), ("averaged_every_third", 3)])
def test_weights_are_the_averages_that_the_optimiser_keeps(recipe, data, rows, kind, every):
    """As after Keras's own `fit`. 50 steps, so the last weights and the averages are far apart."""
    made = recipe(kind)
    last, averages = descended(made, data, rows, 4, every)
    found = made.fit(data, rows, seed=4).network.get_weights()
    for weight, average in zip(found, averages, strict=True):
        np.testing.assert_allclose(weight, average, atol=2e-6)
    assert every or np.abs(last[0] - averages[0]).max() > 0.01
    assert np.abs(found[0] - last[0]).max() > 1e-4


def test_keras_ends_training_with_the_averages_too(recipe, data, rows):
    """Should this fail, Keras has changed what our loops imitate."""
    network = recipe("averaged").untrained(data.shape, 10, seed=4)
    network.fit(data.x[rows], data.y[rows], epochs=2, verbose=0)
    for weight, average in zip(network.get_weights(), network.optimizer._model_variables_moving_average, strict=True):
        np.testing.assert_array_equal(weight, average.numpy())


def test_averages_behind_defences_and_a_claim_that_stays(recipe, data, rows):
    """DP-SGD, and early stopping, which restores weights before; the claim is about the steps."""
    few = rows[:60]
    mechanisms = []
    for kind in ("averaged", "not_averaged"):
        settings = {"target_epsilon": None, "noise_multiplier": 1.0, "epochs": 2, "batch_size": 20}
        (trained,) = DPSGD(**settings).train(recipe(kind), data, [few], [3])
        mechanisms.append(trained.mechanism)
        if kind == "averaged":
            check_averaged(trained.model.network)
    assert mechanisms[0] == mechanisms[1]
    (stopped,) = EarlyStopping(patience=1).train(recipe("averaged", epochs=3), data, [few], [3])
    check_averaged(stopped.model.network)


def check_averaged(network):
    averages = [average.numpy() for average in network.optimizer._model_variables_moving_average]
    for weight, average in zip(network.get_weights(), averages, strict=True):
        np.testing.assert_array_equal(weight, average)


def test_seeds_decide_and_the_global_generators_of_python_and_numpy_are_put_back(recipe, data, rows):
    random.seed(3)
    np.random.seed(3)
    first = recipe("dropout", epochs=1).fit(data, rows, seed=1).logits(data.x)
    drawn = random.random(), np.random.random()
    random.seed(3)
    np.random.seed(3)
    assert (random.random(), np.random.random()) == drawn
    assert not np.array_equal(recipe("dropout", epochs=1).fit(data, rows, seed=2).logits(data.x), first)


def test_learning_rate_and_momentum_replace_the_optimisers(recipe, data):
    def settings(**given):
        optimizer = recipe("softmax", **given).untrained(data.shape, 10, seed=0).optimizer
        return float(optimizer.learning_rate), float(optimizer.momentum)

    assert settings() == pytest.approx((0.1, 0.9))
    assert settings(learning_rate=0.5) == pytest.approx((0.5, 0.9))
    assert settings(momentum=0.0) == pytest.approx((0.1, 0.0))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no_model", "returned str, not a tf.keras.Model"),
        ("fails", "raised RuntimeError: no such file"),
        ("other_shape", r"the model takes no records of shape \(8, 8\): .+"),
        ("wide", r"the model's output on 4 records is \(4, 11\), it must be \(4, 10\)"),
        ("not_compiled", "the model is not compiled with an optimiser and a loss"),
        ("no_loss", "the model is not compiled with an optimiser and a loss"),
        ("squared", "loss 'mse': must be categorical cross-entropy, sparse or not"),
        ("twice_softmax", "the loss has from_logits=True, but the model gives probabilities"),
        ("forgot_softmax", "the loss has from_logits=False, but the model gives no probabilities that sum to 1"),
        ("weighted", "the compiled loss is not the mean over records: no loss_weights, reduction auto"),
        ("summed", "the compiled loss is not the mean over records: no loss_weights, reduction auto"),
        ("legacy", "optimizer SGD: is a legacy one; use tf.keras.optimizers.SGD"),
        ("own_legacy", "optimizer OwnSGD: is a legacy one; use tf.keras.optimizers.SGD"),
        ("scaled", "optimizer LossScaleOptimizerV3: must be of tf.keras.optimizers"),
        ("dp_optimizer", f"the optimizer is one of TensorFlow Privacy: {PLAIN}"),
        ("dp_optimizer_of_tf1", f"the optimizer is one of TensorFlow Privacy: {PLAIN}"),
        ("dp_model", f"the model is a DP model of TensorFlow Privacy: {PLAIN}"),
        ("own_step", "the model has a train_step of its own, which would not be used"),
        ("unseeded", "two models of one seed differ: .+"),
    ],
)
def test_a_model_that_cannot_be_trained_here_is_refused_in_one_line(recipe, kind, message, data, rows):
    with pytest.raises(UsageError, match=rf"^build='their_keras_models:{kind}': {message}$") as refused:
        recipe(kind).fit(data, rows, seed=1)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("adam", {"momentum": 0.5}, "momentum=0.5: the optimiser Adam has none"),
        ("schedule", {"learning_rate": 0.5}, "learning_rate=0.5: the optimiser SGD follows a schedule"),
    ],
)
def test_a_setting_that_the_optimiser_cannot_take_is_refused(recipe, kind, given, message, data):
    with pytest.raises(UsageError, match=f"^{message}$"):
        recipe(kind, **given).untrained(data.shape, 10, seed=0)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("epochs", 0, "> 0"),
        ("batch_size", 0, "> 0"),
        ("learning_rate", 0.0, "> 0"),
        ("momentum", 1.0, "at least 0 and below 1"),
    ],
)
def test_a_parameter_out_of_range_is_named(recipe, field, value, allowed):
    with pytest.raises(UsageError, match=rf"^{field}=.*: must be {allowed}$"):
        recipe("softmax", **{field: value})


def test_the_catalogue_builds_it(folder, recipe):
    built = catalog.build("models", "keras_module", {"build": "their_keras_models:softmax", "epochs": 5}, "t", folder)
    assert built == recipe("softmax")
