"""Dropout put into Keras networks that were built without it."""

import numpy as np
import pytest
from privassay.defenses.dropout import Dropout
from privassay.harness.errors import UsageError
from privassay.harness.seeds import derive
from privassay.models.keras_mlp import KerasMLP
from privassay.tests.support.regularised import digits, one, softmax
from privassay.tests.support.regularised_keras import batches, start, theirs
from scipy import stats

pytestmark = pytest.mark.keras


@pytest.fixture(autouse=True)
def tf():
    return pytest.importorskip("tensorflow", reason="needs the [keras] extra")


@pytest.fixture
def dropping():
    from privassay.defenses._dropping_keras import dropping

    return dropping


def network_of(kind):
    return theirs(kind).untrained((8, 8), 10, seed=0)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("sequential", {"tanh"}),
        ("functional", {"named", "layer"}),
        ("subclassed", {"first", "inner", "twice"}),  # not what is never called, nor the answer
        ("log_probabilities", {"hidden"}),
        ("recurrent", {"relu"}),  # neither the cell's nor a softmax
        ("only_functions", set()),
    ],
)
def test_activations_are_found_in_every_kind_of_network(tf, kind, expected):
    from privassay.defenses._dropping_keras import hidden_activations

    network = network_of(kind)
    before = {layer: dict(vars(layer)) for layer in network.submodules if isinstance(layer, tf.keras.layers.Layer)}
    x = tf.constant(digits()[0].x[:2])
    answers = network(x).numpy()
    assert {place.layer.name for place in hidden_activations(network, x)} == expected
    np.testing.assert_array_equal(network(x), answers)
    for layer, attributes in before.items():
        assert vars(layer).keys() == attributes.keys()
        assert vars(layer).get("activation") is attributes.get("activation")


@pytest.mark.parametrize("kind", ["functional", "subclassed"])
def test_inside_the_graph_changes_and_outside_it_is_as_it_was(tf, dropping, kind):
    network, x = network_of(kind), tf.constant(digits()[0].x[:5])
    answers, weights = network(x).numpy(), [weight.name for weight in network.weights]
    with dropping(network, 0.5, 0, x[:2]):
        first, second = network(x).numpy(), network(x).numpy()
    assert (first != second).any()
    with dropping(network, 0.5, 0, x[:2]):
        np.testing.assert_array_equal(network(x), first)
    np.testing.assert_array_equal(network(x), answers)
    with pytest.raises(RuntimeError, match="stop"), dropping(network, 0.5, 0, x[:2]):
        raise RuntimeError("stop")
    np.testing.assert_array_equal(network(x), answers)
    assert [weight.name for weight in network.weights] == weights


@pytest.mark.parametrize("layer", ["ReLU", "Activation"])
@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_activations_are_dropped_at_the_rate_and_keep_their_mean(tf, dropping, rate, layer):
    layers = tf.keras.layers
    activation = layers.ReLU() if layer == "ReLU" else layers.Activation("relu")
    network = tf.keras.Sequential([layers.Input((40_000,)), activation, layers.Reshape((200, 200))])
    x = tf.linspace(-1.0, 3.0, 40_000)[None]
    with dropping(network, rate, 0, x):
        dropped = network(x).numpy().ravel()
    x = x.numpy().ravel()
    active = x > 0
    kept = dropped[active] != 0
    assert stats.binomtest(int((~kept).sum()), int(active.sum()), rate).pvalue > 0.001
    assert stats.binomtest(int((~kept).sum()), int(active.sum()), rate * 1.1).pvalue < 1e-6  # the test tells
    np.testing.assert_allclose(dropped[active][kept], x[active][kept] / (1 - rate), rtol=1e-5)
    assert not dropped[~active].any()
    deviation = np.sqrt((x[active] ** 2).sum() * rate / (1 - rate))
    assert abs(dropped.sum() - x[active].sum()) < 4 * deviation


def test_training_is_that_of_masked_activations_step_by_step(tf):
    """A perceptron with tanh in float64, with the masks of the stream; the penalty stays."""
    data, members, _ = digits()
    recipe = KerasMLP((16,), "tanh", epochs=3, batch_size=64, learning_rate=0.2, momentum=0.0, weight_decay=0.01)
    rate, seed = 0.3, 5
    x, y = data.x[members].reshape(300, 64).astype(np.float64), np.eye(10)[data.y[members]]
    w, b, v, c = (weight.astype(np.float64) for weight in start(recipe, data, seed))
    source = tf.random.Generator.from_seed(derive(seed, "dropout"), alg="philox")
    for _, rows in batches(recipe, 300, seed):
        mask = (source.uniform((len(rows), 16)).numpy() >= rate) / (1 - rate)
        h = np.tanh(x[rows] @ w + b)
        error = (softmax(h * mask @ v + c) - y[rows]) / len(rows)
        back = (error @ v.T) * mask * (1 - h**2)
        gradients = x[rows].T @ back, back.sum(axis=0), (h * mask).T @ error, error.sum(axis=0)
        w, b, v, c = (a - 0.2 * (g + 0.01 * a) for a, g in zip((w, b, v, c), gradients, strict=True))
    model = one(Dropout(rate), recipe, data, members, seed)
    for found, expected in zip(model.network.get_weights(), (w, b, v, c), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(model.logits(data.x[members]), np.tanh(x @ w + b) @ v + c, atol=1e-4)  # with all units


@pytest.mark.parametrize("recipe", [KerasMLP(hidden=()), theirs("only_functions")], ids=["linear", "functions"])
def test_a_network_without_activation_layers_is_refused_in_one_line(recipe):
    data, members, _ = digits()
    with pytest.raises(
        UsageError, match=r"^dropout: the network has no activation layer before its output \("
    ) as refused:
        one(Dropout(), recipe, data, members)
    assert "\n" not in str(refused.value)
