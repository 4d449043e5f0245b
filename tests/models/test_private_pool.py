"""DP-SGD on stacks: the clipped sum against per-record gradients, the step against Opacus, padding, noise, sampling."""

import dataclasses

import numpy as np
import pytest
import torch
from privassay.defenses import _dpsgd_torch
from privassay.defenses.dp_sgd import DPSGD
from privassay.harness.accounting import dp_sgd_claim
from privassay.harness.errors import PrivassayError
from privassay.harness.types import GradientNoise, TrainingData
from privassay.models import _dense_private
from privassay.models._dense import DenseStack
from privassay.models.torch_mlp import TorchMLP

RECIPE = TorchMLP(hidden=(12, 7), activation="tanh", epochs=1, batch_size=16, learning_rate=0.1)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return TrainingData(rng.normal(size=(120, 9)).astype(np.float32), rng.integers(0, 4, 120), 4, (-9.0, 9.0))


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    return [np.sort(rng.permutation(120)[:60]) for _ in range(3)]


def naive_clipped_sum(module, x, y, bound):
    """One record at a time through autograd."""
    total = [torch.zeros_like(parameter) for parameter in module.parameters()]
    for record, label in zip(x, y, strict=True):
        module.zero_grad()
        torch.nn.functional.cross_entropy(module(record[None]), label[None]).backward()
        gradient = [parameter.grad for parameter in module.parameters()]
        norm = torch.sqrt(sum(part.square().sum() for part in gradient))
        for whole, part in zip(total, gradient, strict=True):
            whole.add_(part * min(1.0, bound / float(norm)))
    return total


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("bound", [0.05, 1.0, 100.0])
def test_clipped_sum_is_that_of_single_records(activation, bound, data):
    recipe = dataclasses.replace(RECIPE, activation=activation)
    modules = [recipe.untrained(data.shape, 4, seed) for seed in (3, 4)]
    stack = DenseStack(modules, "float32", CPU)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    chosen = torch.tensor([[0, 5, 9, 0], [7, 8, 2, 1]])
    weights = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])  # the last of model 0 is padding
    records = torch.nn.functional.pad(x, (0, 16 - x.shape[1]))
    deltas = stack.backward(stack.forward(records, chosen), y[chosen], 1.0)
    _dense_private.clip(stack, deltas, weights, bound)
    stack.accumulate(deltas, 0.0)
    for model, module in enumerate(modules):
        own = chosen[model][weights[model] > 0]
        expected = naive_clipped_sum(module, x[own], y[own], bound)
        for (weight, bias), wanted in zip(
            stack.layer_slopes(model), zip(expected[::2], expected[1::2], strict=True), strict=True
        ):
            assert torch.allclose(weight.T, wanted[0], atol=1e-6, rtol=1e-4)
            assert torch.allclose(bias, wanted[1], atol=1e-6, rtol=1e-4)


def defence(**changes):
    return DPSGD(
        **{"target_epsilon": None, "noise_multiplier": 0.8, "target_delta": 1e-3, "max_grad_norm": 0.5, **changes}
    )


@pytest.mark.parametrize("changes", [{}, {"momentum": 0.0}, {"batch_size": 60}, {"noise_multiplier": 1e-3}])
def test_same_batches_and_noise_take_the_same_step_as_opacus(changes, data, rows):
    settings = defence(**changes)
    ours = list(settings.train(RECIPE, data, rows, [0, 1, 2]))
    for k, trained in enumerate(ours):
        opacus = _dpsgd_torch.train(RECIPE, data, rows[k], k, settings)
        for one, other in zip(trained.model.module.parameters(), opacus.model.module.parameters(), strict=True):
            assert torch.allclose(one, other, atol=1e-5)
        assert trained.mechanism == opacus.mechanism
        assert dp_sgd_claim(trained.mechanism) == dp_sgd_claim(opacus.mechanism)


def test_bytes_do_not_depend_on_company(data, rows):
    settings = defence(epochs=3)
    together = list(settings.train(RECIPE, data, rows, [0, 1, 2]))
    for k, trained in enumerate(together):
        (alone,) = settings.train(RECIPE, data, rows[k : k + 1], [k])
        assert alone.model.logits(data.x).tobytes() == trained.model.logits(data.x).tobytes()


def test_bfloat16_recipes_are_trained_in_float32(data, rows):
    low = dataclasses.replace(RECIPE, dtype="bfloat16")
    (one,), (other,) = (defence().train(made, data, rows[:1], [0]) for made in (RECIPE, low))
    assert one.model.logits(data.x).tobytes() == other.model.logits(data.x).tobytes()


