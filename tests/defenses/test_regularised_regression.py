"""Defences that change the loop of gradient descent, on networks that predict numbers."""

import dataclasses

import numpy as np
import pytest
import torch
from privassay.defenses._regularised_torch import early_stopping, mean_loss, mixed
from privassay.defenses.distillation import Distillation
from privassay.defenses.dropout import Dropout
from privassay.defenses.early_stopping import EarlyStopping
from privassay.defenses.label_smoothing import LabelSmoothing
from privassay.defenses.mixup import Mixup
from privassay.defenses.none import NoDefense
from privassay.defenses.relaxloss import RelaxLoss
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.seeds import derive, generator
from privassay.models._torch import mlp, one_thread
from privassay.models.sklearn_ridge import SklearnRidge
from privassay.models.torch_mlp_regressor import TorchMLPRegressor
from privassay.tests.support.regressors import training_data
from privassay.tests.support.regularised import one, weights

DEFENSES = [
    Distillation(),
    Distillation(on="members"),
    Dropout(rate=0.2),
    EarlyStopping(validation=0.2, patience=3),
    Mixup(),
]
MEMBERS, OTHERS = np.arange(150), np.arange(150, 300)
RECIPE = TorchMLPRegressor(hidden=(16,), epochs=12)


@pytest.fixture(scope="module")
def data():
    return training_data()


def moved(data, rows):
    """Targets moved to [-1, 1] by the range of the grid: float32 (n,)."""
    low, high = data.grid[0], data.grid[-1]
    return torch.from_numpy((2 * (data.grid[data.y[rows]] - low) / (high - low) - 1).astype(np.float32))


def stream(seed, name):
    return torch.Generator().manual_seed(derive(seed, name))


def untrained(recipe, data, seed):
    return mlp((data.x.shape[1], *recipe.hidden, 1), recipe.activation, seed)


def flat(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()]).numpy()


def squared(module, x, y):
    return ((module(x).flatten() - y) ** 2).mean()


def naive(module, recipe, seed, n, loss_of):
    """Adam on `loss_of(batch)`, epoch by epoch; yields after each."""
    optimizer = torch.optim.Adam(module.parameters(), recipe.learning_rate)
    order = stream(seed, "batches")
    for _ in range(recipe.epochs):
        for batch in torch.randperm(n, generator=order).split(recipe.batch_size):
            optimizer.zero_grad()
            loss_of(batch).backward()
            optimizer.step()
        yield


@pytest.mark.parametrize("defense", DEFENSES, ids=repr)
def test_a_seed_gives_a_model_that_has_learned_and_is_read_back(defense, data, tmp_path):
    assert defense.supports(RECIPE, 150) is None
    recipe = dataclasses.replace(RECIPE, epochs=30)
    model = one(defense, recipe, data, MEMBERS)
    first, second = (t.model for t in defense.train(recipe, data, [OTHERS, MEMBERS], [2, 1]))
    np.testing.assert_array_equal(weights(second), weights(model))
    assert (weights(first) != weights(model)).any()
    assert (weights(one(NoDefense(), recipe, data, MEMBERS)) != weights(model)).any()
    numbers, answers = data.grid[data.y], model.answers(data.x)
    assert 1 - ((answers - numbers)[OTHERS] ** 2).mean() / numbers[OTHERS].var() > 0.2
    model.save(tmp_path)
    again = recipe.load(tmp_path, data.shape, data.n_classes)
    np.testing.assert_array_equal(again.logits(data.x), model.logits(data.x))
    assert not any(part._forward_hooks for part in model.module.modules())


@one_thread()
def test_dropout_drops_hidden_units_and_divides_by_what_stays(data):
    seed, rate = 5, 0.4
    x, y, masks = torch.from_numpy(data.x[MEMBERS]), moved(data, MEMBERS), stream(5, "dropout")
    module = untrained(RECIPE, data, seed)
    before, after = module[:3], module[3]

    def loss(batch):
        hidden = before(x[batch])
        kept = torch.empty_like(hidden).bernoulli_(1 - rate, generator=masks)
        return squared(after, hidden * kept / (1 - rate), y[batch])

    for _ in naive(module, RECIPE, seed, 150, loss):
        pass
    found = one(Dropout(rate), RECIPE, data, MEMBERS, seed)
    np.testing.assert_allclose(flat(found.module), flat(module), atol=1e-5)


@one_thread()
@pytest.mark.parametrize("patience", [1, 4, 60])
def test_early_stopping_keeps_the_epoch_with_the_least_squared_error(patience, data):
    settings, seed = EarlyStopping(validation=0.3, patience=patience), 3
    recipe = dataclasses.replace(RECIPE, epochs=60, learning_rate=0.05)
    x, y = torch.from_numpy(data.x[MEMBERS]), moved(data, MEMBERS)
    order = torch.randperm(150, generator=stream(seed, "validation"))
    held, used = order[:45], order[45:]
    module = untrained(recipe, data, seed)
    curve, history = [], []
    for _ in naive(module, recipe, seed, 105, lambda batch: squared(module, x[used][batch], y[used][batch])):
        curve.append(squared(module, x[held], y[held]).item())
        history.append(flat(module))
    best = 0
    for epoch, loss in enumerate(curve):
        best = epoch if loss < curve[best] else best
        if epoch - best == patience:
            break
    assert 0 < best < 59  # neither the first nor the last
    stopped = untrained(recipe, data, seed)
    early_stopping(settings, recipe, seed)(stopped, x, y)
    np.testing.assert_allclose(flat(stopped), history[best], atol=1e-5)


