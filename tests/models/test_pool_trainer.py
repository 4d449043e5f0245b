"""Pools trained as one program: equal to sequential training, to each other however they are cut, and tidy."""

import dataclasses
import threading
import time

import numpy as np
import pytest
import torch
from privassay.defenses.dp_sgd import DPSGD
from privassay.harness.errors import UsageError
from privassay.harness.protocols import PoolRecipe, PrivatePoolRecipe
from privassay.harness.types import TrainingData
from privassay.models import _chunks, _dense, _dense_pool, _module_pool, _torch
from privassay.models._workers import Halt, in_order
from privassay.models.torch_cnn import TorchCNN
from privassay.models.torch_mlp import TorchMLP
from torch import nn

RECIPES = {
    "tanh": TorchMLP(hidden=(24,), activation="tanh", epochs=1, batch_size=16),
    "relu, two layers, decay": TorchMLP(hidden=(24, 12), epochs=1, batch_size=30, weight_decay=1e-2),
    "linear, Adam": TorchMLP(hidden=(), epochs=1, optimizer="adam", learning_rate=0.01, weight_decay=1e-3),
    "no momentum": TorchMLP(hidden=(8,), epochs=1, momentum=0.0),
}
CONVOLUTIONS = TorchCNN(channels=(3, 5), epochs=1, batch_size=16)
LOW = {"bfloat16": TorchMLP(hidden=(24, 12), epochs=1, batch_size=30, dtype="bfloat16")}
EVERY = RECIPES | LOW | {"convolutions": CONVOLUTIONS}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 6, 6))
    y = rng.integers(0, 5, 300)
    x = (centres[y] + rng.normal(size=(300, 6, 6))).astype(np.float32)
    return TrainingData(x, y, 5, (-9.0, 9.0))


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    return [np.sort(rng.permutation(200)[:100]) for _ in range(5)]


def logits(models, data):
    return [model.logits(data.x) for model in models]


def loop(recipe, data, rows, seed):
    """The plain loop of torch: autograd, torch's own optimiser, one model."""
    return _torch.fit_by(_torch.plain_loop(recipe, seed, Halt()), recipe, data, rows, seed)


@pytest.mark.parametrize("name", RECIPES)
def test_equals_the_plain_loop_after_one_epoch(name, data, rows):
    recipe = RECIPES[name]
    pool = recipe.fit_pool(data, rows, range(5))
    for k, found in enumerate(logits(pool, data)):
        alone = loop(recipe, data, rows[k], k)
        assert np.abs(found - alone.logits(data.x)).max() < 1e-4
        assert np.abs(found - recipe.untrained(data.shape, 5, k)(torch.tensor(data.x)).detach().numpy()).max() > 1e-2


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("cores", "budget"), [(1, 2**30), (2, 1), (3, 2**30)])
def test_bytes_do_not_depend_on_chunks_workers_or_company(name, cores, budget, data, rows, monkeypatch):
    recipe = dataclasses.replace(EVERY[name], epochs=2)
    alone = [recipe.fit(data, own, seed) for seed, own in enumerate(rows)]
    for module in (_dense_pool, _module_pool):
        monkeypatch.setattr(module, "cores", lambda: cores)
    monkeypatch.setattr(_dense_pool, "CACHE_BUDGET", budget)
    backwards = list(recipe.fit_pool(data, rows[::-1], range(5)[::-1]))[::-1]
    for one, other in zip(logits(alone, data), logits(backwards, data), strict=True):
        assert one.tobytes() == other.tobytes()


def test_tanh_in_place_is_that_of_torch():
    x = torch.linspace(-30, 30, 100_001)
    found = x.clone()
    _dense._tanh(found)
    assert (found - torch.tanh(x.double())).abs().max() < 2e-7


def test_bfloat16_products_stay_close_and_repeat(data, rows):
    recipe = TorchMLP(hidden=(24,), activation="tanh", epochs=5, batch_size=16)
    low = dataclasses.replace(recipe, dtype="bfloat16")
    exact, first, second = (
        np.stack(logits(made.fit_pool(data, rows[:2], [0, 1]), data)) for made in (recipe, low, low)
    )
    assert first.tobytes() == second.tobytes()
    assert 1e-4 < np.abs(first - exact).max() < 0.1 * np.abs(exact).max()


def test_rows_of_different_lengths_are_trained_apart(data, rows):
    recipe = RECIPES["tanh"]
    uneven = [rows[0], rows[1][:50], rows[2][:50], rows[3]]
    for k, found in enumerate(logits(recipe.fit_pool(data, uneven, range(4)), data)):
        assert found.tobytes() == recipe.fit(data, uneven[k], k).logits(data.x).tobytes()


def test_leaving_early_stops_the_workers():
    def work(item, halt):
        while item:  # every item but the first goes on until it is told to stop
            halt.check()
        return item

    before = threading.active_count()
    results = in_order(work, range(6), workers=2)
    assert next(results) == 0
    results.close()
    assert threading.active_count() == before


