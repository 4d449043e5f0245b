import copy
import dataclasses
import hashlib
import warnings

import dp_accounting
import numpy as np
import pytest
import torch
from dp_accounting.pld import PLDAccountant
from privassay.defenses import _dpsgd_torch
from privassay.defenses._dpsgd_torch import Noise, poisson_batches, private_descent
from privassay.defenses.dp_sgd import DPSGD
from privassay.experiments.digits import Digits
from privassay.harness import catalog
from privassay.harness.accounting import dp_sgd_claim
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.types import ObservedSampling, TrainingData
from privassay.models.sklearn_logistic_regression import SklearnLogisticRegression
from privassay.models.torch_mlp import TorchMLP
from scipy import stats

SMALL = TorchMLP(hidden=(16,), epochs=3, batch_size=60, learning_rate=0.1)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    digits = Digits().load()
    return TrainingData(digits.x, digits.y, digits.n_classes, digits.bounds)


@pytest.fixture(scope="module")
def rows(data) -> np.ndarray:
    return np.random.default_rng(0).permutation(len(data.y))[:600]


def tensors(data, rows):
    return torch.from_numpy(data.x[rows]), torch.from_numpy(data.y[rows])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def flat(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def update(module, x, y, batch, noise):
    """What one private step with learning rate 1 takes from the weights: the noisy sum over the divisor."""
    trained = copy.deepcopy(module)
    optimizer = torch.optim.SGD(trained.parameters(), lr=1.0)
    assert private_descent(trained, optimizer, noise, x, y, [batch]) == 1
    return flat(module) - flat(trained)


def one(recipe, defense, data, rows, seed=0):
    (trained,) = defense.train(recipe, data, [rows], [seed])
    return trained


# The step


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_without_noise_and_clipping_it_is_plain_descent_on_the_same_batches(data, rows, momentum):
    x, y = tensors(data, rows)
    batches = [
        *poisson_batches(len(y), 0.1, 6, generator()),
        torch.empty(0, dtype=torch.int64),
        torch.arange(9),
    ]
    plain = SMALL.untrained(data.shape, 10, seed=1)
    private = copy.deepcopy(plain)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.2, momentum=momentum)
    for batch in batches:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(plain(x[batch]), y[batch], reduction="sum") / 60
        loss.backward()
        optimizer.step()
    optimizer = torch.optim.SGD(private.parameters(), lr=0.2, momentum=momentum)
    noise = Noise(0.0, 1e6, expected_batch_size=60, generator=generator())
    assert private_descent(private, optimizer, noise, x, y, batches) == len(batches)
    torch.testing.assert_close(flat(private), flat(plain), atol=1e-5, rtol=0)


def test_each_record_is_clipped_on_its_own(data, rows):
    x, y = tensors(data, rows[:12])
    module, bound = SMALL.untrained(data.shape, 10, seed=1), 2.0
    expected, norms = torch.zeros_like(flat(module)), []
    for i in range(len(y)):
        module.zero_grad()
        torch.nn.functional.cross_entropy(module(x[i : i + 1]), y[i : i + 1]).backward()
        gradient = torch.cat([p.grad.flatten() for p in module.parameters()])
        norms.append(float(gradient.norm()))
        expected += gradient * min(1.0, bound / norms[-1])
    assert min(norms) < bound < max(norms)  # else the test would not tell clipping from scaling
    step = update(module, x, y, torch.arange(12), Noise(0.0, bound, 1.0, generator()))
    torch.testing.assert_close(step, expected, atol=1e-5, rtol=1e-4)


def test_one_outlier_moves_the_sum_by_the_clipping_norm_and_no_more(data, rows):
    x, y = tensors(data, rows[:20])
    x, y = torch.cat([x, torch.full_like(x[:1], 1000.0)]), torch.cat([y, y[:1]])
    module, bound = SMALL.untrained(data.shape, 10, seed=1), 0.3
    noise = Noise(0.0, bound, 1.0, generator())
    without, with_outlier = (update(module, x, y, torch.arange(n), noise) for n in (20, 21))
    moved = float((with_outlier - without).norm())
    assert 0.99 * bound < moved <= bound * (1 + 1e-4)


@pytest.mark.parametrize(("factor", "accepted"), [(1, True), (2 / 3, False), (3 / 2, False)])
def test_the_noise_is_gaussian_with_deviation_multiplier_times_norm(data, rows, factor, accepted):
    x, y = tensors(data, rows)
    module = TorchMLP(hidden=(64,)).untrained(data.shape, 10, seed=1)
    empty = torch.empty(0, dtype=torch.int64)  # an empty batch leaves the noise alone
    noise = update(module, x, y, empty, Noise(1.7 * factor, 0.5, 1.0, generator(5)))
    p_value = stats.kstest(noise.numpy(), stats.norm(scale=1.7 * 0.5).cdf).pvalue
    assert p_value > 0.01 if accepted else p_value < 1e-6


