"""DP-SGD whose unit is a user with several records: one clipped gradient, one coin, one claim a user."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from privassay.defenses import _dpsgd_torch
from privassay.defenses._dpsgd_torch import Noise, private_descent, records_of
from privassay.defenses.dp_sgd import DPSGD
from privassay.harness import catalog
from privassay.harness.accounting import dp_sgd_claim
from privassay.harness.errors import NotApplicable, PrivassayError, UsageError
from privassay.harness.types import ObservedSampling, TrainingData
from privassay.models.sklearn_logistic_regression import SklearnLogisticRegression
from privassay.models.torch_cnn import TorchCNN
from privassay.models.torch_mlp import TorchMLP

RECIPES = {"mlp": TorchMLP(hidden=(12,), epochs=2), "cnn": TorchCNN(channels=(3,), epochs=2)}
USERS = 30


@pytest.fixture(scope="module")
def data() -> TrainingData:
    """300 records of 30 users whose numbers are neither dense nor in order; the first user has one record only."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 6, 6))
    y = rng.integers(0, 5, 300)
    x = (centres[y] + rng.normal(size=(300, 6, 6))).astype(np.float32)
    numbers = rng.permutation(10_000)[:USERS]
    owners = np.concatenate([np.arange(USERS), rng.integers(1, USERS, 300 - USERS)])
    return TrainingData(x, y, 5, (-9.0, 9.0), units=numbers[rng.permutation(owners)].astype(np.int64))


