import subprocess
import sys
import textwrap

import numpy as np
import pytest
from privassay.experiments.digits import Digits
from privassay.harness.errors import UsageError
from privassay.harness.types import TrainingData
from privassay.models.keras_mlp import KerasMLP

WITHOUT_TENSORFLOW = textwrap.dedent(
    """
    import sys

    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "tensorflow":
                raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    sys.meta_path.insert(0, Absent())

    import numpy as np
    from privassay.defenses.dp_sgd import DPSGD
    from privassay.harness.errors import UsageError
    from privassay.harness.types import TrainingData
    from privassay.models.keras_mlp import KerasMLP

    data = TrainingData(np.zeros((4, 3), np.float32), np.array([0, 1, 0, 1]), 2, (0.0, 1.0))
    recipe, rows = KerasMLP(), np.arange(4)
    for attempt in (
        lambda: recipe.fit(data, rows, 0),
        lambda: recipe.fit(data, rows, 0),
        lambda: recipe.load(None, (3,), 2),
        lambda: next(DPSGD().train(recipe, data, [rows], [0])),
    ):
        try:
            attempt()
        except UsageError as error:
            print(error)
    """
)


def test_without_tensorflow_one_line_names_the_extra():
    done = subprocess.run([sys.executable, "-c", WITHOUT_TENSORFLOW], capture_output=True, text=True, check=True)
    plain = (
        "Keras models need TensorFlow (No module named 'tensorflow'): install it with pip install 'privassay[keras]'"
    )
    private = (
        "DP-SGD on Keras needs TensorFlow Privacy (No module named 'tensorflow'): "
        "install it with pip install 'privassay[keras]'"
    )
    assert done.stdout.splitlines() == [plain, plain, plain, private]


def test_naming_a_keras_recipe_does_not_import_tensorflow():
    code = "import sys, privassay.models.keras_mlp as m; m.KerasMLP(); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("hidden", (16, 0), "> 0"),
        ("activation", "gelu", "one of relu, tanh"),
        ("epochs", 0, "> 0"),
        ("batch_size", 0, "> 0"),
        ("learning_rate", float("nan"), "> 0"),
        ("momentum", 1.0, "at least 0 and below 1"),
        ("weight_decay", -0.1, ">= 0"),
        ("optimizer", "lion", "one of sgd, adam"),
    ],
)
def test_a_parameter_out_of_range_is_named(field, value, allowed):
    with pytest.raises(UsageError, match=rf"^{field}=.*: must be {allowed}$"):
        KerasMLP(**{field: value})


def softmax(logits):
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    pytest.importorskip("tensorflow", reason="needs the [keras] extra")
    digits = Digits().load()
    return TrainingData(digits.x, digits.y, digits.n_classes, digits.bounds)


@pytest.fixture(scope="module")
def rows(data) -> np.ndarray:
    return np.random.default_rng(0).permutation(len(data.y))[:600]


@pytest.fixture(scope="module")
def model(data, rows):
    return KerasMLP().fit(data, rows, seed=1)


@pytest.fixture(scope="module")
def soft_model(data, rows):
    """Trained so little that no probability is close to 0 or 1 and no gradient vanishes."""
    return KerasMLP(hidden=(12,), activation="tanh", epochs=1).fit(data, rows, seed=1)


@pytest.mark.keras
def test_the_defaults_fit_the_rows_and_generalise(model, data, rows):
    logits = model.logits(data.x)
    assert logits.dtype == np.float32
    assert logits.shape == (len(data.x), 10)
    right = logits.argmax(axis=1) == data.y
    assert right[rows].all()
    assert np.delete(right, rows).mean() > 0.95


@pytest.mark.keras
def test_one_seed_gives_one_model(model, data, rows):
    again = KerasMLP().fit(data, rows, seed=1)
    np.testing.assert_array_equal(again.logits(data.x), model.logits(data.x))


@pytest.mark.keras
def test_another_seed_gives_another_model(data, rows):
    recipe = KerasMLP(epochs=1)
    first, other = (recipe.fit(data, rows, seed=seed).logits(data.x) for seed in (1, 2))
    assert not np.array_equal(first, other)


def forward(weights, x):
    """The network in float64: dense layers with tanh between them."""
    h = x.reshape(len(x), -1).astype(np.float64)
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        h = np.tanh(h @ kernel + bias)
    return h @ weights[-2].astype(np.float64) + weights[-1]