def test_the_divisor_is_the_expected_batch_size(data, rows):
    x, y = tensors(data, rows)
    module = SMALL.untrained(data.shape, 10, seed=1)
    by_one, by_forty = (
        update(module, x, y, torch.arange(30), Noise(0.0, 1.0, size, generator())) for size in (1.0, 40.0)
    )
    torch.testing.assert_close(by_one / 40, by_forty, atol=1e-6, rtol=1e-3)


# The sampler


def fixed_batches(n, rate, steps, source):
    for _ in range(steps):
        yield torch.randperm(n, generator=source)[: round(n * rate)]


@pytest.mark.parametrize(("sampler", "accepted"), [(poisson_batches, True), (fixed_batches, False)])
def test_batch_sizes_vary_as_independent_coins_do(sampler, accepted):
    n, rate, steps = 200, 0.2, 1000
    sizes = np.array([len(batch) for batch in sampler(n, rate, steps, generator(1))])
    assert len(sizes) == steps
    assert abs(sizes.mean() - n * rate) < 4 * np.sqrt(n * rate * (1 - rate) / steps)
    statistic = (steps - 1) * sizes.var(ddof=1) / (n * rate * (1 - rate))
    low, high = stats.chi2(steps - 1).ppf([0.0005, 0.9995])
    assert (low < statistic < high) == accepted


def test_records_join_equally_often_and_independently():
    n, rate, steps = 50, 0.3, 4000
    joined = np.zeros((steps, n))
    for step, batch in enumerate(poisson_batches(n, rate, steps, generator(2))):
        joined[step, batch.numpy()] = 1
    z = (joined.mean(axis=0) - rate) / np.sqrt(rate * (1 - rate) / steps)
    assert np.abs(z).max() < 4.5
    correlation = np.corrcoef(joined.T)[np.triu_indices(n, 1)]
    assert np.abs(correlation).max() * np.sqrt(steps) < 5
    assert abs(np.corrcoef(joined[1:].sum(axis=1), joined[:-1].sum(axis=1))[0, 1]) * np.sqrt(steps) < 4


def test_at_rate_one_every_record_joins():
    for batch in poisson_batches(30, 1.0, 5, generator()):
        assert batch.tolist() == list(range(30))


# What `train` does is what the claim is computed from


def test_training_uses_the_noise_the_norm_and_the_divisor_that_it_reports(data, rows):
    # One step on all records, so that what is left after the clipped sum is one draw of the noise.
    one_step = {"epochs": 1, "batch_size": 600, "learning_rate": 1.0, "momentum": 0.0}
    defense = DPSGD(None, noise_multiplier=50.0, max_grad_norm=0.5, **one_step)
    recipe, (x, y), noises = TorchMLP(), tensors(data, rows), []
    for seed in (1, 2):
        start = recipe.untrained(data.shape, 10, seed)
        clipped = update(start, x, y, torch.arange(600), Noise(0.0, 0.5, 600, generator()))
        step = flat(start) - flat(one(recipe, defense, data, rows, seed).model.module)
        noises.append((step - clipped).numpy() * 600)
        assert abs(noises[-1].std() / (50.0 * 0.5) - 1) < 4 / np.sqrt(2 * len(step))
    assert abs(np.corrcoef(noises)[0, 1]) * np.sqrt(len(step)) < 4


def test_opacus_training_draws_its_batches_at_the_rate_that_it_reports(data, rows):
    sizes = []

    class Watched(TorchMLP):
        def untrained(self, shape, n_classes, seed):
            module = super().untrained(shape, n_classes, seed)
            module.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
            return module

    defense = DPSGD(None, noise_multiplier=1.0, epochs=40, batch_size=60)
    sampling = _dpsgd_torch.train(Watched(hidden=(4,)), data, rows, 0, defense).mechanism.sampling
    assert sampling == ObservedSampling("poisson", 0.1, 400, 40.0)
    assert [sizes.pop(0), sizes.pop(0)] == [8, 8]  # records on which the module is tried
    assert len(sizes) == sampling.steps
    variance = 600 * 0.1 * 0.9
    assert abs(np.mean(sizes) - 600 * 0.1) < 4 * np.sqrt(variance / 400)
    assert 0.75 < np.var(sizes) / variance < 1.3


def test_the_claim_is_dp_accountings_on_the_observed_steps(data, rows):
    defense = DPSGD(target_epsilon=None, noise_multiplier=1.5, target_delta=1e-4, max_grad_norm=0.7)
    mechanism = one(SMALL, defense, data, rows).mechanism
    assert mechanism.sampling == ObservedSampling("poisson", 0.1, 30, 3.0)
    assert (mechanism.noise_multiplier, mechanism.max_grad_norm, mechanism.delta) == (1.5, 0.7, 1e-4)
    event = dp_accounting.SelfComposedDpEvent(
        dp_accounting.PoissonSampledDpEvent(0.1, dp_accounting.GaussianDpEvent(1.5)), 30
    )
    expected = PLDAccountant().compose(event).get_epsilon(1e-4)
    assert dp_sgd_claim(mechanism).epsilon == pytest.approx(expected, rel=1e-4)