def test_the_mean_loss_is_the_squared_error_of_all_records_at_once(data):
    x = torch.from_numpy(np.tile(data.x, (4, 1)))  # more than are answered together
    y = moved(data, np.tile(np.arange(len(data.x)), 4))
    module = untrained(RECIPE, data, 0)
    assert mean_loss(RECIPE, module, x, y) == pytest.approx(squared(module, x, y).item(), rel=1e-5)


def test_mixup_descends_on_the_squared_difference_from_mixed_targets(data):
    x, y, share = torch.from_numpy(data.x[:6]), moved(data, np.arange(6)), 0.3
    partners = torch.tensor([5, 0, 4, 3, 1, 2])
    module, other = untrained(RECIPE, data, 0), untrained(RECIPE, data, 0)
    loss = mixed(RECIPE, module, x, y, share, partners)
    target = share * y + (1 - share) * y[partners]
    expected = squared(other, share * x + (1 - share) * x[partners], target)
    spread = share * (1 - share) * ((y - y[partners]) ** 2).mean()  # of two targets around their mean
    assert loss.item() == pytest.approx((expected + spread).item(), rel=1e-5)
    loss.backward()
    expected.backward()
    for found, wanted in zip(module.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-4, atol=1e-6)


@one_thread()
def test_mixup_is_the_naive_loop(data):
    x, y, alpha, seed = torch.from_numpy(data.x[MEMBERS]), moved(data, MEMBERS), 0.7, 4
    shares, orders, module = generator(seed, "shares"), stream(seed, "partners"), untrained(RECIPE, data, seed)

    def loss(batch):
        share = float(shares.beta(alpha, alpha))
        with_whom = batch[torch.randperm(len(batch), generator=orders)]
        return squared(
            module, share * x[batch] + (1 - share) * x[with_whom], share * y[batch] + (1 - share) * y[with_whom]
        )

    for _ in naive(module, RECIPE, seed, 150, loss):
        pass
    found = one(Mixup(alpha), RECIPE, data, MEMBERS, seed)
    np.testing.assert_allclose(flat(found.module), flat(module), atol=1e-4)


@one_thread()
@pytest.mark.parametrize("on", ["public", "members"])
def test_the_student_descends_on_the_squared_difference_from_the_plain_teacher(on, data):
    teacher, seed = one(NoDefense(), RECIPE, data, MEMBERS, seed=1), derive(1, "student")
    seen = data.public if on == "public" else MEMBERS
    x, module = torch.from_numpy(data.x[seen]), untrained(RECIPE, data, seed)
    with torch.no_grad():
        soft = teacher.module(x).flatten()
    for _ in naive(module, RECIPE, seed, len(seen), lambda batch: squared(module, x[batch], soft[batch])):
        pass
    found = one(Distillation(on), RECIPE, data, MEMBERS, seed=1)
    np.testing.assert_allclose(flat(found.module), flat(module), atol=1e-5)


@pytest.mark.parametrize("defense", [Distillation(), Distillation(on="members")], ids=repr)
def test_the_student_sees_targets_through_its_teacher_only(defense, data):
    plain = weights(one(defense, RECIPE, data, MEMBERS))
    y = data.y.copy()
    y[data.public] = 10**6  # no value of the grid: to read one would fail
    np.testing.assert_array_equal(weights(one(defense, RECIPE, dataclasses.replace(data, y=y), MEMBERS)), plain)
    y = data.y.copy()
    y[MEMBERS[:20]] = (y[MEMBERS[:20]] + 50) % data.n_classes
    assert (weights(one(defense, RECIPE, dataclasses.replace(data, y=y), MEMBERS)) != plain).any()


@pytest.mark.parametrize(
    ("defense", "why"),
    [
        (LabelSmoothing(), "label smoothing spreads a label over the classes: not this torch regressor"),
        (RelaxLoss(), "RelaxLoss flattens the probabilities of classes: not this torch regressor"),
        (
            Distillation(on="members", temperature=2.0),
            "distillation of a torch regressor learns numbers, which have no temperature: leave temperature at 1",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_about_classes_is_refused_with_the_reason(defense, why, data):
    assert defense.supports(RECIPE, 150) == why
    with pytest.raises(NotApplicable) as refused:
        next(defense.train(RECIPE, data, [MEMBERS], [0]))
    assert str(refused.value) == why


@pytest.mark.parametrize("defense", DEFENSES, ids=repr)
def test_regressors_of_other_frameworks_are_refused_as_before(defense):
    assert defense.supports(SklearnRidge(), 150) == f"{defense.title} is not available for sklearn recipes"


def test_dropout_needs_a_hidden_layer(data):
    with pytest.raises(UsageError, match="no activation layer"):
        one(Dropout(), dataclasses.replace(RECIPE, hidden=()), data, MEMBERS)


def test_weights_that_are_no_numbers_are_an_error(data):
    wild = dataclasses.replace(RECIPE, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(UsageError, match=r"diverged in epoch 1: .* smaller learning_rate"):
        one(Mixup(), wild, data, MEMBERS)