@pytest.mark.keras
def test_logits_are_those_of_the_weights_without_softmax(soft_model, data):
    expected = forward(soft_model.network.get_weights(), data.x)
    np.testing.assert_allclose(soft_model.logits(data.x), expected, atol=1e-5)


@pytest.mark.keras
@pytest.mark.parametrize("labels", [[3], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [2, 2, 7]], ids=len)
def test_class_gradient_is_that_of_the_probability(soft_model, data, labels):
    x, labels = data.x[: len(labels)], np.array(labels)
    gradient = soft_model.class_gradient(x, labels)
    assert gradient.dtype == np.float32
    assert gradient.shape == x.shape
    assert np.abs(gradient).max() > 0.01
    weights, step, each = soft_model.network.get_weights(), 1e-5, np.arange(len(x))
    for j in range(64):
        moved = np.zeros((8, 8))
        moved.flat[j] = step
        ahead, behind = (softmax(forward(weights, x + sign * moved))[each, labels] for sign in (1, -1))
        slope = (ahead - behind) / (2 * step)
        np.testing.assert_allclose(gradient.reshape(-1, 64)[:, j], slope, atol=1e-6)


@pytest.mark.keras
def test_a_saved_model_answers_the_same(model, data, tmp_path):
    model.save(tmp_path)
    loaded = KerasMLP().load(tmp_path, data.shape, data.n_classes)
    np.testing.assert_array_equal(loaded.logits(data.x), model.logits(data.x))
    x, labels = data.x[:3], data.y[:3]
    np.testing.assert_array_equal(loaded.class_gradient(x, labels), model.class_gradient(x, labels))


@pytest.mark.keras
def test_one_model_saved_twice_gives_the_same_bytes(model, tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        model.save(tmp_path / name)
    first, second = ((tmp_path / name / "weights.npz").read_bytes() for name in ("first", "second"))
    assert first == second


@pytest.mark.keras
def test_weights_of_another_architecture_are_refused(model, data, tmp_path):
    model.save(tmp_path)
    with pytest.raises(UsageError, match=r"weights\.npz: holds weights of shapes .*, the recipe has "):
        KerasMLP(hidden=(5,)).load(tmp_path, data.shape, data.n_classes)


@pytest.mark.keras
@pytest.mark.parametrize("content", [b"", b"nothing like weights"])
def test_a_broken_file_is_refused(data, tmp_path, content):
    (tmp_path / "weights.npz").write_bytes(content)
    with pytest.raises(UsageError, match=r"weights\.npz: cannot be read"):
        KerasMLP().load(tmp_path, data.shape, data.n_classes)


@pytest.mark.keras
def test_a_pickle_is_not_opened(data, tmp_path):
    np.savez(tmp_path / "weights.npz", np.array([{"any": "object"}], dtype=object))
    with pytest.raises(UsageError, match=r"weights\.npz: cannot be read .*allow_pickle=False"):
        KerasMLP().load(tmp_path, data.shape, data.n_classes)


@pytest.mark.keras
def test_a_linear_model_descends_as_by_hand(data):
    """Two full-batch steps with momentum and weight decay, against the formulas in float64."""
    recipe = KerasMLP(hidden=(), epochs=2, batch_size=50, learning_rate=0.5, momentum=0.9, weight_decay=0.1)
    rows, start = np.arange(50), []
    recipe.fit_by(lambda network, x, y: start.extend(network.get_weights()), data, rows, seed=3)
    kernel, bias = (weight.astype(np.float64) for weight in start)
    x, y = data.x[rows].reshape(50, 64), np.eye(10)[data.y[rows]]
    velocity = [0.0, 0.0]
    for _ in range(2):
        error = (softmax(x @ kernel + bias) - y) / 50
        gradients = x.T @ error + 0.1 * kernel, error.sum(axis=0) + 0.1 * bias
        velocity = [0.9 * v - 0.5 * g for v, g in zip(velocity, gradients, strict=True)]
        kernel, bias = kernel + velocity[0], bias + velocity[1]
    trained = recipe.fit(data, rows, seed=3).network.get_weights()
    np.testing.assert_allclose(trained[0], kernel, atol=1e-6)
    np.testing.assert_allclose(trained[1], bias, atol=1e-6)


@pytest.mark.keras
def test_adam_with_weight_decay_trains(data, rows):
    recipe = KerasMLP(optimizer="adam", learning_rate=0.003, weight_decay=1e-4, epochs=30)
    right = recipe.fit(data, rows, seed=1).logits(data.x).argmax(axis=1) == data.y
    assert np.delete(right, rows).mean() > 0.93
