"""Regressors: the mapping of a number to a grid and back, and what every regression recipe must fulfil."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from privassay.attacks.membership.signals import log_loss
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.protocols import task_of
from privassay.harness.seeds import derive
from privassay.harness.view import softmax
from privassay.models import _processes, _regression, _torch
from privassay.models._regression import answers_of, bandwidth, grid_logits
from privassay.models._torch import one_thread
from privassay.models.torch_mlp_regressor import TorchMLPRegressor
from privassay.tests.support.regressors import REGRESSORS, regressor, training_data

GRID = np.linspace(0.0, 400.0, 101)


@pytest.fixture(scope="module")
def data():
    return training_data()


@pytest.fixture(scope="module")
def fitted(data):
    kept = {}

    def fit(name):
        if name not in kept:
            kept[name] = regressor(name).fit(data, np.arange(150), 0)
        return kept[name]

    return fit


def test_logits_by_hand():
    # h = 400 / 20 = 20; at 100 and an answer of 90 the loss is (10 / 20)^2 / 2
    logits = grid_logits(np.array([90.0, 100.0]), GRID)
    assert bandwidth(GRID) == 20.0
    assert logits.shape == (2, 101)
    assert logits.dtype == np.float32
    assert logits[0, [0, 22, 25, 100]].tolist() == pytest.approx([-10.125, -0.005, -0.125, -120.125])
    assert logits[1, 25] == 0.0


@given(
    answer=st.floats(-0.5, 1.5),
    low=st.floats(-1e4, 1e4),
    reach=st.floats(1e-3, 1e6),
    values=st.integers(11, 300),
)
def test_the_number_comes_back(answer, low, reach, values):
    grid = np.linspace(low, low + reach, values)
    number = np.array([low + answer * reach])
    logits = grid_logits(number, grid)
    assert answers_of(logits, grid) == pytest.approx(number, abs=1e-5 * reach)
    logs = np.log(np.maximum(softmax(logits), 1e-300))
    if -0.5 <= answer <= 1.2:  # no probability underflows: an attacker reads the same number from them
        assert answers_of(logs, grid) == pytest.approx(number, abs=1e-5 * reach)


def test_the_loss_grows_with_the_squared_error():
    away = np.linspace(0, 150, 1501)
    for y in (12, 50, 88):  # 48, 200, 352: further than 2 h from the ends
        for side in (-1, 1):
            inside = away[(GRID[y] + side * away >= 0) & (GRID[y] + side * away <= 400)]
            losses = log_loss(softmax(grid_logits(GRID[y] + side * inside, GRID)), np.full(len(inside), y))
            assert (np.diff(losses[inside >= 2]) > 0).all()  # half a step: targets are rounded to it
            # up to a constant it is the squared error over 2 h^2; within 2 h of an end up to ln 2 is cut off
            excess = losses - losses[0] - inside**2 / 800
            middle = np.abs(GRID[y] + side * inside - 200) <= 160
            assert np.abs(excess[middle]).max() < 0.03
            assert np.abs(excess).max() < np.log(2) + 0.01


def test_losses_of_the_same_error_are_equal_away_from_the_ends():
    y = np.arange(15, 86)
    losses = log_loss(softmax(grid_logits(GRID[y] + 10.0, GRID)), y)
    assert np.ptp(losses) < 0.03
    assert losses == pytest.approx(0.125 + np.log(np.sqrt(2 * np.pi) * 5), abs=0.03)


@pytest.mark.parametrize("name", REGRESSORS)
def test_recipe_trains_repeats_and_is_read_back(name, data, fitted, tmp_path):
    made, model = regressor(name), fitted(name)
    assert task_of(made) == "regression"
    logits = model.logits(data.x)
    assert logits.shape == (442, 101)
    assert logits.dtype == np.float32
    numbers, answers = data.grid[data.y], answers_of(logits, data.grid)
    assert answers == pytest.approx(model.answers(data.x), abs=1e-3)
    assert 1 - ((answers - numbers)[:150] ** 2).mean() / numbers[:150].var() > 0.45
    assert 1 - ((answers - numbers)[150:] ** 2).mean() / numbers[150:].var() > 0.2
    again = list(made.fit_pool(data, [np.arange(150), np.arange(150, 300)], [0, 1]))
    assert np.array_equal(again[0].logits(data.x), logits)
    assert not np.array_equal(again[1].logits(data.x), logits)
    model.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".npy", ".skops", ".safetensors"}
    assert np.array_equal(made.load(tmp_path, data.shape, 101).logits(data.x), logits)
    with pytest.raises(UsageError, match=r"grid.npy: float64 \(101,\): must be float64 \(50,\)"):
        made.load(tmp_path, data.shape, 50)
    with pytest.raises(NotApplicable, match="a regressor has no classes"):
        model.class_gradient(data.x[:2], data.y[:2])


@pytest.mark.parametrize("name", REGRESSORS)
def test_classes_are_refused(name, data):
    with pytest.raises(UsageError, match="a regressor needs numbers as targets"):
        regressor(name).fit(dataclasses.replace(data, grid=None), np.arange(150), 0)


def test_processes_of_a_pool_are_told_the_grid(data, tmp_path):
    read = _processes.StoredData.write(data, tmp_path).read()
    assert np.array_equal(read.grid, data.grid)


@pytest.mark.slow
def test_a_forest_on_processes_is_the_forest_here(data, fitted):
    name = "sklearn_random_forest_regressor"
    tasks = [(np.arange(150), 0), (np.arange(150, 300), 1)]
    first, _ = _processes.on_processes(regressor(name), data, tasks, 2)
    assert np.array_equal(first.logits(data.x), fitted(name).logits(data.x))


def test_the_range_of_the_grid_is_all_that_the_network_knows_of_the_scale(data):
    # the same records with every target and the grid 1000 times as large and moved: the same answers, moved
    made = regressor("torch_mlp_regressor")
    moved = dataclasses.replace(data, grid=data.grid * 1000 - 7)
    here, there = (made.fit(d, np.arange(150), 0).answers(data.x) for d in (data, moved))
    assert there == pytest.approx(here * 1000 - 7, rel=1e-3, abs=100)


def test_a_broken_grid_file_is_one_line(data, fitted, tmp_path):
    fitted("sklearn_ridge").save(tmp_path)
    (tmp_path / _regression.FILE).write_bytes(b"not an array")
    with pytest.raises(UsageError, match=r"grid\.npy: cannot be read"):
        regressor("sklearn_ridge").load(tmp_path, data.shape, 101)


@one_thread()
def test_plain_training_is_the_naive_loop_byte_for_byte(data):
    made, rows, seed = TorchMLPRegressor(hidden=(8, 8), epochs=7, weight_decay=0.01), np.arange(50, 200), 6
    low, high = data.grid[0], data.grid[-1]
    scaled = ((data.grid[data.y[rows]] - (low + high) / 2) / ((high - low) / 2)).astype(np.float32)
    x, y = torch.from_numpy(data.x[rows]), torch.from_numpy(scaled)
    module = _torch.mlp((10, 8, 8, 1), "relu", seed)
    optimizer = torch.optim.Adam(module.parameters(), 0.01, weight_decay=0.01)
    order = torch.Generator().manual_seed(derive(seed, "batches"))
    for _ in range(7):
        for batch in torch.randperm(150, generator=order).split(32):
            optimizer.zero_grad()
            ((module(x[batch])[:, 0] - y[batch]) ** 2).mean().backward()
            optimizer.step()
    found = made.fit(data, rows, seed).module
    for own, expected in zip(found.parameters(), module.parameters(), strict=True):
        np.testing.assert_array_equal(own.numpy(), expected.detach().numpy())


def test_a_loop_of_a_defence_is_given_moved_targets_and_an_untrained_module(data):
    made, rows, given = regressor("torch_mlp_regressor"), np.arange(300), []
    model = made.fit_by(lambda module, x, y: given.extend([x, y, torch.get_num_threads()]), data, rows, seed=4)
    x, y, threads = given
    assert threads == 1
    np.testing.assert_array_equal(x, data.x[rows])
    assert y.dtype == torch.float32
    assert y.numpy() == pytest.approx(np.interp(data.grid[data.y[rows]], data.grid[[0, -1]], [-1, 1]), abs=1e-6)
    fresh = _torch.mlp((10, *made.hidden, 1), made.activation, 4)
    for own, expected in zip(model.module.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(own, expected)
    assert model.answers(data.x) == pytest.approx(
        np.interp(model.scaled(data.x), [-1, 1], data.grid[[0, -1]]), abs=1e-3
    )


def test_divergence_is_one_line(data):
    made = dataclasses.replace(regressor("torch_mlp_regressor"), optimizer="sgd", learning_rate=1e6)
    with pytest.raises(UsageError, match="training diverged"):
        made.fit(data, np.arange(150), 0)