@pytest.mark.parametrize("width", [1, 7, 16])
def test_batches_beyond_the_usual_width_are_kept_whole(data, rows, monkeypatch, width):
    usual = list(defence().train(RECIPE, data, rows, [0, 1, 2]))
    monkeypatch.setattr(_dense_private, "usual_width", lambda n, rate: width)
    split = list(defence().train(RECIPE, data, rows, [0, 1, 2]))
    for one, other in zip(usual, split, strict=True):
        assert np.abs(one.model.logits(data.x) - other.model.logits(data.x)).max() < 1e-5


@pytest.mark.parametrize("width", [4, 16, 48])
def test_bytes_do_not_depend_on_the_length_of_others_batches(data, rows, monkeypatch, width):
    monkeypatch.setattr(_dense_private, "usual_width", lambda n, rate: width)
    together = list(defence(epochs=2).train(RECIPE, data, rows, [0, 1, 2]))
    for k, trained in enumerate(together):
        (alone,) = defence(epochs=2).train(RECIPE, data, rows[k : k + 1], [k])
        assert alone.model.logits(data.x).tobytes() == trained.model.logits(data.x).tobytes()


def test_usual_width_is_seldom_exceeded():
    from scipy.stats import binom

    for n, rate in [(2005, 64 / 2005), (600, 1 / 3), (100, 0.9), (50, 1.0), (100_000, 1e-3)]:
        width = _dense_private.usual_width(n, rate)
        assert binom.sf(width, n, rate) <= 3e-3
        assert width <= n


def test_noise_has_the_stated_deviation_and_is_fresh_for_each_model_and_step(data):
    stack = DenseStack([TorchMLP(hidden=(400,)).untrained((400,), 5, seed) for seed in (0, 1)], "float32", CPU)
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    _dense_private.add_noise(stack, 0.25, generators)
    first = [torch.cat([part.flatten() for pair in stack.layer_slopes(k) for part in pair]) for k in (0, 1)]
    _dense_private.add_noise(stack, 0.25, generators)
    second = [torch.cat([part.flatten() for pair in stack.layer_slopes(k) for part in pair]) for k in (0, 1)]
    draws = [*first, *(after - before for after, before in zip(second, first, strict=True))]
    for draw in draws:
        assert float(draw.std()) == pytest.approx(0.25, rel=0.01)  # 160,000 numbers: a standard error of 0.2 %
        assert float(draw.mean()) == pytest.approx(0.0, abs=0.004)
    correlations = np.corrcoef(torch.stack(draws).numpy()) - np.eye(4)
    assert np.abs(correlations).max() < 0.015


def test_sampling_is_observed_and_poisson(data, rows):
    noise = GradientNoise(1.0, 1.0, 0.25, 40)
    seen = []
    trained = _dense_private.fit_private_pool(RECIPE, data, rows[:1], [0], noise)
    ((_, observed),) = trained
    assert (observed.sampler, observed.sample_rate, observed.steps, observed.epochs) == ("poisson", 0.25, 40, 10.0)

    class Fixed:
        rows = torch.arange(200).expand(2, 200)
        seeds = (0, 1)
        generators = _dense_private.Task.generators

    for parts in _dense_private.poisson_batches(Fixed(), dataclasses.replace(noise, steps=400)):
        chosen, joined = (torch.cat(both, dim=1) for both in zip(*parts, strict=True))
        assert all(len(set(c[j > 0].tolist())) == int(j.sum()) for c, j in zip(chosen, joined, strict=True))
        seen.append(joined.sum(dim=1).numpy())
    sizes = np.array(seen)
    assert sizes.mean() == pytest.approx(50, abs=1)
    assert sizes.var() == pytest.approx(200 * 0.25 * 0.75, rel=0.25)
    assert abs(np.corrcoef(sizes.T)[0, 1]) < 0.2


def test_batches_that_are_not_drawn_at_the_stated_rate_support_no_claim(data, rows, monkeypatch):
    def everyone(task, noise):
        for _ in range(noise.steps):
            yield [(task.rows, torch.ones(task.rows.shape))]

    monkeypatch.setattr(_dense_private, "poisson_batches", everyone)
    with pytest.raises(PrivassayError, match="no claim can be made"):
        list(defence(epochs=5).train(RECIPE, data, rows, [0, 1, 2]))
    assert list(defence(batch_size=60).train(RECIPE, data, rows, [0, 1, 2]))  # rate 1: everyone is right


def test_opacus_batches_that_are_not_drawn_at_the_stated_rate_support_no_claim(data, rows, monkeypatch):
    def everyone(n, rate, steps, generator):
        return [torch.arange(n)] * steps

    monkeypatch.setattr(_dpsgd_torch, "poisson_batches", everyone)
    with pytest.raises(PrivassayError, match="no claim can be made"):
        _dpsgd_torch.train(RECIPE, data, rows[0], 0, defence(epochs=5))