def of_users(data, users):
    """Rows of some users, and whose each is (0, 1, ...)."""
    rows = np.flatnonzero(np.isin(data.units, users))
    owners = np.unique(data.units[rows], return_inverse=True)[1]
    return rows, torch.from_numpy(owners.astype(np.int64))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def flat(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def update(module, data, rows, owners, bound, expected=1.0):
    """What one noiseless step with learning rate 1 on all `rows` takes from the weights."""
    trained = copy.deepcopy(module)
    x, y = torch.from_numpy(data.x[rows]), torch.from_numpy(data.y[rows])
    noise = Noise(0.0, bound, expected, generator(), owners)
    optimizer = torch.optim.SGD(trained.parameters(), lr=1.0)
    assert private_descent(trained, optimizer, noise, x, y, [torch.arange(len(y))]) == 1
    return flat(module) - flat(trained)


def naive(module, data, rows, bound):
    """Sum over users of the clipped gradient of the user's mean loss, user by user; and the norms before clipping."""
    total, norms = torch.zeros_like(flat(module)), []
    for user in np.unique(data.units[rows]):
        own = rows[data.units[rows] == user]
        module.zero_grad()
        x, y = torch.from_numpy(data.x[own]), torch.from_numpy(data.y[own])
        torch.nn.functional.cross_entropy(module(x), y).backward()
        gradient = torch.cat([p.grad.flatten() for p in module.parameters()])
        norms.append(float(gradient.norm()))
        total += gradient * min(1.0, bound / norms[-1])
    module.zero_grad(set_to_none=True)
    return total, norms


def one(recipe, data, rows, seed=0, **settings):
    settings = {"target_epsilon": None, "noise_multiplier": 1.0, "target_delta": 1e-3, "unit": "user", **settings}
    (trained,) = DPSGD(**settings).train(recipe, data, [rows], [seed])
    return trained


# The step


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("expected", [1.0, 7.5])
def test_each_user_is_clipped_once(name, expected, data):
    module = RECIPES[name].untrained(data.shape, 5, seed=1)
    rows, owners = of_users(data, np.unique(data.units)[:12])
    _, norms = naive(module, data, rows, 1.0)
    bound = float(np.median(norms))
    wanted, _ = naive(module, data, rows, bound)
    assert min(norms) < bound < max(norms)
    step = update(module, data, rows, owners, bound, expected)
    torch.testing.assert_close(step, wanted / expected, atol=1e-5, rtol=1e-4)
    by_record = update(module, data, rows, None, bound, expected)
    assert (by_record - step).norm() > 0.5 * step.norm()


def test_a_user_who_leaves_moves_the_step_by_the_norm_over_the_expected_users_at_most(data):
    module, bound, expected = RECIPES["mlp"].untrained(data.shape, 5, seed=1), 0.05, 4.0
    users = np.unique(data.units)
    rows, owners = of_users(data, users)
    whole = update(module, data, rows, owners, bound, expected)
    moved = []
    for user in users:
        without = update(module, data, *of_users(data, users[users != user]), bound, expected)
        moved.append(float((whole - without).norm()))
    assert max(moved) <= bound / expected * (1 + 1e-3)
    assert min(moved) > 0.99 * bound / expected  # everybody is clipped: the bound is reached, not undercut


def test_clipping_by_record_would_let_a_user_with_many_records_move_it_further(data):
    """What the unit is for: the same test by records is failed by the very users that have several."""
    module, bound, expected = RECIPES["mlp"].untrained(data.shape, 5, seed=1), 0.05, 4.0
    users, counts = np.unique(data.units, return_counts=True)
    most = users[counts.argmax()]
    rows, _ = of_users(data, users)
    others, _ = of_users(data, users[users != most])
    moved = update(module, data, rows, None, bound, expected) - update(module, data, others, None, bound, expected)
    assert float(moved.norm()) > 2 * bound / expected


def test_with_one_record_a_user_it_is_record_level_dp_sgd(data):
    rows = np.arange(60)
    single = dataclasses.replace(data, units=np.arange(300))
    for recipe in RECIPES.values():
        by_user = one(recipe, single, rows, batch_size=20)
        settings = DPSGD(None, noise_multiplier=1.0, target_delta=1e-3, batch_size=20)
        by_record = _dpsgd_torch.train(recipe, single, rows, 0, settings)
        np.testing.assert_allclose(by_user.model.logits(data.x), by_record.model.logits(data.x), atol=1e-5)
        assert by_user.mechanism == dataclasses.replace(by_record.mechanism, unit="user")


# The sampler


def test_a_user_joins_with_all_records_or_none(data):
    _, owners = of_users(data, np.unique(data.units))
    counts = torch.bincount(owners)
    users = [torch.tensor([3, 0, 17]), torch.tensor([], dtype=torch.int64), torch.arange(USERS)]
    for drawn, batch in zip(users, records_of(users, owners), strict=True):
        assert batch.dtype == torch.int64
        assert len(set(batch.tolist())) == len(batch)
        joined = torch.bincount(owners[batch], minlength=USERS)
        assert set(torch.nonzero(joined).squeeze(1).tolist()) == set(drawn.tolist())
        assert torch.equal(joined[drawn], counts[drawn])


def test_users_join_at_the_rate_that_is_reported(data, monkeypatch):
    seen = []

    def watched(batches, owners):
        for batch in batches:
            seen.append(len(batch))
            yield next(records_of([batch], owners))

    monkeypatch.setattr(_dpsgd_torch, "records_of", watched)
    sampling = one(RECIPES["mlp"], data, np.arange(300), epochs=60, batch_size=6).mechanism.sampling
    assert sampling == ObservedSampling("poisson", 6 / USERS, 300, 60.0)
    deviation = np.sqrt(USERS * 0.2 * 0.8 / 300)
    assert abs(np.mean(seen) - 6) < 4 * deviation
    assert 0.7 < np.var(seen) / (USERS * 0.2 * 0.8) < 1.35


def test_batches_of_users_that_are_not_drawn_at_the_stated_rate_support_no_claim(data, monkeypatch):
    monkeypatch.setattr(_dpsgd_torch, "poisson_batches", lambda n, rate, steps, own: [torch.arange(n)] * steps)
    with pytest.raises(PrivassayError, match="no claim can be made"):
        one(RECIPES["mlp"], data, np.arange(300), batch_size=6)


def test_the_noise_is_that_of_one_users_norm_over_the_expected_users(data):
    """One step on everybody: what is left after the clipped sum is one draw of the noise."""
    recipe = dataclasses.replace(TorchMLP(), learning_rate=1.0, momentum=0.0)
    rows, owners = of_users(data, np.unique(data.units))
    trained = one(recipe, data, rows, epochs=1, batch_size=USERS, noise_multiplier=40.0, max_grad_norm=0.5)
    start = recipe.untrained(data.shape, 5, 0)
    noise = flat(start) - flat(trained.model.module) - update(start, data, rows, owners, 0.5, USERS)
    assert abs(float(noise.std()) * USERS / (40.0 * 0.5) - 1) < 4 / np.sqrt(2 * len(noise))


# The claim


def test_the_claim_is_about_users_and_counts_them(data):
    trained = one(RECIPES["mlp"], data, np.arange(300), batch_size=6)
    assert trained.mechanism.sampling == ObservedSampling("poisson", 0.2, 10, 2.0)
    claim = dp_sgd_claim(trained.mechanism)
    assert claim.unit == "user"
    assert claim.neighbouring == "add_or_remove_one"
    assert any("one user with all of that user's records" in line for line in claim.assumptions)
    by_record = dp_sgd_claim(dataclasses.replace(trained.mechanism, unit="record"))
    assert claim.epsilon == by_record.epsilon


def test_the_target_is_met_for_users(data):
    trained = one(RECIPES["cnn"], data, np.arange(300), target_epsilon=4.0, noise_multiplier=None, batch_size=USERS)
    assert trained.mechanism.sampling == ObservedSampling("poisson", 1.0, 2, 2.0)
    assert 3.9 < dp_sgd_claim(trained.mechanism).epsilon <= 4.0


def test_seeds_repeat_users(data):
    first, again, other = (
        one(RECIPES["mlp"], data, np.arange(200), seed, batch_size=6).model.logits(data.x) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


# The refusals


def test_data_without_users_are_refused(data):
    anonymous = dataclasses.replace(data, units=None)
    with pytest.raises(NotApplicable, match="unit='user': the data do not tell whose each record is"):
        one(RECIPES["mlp"], anonymous, np.arange(100))


def test_a_delta_that_allows_publishing_a_user_is_refused(data):
    with pytest.raises(NotApplicable, match=rf"target_delta=0\.04: must be below 1 / {USERS}, one over the .* users"):
        one(RECIPES["mlp"], data, np.arange(300), target_delta=0.04)
    assert one(RECIPES["mlp"], data, np.arange(300), target_delta=0.03).mechanism.delta == 0.03  # below 1 / 30


def test_frameworks_without_gradients_by_user_are_refused():
    class Keras:
        framework = "keras"

    reason = DPSGD(unit="user").supports(Keras(), 600)
    assert reason == "unit='user': DP-SGD on users is not available for keras recipes"
    assert DPSGD().supports(Keras(), 600) is None
    assert "sklearn" in DPSGD(unit="user").supports(SklearnLogisticRegression(), 600)
    assert DPSGD(unit="user").supports(TorchMLP(), 600) is None


def test_the_unit_is_a_parameter_of_training():
    assert catalog.build("defenses", "dp_sgd", {"unit": "user"}, "here") == DPSGD(unit="user")
    assert DPSGD(unit="user").training_parameters() != DPSGD().training_parameters()
    with pytest.raises(UsageError, match="unit='person': must be one of record, user"):
        DPSGD(unit="person")