def test_empty_batches_are_steps_too(data, rows):
    defense = DPSGD(None, noise_multiplier=1.0, epochs=2, batch_size=1)
    trained = one(SMALL, defense, data, rows[:10])  # a batch is empty with probability 0.9^10 = 0.35
    assert trained.mechanism.sampling == ObservedSampling("poisson", 0.1, 20, 2.0)
    assert np.isfinite(trained.model.logits(data.x)).all()


def test_a_batch_size_beyond_the_records_takes_them_all(data, rows):
    trained = one(SMALL, DPSGD(None, noise_multiplier=1.0, epochs=2), data, rows[:40])
    assert trained.mechanism.sampling == ObservedSampling("poisson", 1.0, 2, 2.0)


def test_a_private_model_meets_its_target_and_still_learns(data, rows):
    defense = DPSGD(target_epsilon=8.0, epochs=20, batch_size=120, learning_rate=0.15)
    trained = one(TorchMLP(hidden=(64,)), defense, data, rows)
    claim = dp_sgd_claim(trained.mechanism)
    assert 7.9 < claim.epsilon <= 8.0
    assert claim.sampler == "poisson"
    held_out = np.setdiff1d(np.arange(len(data.y)), rows)
    assert (trained.model.logits(data.x[held_out]).argmax(axis=1) == data.y[held_out]).mean() > 0.85


# The component


def test_same_seed_same_bytes_another_seed_others(data, rows, tmp_path):
    defense, digests = DPSGD(None, noise_multiplier=1.0), []
    torch.manual_seed(7)
    state = torch.get_rng_state()
    block = defense.train(SMALL, data, [rows, rows, rows], [5, 5, 6])
    for i, trained in enumerate(block):
        folder = tmp_path / str(i)
        folder.mkdir()
        trained.model.save(folder)
        digests.append(hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_training_leaves_no_trace_on_the_module_and_the_filters(data, rows):
    filters = list(warnings.filters)
    module = one(SMALL, DPSGD(None, noise_multiplier=1.0), data, rows).model.module
    for parameter in module.parameters():
        assert parameter.grad is None
        assert getattr(parameter, "summed_grad", None) is None
        assert not hasattr(parameter, "grad_sample")
    assert not any(layer._forward_hooks or layer._backward_hooks for layer in module.modules())
    assert list(warnings.filters) == filters


def test_its_settings_replace_the_recipes_and_none_keeps_them():
    recipe = TorchMLP(hidden=(5,), epochs=7, batch_size=9, learning_rate=0.3, momentum=0.2)
    assert DPSGD().applied_to(recipe) == recipe
    changed = DPSGD(epochs=1, batch_size=2, learning_rate=0.4, momentum=0.0).applied_to(recipe)
    assert changed == TorchMLP(hidden=(5,), epochs=1, batch_size=2, learning_rate=0.4, momentum=0.0)


def test_every_parameter_is_a_training_parameter():
    names = {field.name for field in dataclasses.fields(DPSGD)}
    assert set(DPSGD().training_parameters()) == names
    assert DPSGD(max_grad_norm=2.0).training_parameters() != DPSGD().training_parameters()


def test_the_answers_are_left_alone():
    answers = np.array([[0.2, 0.8]])
    np.testing.assert_array_equal(DPSGD().release(answers, np.random.default_rng(0)), [[0.2, 0.8]])
    assert DPSGD().guarantee == "formal"


def test_a_framework_without_a_private_trainer_is_refused(data, rows):
    recipe = SklearnLogisticRegression()
    assert DPSGD().supports(TorchMLP(), 600) is None
    assert DPSGD().supports(recipe, 600) == "DP-SGD is not available for sklearn recipes"
    with pytest.raises(NotApplicable, match="not available for sklearn recipes"):
        one(recipe, DPSGD(), data, rows)


def test_a_delta_that_allows_publishing_a_record_is_refused(data, rows):
    with pytest.raises(NotApplicable, match=r"target_delta=0\.01: must be below 1 / 100"):
        one(SMALL, DPSGD(target_delta=0.01), data, rows[:100])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"noise_multiplier": 1.0}, "target_epsilon=8.0, noise_multiplier=1.0: exactly one"),
        ({"target_epsilon": None}, "target_epsilon=None, noise_multiplier=None: exactly one"),
        ({"target_epsilon": 0.0}, "target_epsilon=0.0: must be > 0"),
        ({"target_epsilon": None, "noise_multiplier": 0.0}, "noise_multiplier=0.0"),
        ({"max_grad_norm": 0.0}, "max_grad_norm=0.0"),
        ({"target_delta": 1.0}, "target_delta=1.0"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": -5}, "batch_size=-5"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"momentum": -0.1}, "momentum=-0.1"),
    ],
)
def test_a_parameter_out_of_range_is_refused(parameters, message):
    with pytest.raises(UsageError, match=message):
        DPSGD(**parameters)


def test_the_catalogue_builds_it():
    built = catalog.build("defenses", "dp_sgd", {"target_epsilon": None, "noise_multiplier": 1.0}, "here")
    assert built == DPSGD(None, noise_multiplier=1.0)