def test_results_ahead_of_the_consumer_are_few():
    begun = []
    results = in_order(lambda item, halt: begun.append(item), range(20), workers=2)
    next(results)
    time.sleep(0.05)
    assert len(begun) <= 3


def test_what_fails_in_a_worker_is_raised_and_stops_the_others(data, rows, monkeypatch):
    monkeypatch.setattr(_dense_pool, "cores", lambda: 2)
    endless = dataclasses.replace(RECIPES["tanh"], epochs=10**6)
    monkeypatch.setattr(_dense_pool, "CACHE_BUDGET", 1)
    with pytest.raises(IndexError):  # the other worker trains a model that would take hours
        list(endless.fit_pool(data, [rows[0], rows[3] + len(data.x)], range(2)))


def test_records_that_may_not_be_written_are_only_read(data, rows):
    x = data.x.copy()
    x.flags.writeable = False
    frozen = dataclasses.replace(data, x=x)
    for recipe in (RECIPES["tanh"], CONVOLUTIONS):
        assert recipe.fit(frozen, rows[0], 0).logits(x).tobytes() == recipe.fit(data, rows[0], 0).logits(x).tobytes()


def test_torch_gets_its_threads_and_generator_back(data, rows):
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    list(RECIPES["tanh"].fit_pool(data, rows, range(5)))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_modules_together_by_torch_func_equal_one_at_a_time(data, rows):
    recipe = dataclasses.replace(CONVOLUTIONS, weight_decay=1e-2)
    chunk = _chunks.Chunk(tuple(rows), tuple(range(5)))
    together = _module_pool.fit_together(recipe, data, chunk, torch.device("cpu"))
    for one, other in zip(logits(together, data), logits(recipe.fit_pool(data, rows, range(5)), data), strict=True):
        assert np.abs(one - other).max() < 1e-4


class With(TorchCNN):
    """A recipe with a layer of the test's own."""

    layer = nn.BatchNorm1d(8)

    def untrained(self, shape, n_classes, seed):
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), self.layer, nn.Linear(8, n_classes))


class WithDropout(With):
    layer = nn.Dropout(0.5)


def test_batch_statistics_are_refused_with_a_way_out(data, rows):
    with pytest.raises(UsageError, match=r"layer '2' is BatchNorm1d.*GroupNorm\(1, 8\)"):
        With().fit_pool(data, rows, range(5))
    with pytest.raises(UsageError, match="BatchNorm1d"):
        next(DPSGD(epochs=1, target_delta=1e-3).train(With(), data, rows, range(5)))


def test_randomness_that_no_seed_repeats_is_refused(data, rows):
    with pytest.raises(UsageError, match="layer '2' is Dropout: it draws from"):
        WithDropout().fit_pool(data, rows, range(5))


def test_answers_do_not_depend_on_how_many_are_asked_at_once(data, rows, monkeypatch):
    model = CONVOLUTIONS.fit(data, rows[0], 0)
    whole = model.logits(data.x)
    monkeypatch.setattr(_torch, "_AT_ONCE", 7)
    assert np.abs(model.logits(data.x) - whole).max() < 1e-5
    assert model.logits(data.x[:0]).shape == (0, 5)


def test_recipes_say_what_they_can(data):
    assert isinstance(RECIPES["tanh"], PrivatePoolRecipe)
    assert isinstance(CONVOLUTIONS, PoolRecipe)
    assert not isinstance(CONVOLUTIONS, PrivatePoolRecipe)


@pytest.mark.parametrize("asked", ["gpu", "cuda"])
def test_a_device_that_is_not_there_is_one_clear_line(asked, monkeypatch):
    monkeypatch.setenv("PRIVASSAY_DEVICE", asked)
    if asked == "cuda" and torch.cuda.is_available():
        pytest.skip("a CUDA device is there")
    with pytest.raises(UsageError, match="PRIVASSAY_DEVICE="):
        _torch.best_device()


@pytest.mark.parametrize("shape", [(5,), (1, 1, 1, 1), (3, 8)])
def test_a_network_for_pictures_refuses_other_records(shape):
    with pytest.raises(UsageError, match="must be pictures"):
        TorchCNN(channels=(2, 2)).untrained(shape, 3, 0)


@pytest.mark.parametrize(
    ("models", "workers", "size", "budget", "expected"),
    [
        (64, 2, 500_000, 4 * 2**20, 8),
        (4, 2, 500_000, 4 * 2**20, 2),
        (1, 2, 1, 100, 1),
        (16, 2, 10**9, 100, 1),
        (9, 1, 1, 5, 5),
    ],
)
def test_chunks_fill_the_budget_evenly(models, workers, size, budget, expected):
    assert _chunks.chunk_size(models, workers, size, budget) == expected
