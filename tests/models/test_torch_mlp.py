import hashlib

import numpy as np
import pytest
import torch
from privassay.experiments.digits import Digits
from privassay.harness import catalog
from privassay.harness.errors import UsageError
from privassay.harness.types import TrainingData
from privassay.models.torch_mlp import TorchMLP


@pytest.fixture(scope="module")
def data() -> TrainingData:
    digits = Digits().load()
    return TrainingData(digits.x, digits.y, digits.n_classes, digits.bounds)


@pytest.fixture(scope="module")
def rows(data) -> np.ndarray:
    return np.random.default_rng(0).permutation(len(data.y))[:600]


@pytest.fixture(scope="module")
def model(data, rows):
    return TorchMLP().fit(data, rows, seed=0)


def softmax(logits):
    weights = np.exp(logits.astype(np.float64))
    return weights / weights.sum(axis=1, keepdims=True)


def file_hash(model, folder):
    folder.mkdir()
    model.save(folder)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_the_defaults_fit_a_half_of_digits_perfectly_and_generalise(model, data, rows):
    logits = model.logits(data.x)
    assert logits.dtype == np.float32
    assert logits.shape == (len(data.y), 10)
    right = logits.argmax(axis=1) == data.y
    held_out = np.setdiff1d(np.arange(len(data.y)), rows)
    assert right[rows].all()
    assert right[held_out].mean() > 0.92


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(data, rows, tmp_path):
    recipe = TorchMLP(hidden=(16,), epochs=2)
    first, again, other = (recipe.fit(data, rows, seed) for seed in (5, 5, 6))
    assert file_hash(first, tmp_path / "a") == file_hash(again, tmp_path / "b")
    assert file_hash(first, tmp_path / "a2") != file_hash(other, tmp_path / "c")


def test_training_leaves_global_state_alone(data, rows):
    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    recipe, seen = TorchMLP(hidden=(8,), epochs=1), []
    try:
        torch.set_num_threads(2)
        recipe.fit(data, rows, seed=0).logits(data.x[:3])
        recipe.fit_by(lambda module, x, y: seen.append(torch.get_num_threads()), data, rows, seed=0)
        assert torch.get_num_threads() == 2
        assert seen == [1]
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)


def test_training_equals_descent_written_out_in_numpy(data, rows):
    rate, momentum, decay, seed = 0.5, 0.5, 0.01, 4
    recipe = TorchMLP((), epochs=2, batch_size=600, learning_rate=rate, momentum=momentum, weight_decay=decay)
    start = recipe.untrained(data.shape, 10, seed)
    weights = [p.detach().numpy().astype(np.float64) for p in start.parameters()]
    x, target = data.x[rows].reshape(600, -1), np.eye(10)[data.y[rows]]
    velocity = [np.zeros_like(w) for w in weights]
    for _ in range(2):
        error = (softmax(x @ weights[0].T + weights[1]) - target) / 600
        gradients = [error.T @ x, error.sum(axis=0)]
        velocity = [momentum * v + g + decay * w for v, g, w in zip(velocity, gradients, weights, strict=True)]
        weights = [w - rate * v for w, v in zip(weights, velocity, strict=True)]
    trained = recipe.fit(data, rows, seed).module.parameters()
    for parameter, expected in zip(trained, weights, strict=True):
        np.testing.assert_allclose(parameter.numpy(), expected, atol=1e-5)


def test_adam_learns(data, rows):
    model = TorchMLP(hidden=(32,), epochs=20, learning_rate=0.01, optimizer="adam", activation="tanh").fit(
        data, rows, seed=0
    )
    assert (model.logits(data.x[rows]).argmax(axis=1) == data.y[rows]).mean() > 0.95


def test_class_gradient_is_that_of_the_probability(data, rows):
    # Trained a little only: the probabilities must not be saturated for differences to mean anything.
    model = TorchMLP(hidden=(16,), activation="tanh", epochs=2).fit(data, rows, seed=0)
    x, labels = data.x[:5], np.array([0, 3, 3, 9, 1])
    gradient = model.class_gradient(x, labels)
    assert gradient.dtype == np.float32
    assert gradient.shape == x.shape
    direction = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    direction /= np.linalg.norm(direction.reshape(5, -1), axis=1).reshape(-1, *[1] * len(data.shape))
    step = 0.01 * direction
    ahead, behind = (softmax(model.logits(x + s))[np.arange(5), labels] for s in (step, -step))
    slope = (gradient * direction).reshape(5, -1).sum(axis=1)
    np.testing.assert_allclose(slope, (ahead - behind) / 0.02, rtol=0.02, atol=2e-4)
    assert np.abs(slope).max() > 0.01


def test_read_only_records_are_accepted(model, data):
    frozen = data.x[:4].copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(model.logits(frozen), model.logits(data.x[:4]))
    np.testing.assert_array_equal(
        model.class_gradient(frozen, data.y[:4]), model.class_gradient(data.x[:4], data.y[:4])
    )


def test_what_was_saved_is_read_back(model, data, tmp_path):
    model.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    restored = TorchMLP().load(tmp_path, data.shape, 10)
    np.testing.assert_array_equal(restored.logits(data.x), model.logits(data.x))


def test_a_file_of_another_architecture_is_refused_in_one_line(model, data, tmp_path):
    model.save(tmp_path)
    with pytest.raises(UsageError, match=r"model\.safetensors: not parameters of TorchMLP") as refused:
        TorchMLP(hidden=(8,)).load(tmp_path, data.shape, 10)
    assert "\n" not in str(refused.value)
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(UsageError, match=r"model\.safetensors"):
        TorchMLP().load(tmp_path, data.shape, 10)
    with pytest.raises(UsageError, match=r"model\.safetensors"):
        TorchMLP().load(tmp_path / "absent", data.shape, 10)


def test_untrained_modules_of_a_pool_stack_and_run_as_one(data):
    recipe = TorchMLP(hidden=(8, 4))
    modules = [recipe.untrained(data.shape, 10, seed) for seed in range(3)]
    parameters, buffers = torch.func.stack_module_state(modules)
    assert buffers == {}
    x = torch.from_numpy(data.x[:7])
    stacked = torch.vmap(lambda p: torch.func.functional_call(modules[0], p, (x,)))(parameters)
    for together, module in zip(stacked, modules, strict=True):
        torch.testing.assert_close(together, module(x))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden": (0,)}, "hidden=0"),
        ({"activation": "gelu"}, "activation='gelu': must be one of relu, tanh"),
        ({"optimizer": "lbfgs"}, "optimizer='lbfgs'"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"learning_rate": -0.1}, "learning_rate=-0.1"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
    ],
)
def test_a_parameter_out_of_range_is_refused(parameters, message):
    with pytest.raises(UsageError, match=message):
        TorchMLP(**parameters)


def test_the_catalogue_builds_it():
    assert catalog.build("models", "torch_mlp", {"epochs": 3}, "here") == TorchMLP(epochs=3)
