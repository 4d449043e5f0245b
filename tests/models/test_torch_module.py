"""Modules of the user's: trained by our loop or by theirs, repeatably, and refused in one line when unfit."""

import hashlib
import textwrap

import numpy as np
import pytest
import torch
from privassay.defenses._dpsgd_torch_checks import refuse_unfit
from privassay.defenses.dp_sgd import DPSGD
from privassay.harness import catalog
from privassay.harness.accounting import dp_sgd_claim
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.types import TrainingData
from privassay.harness.user_code import UserFunction
from privassay.models import _module_pool, _torch, _torch_module
from privassay.models.torch_mlp import TorchMLP
from privassay.models.torch_module import TorchModule

MODULES = """
    import torch
    from torch import nn
    import torch.nn.functional as F

    def sequence(shape, n_classes, *between, width=8):
        return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1], width), *between, nn.Linear(width, n_classes))

    def plain(shape, n_classes):
        return sequence(shape, n_classes, nn.ReLU())

    def wide(shape, n_classes):
        return sequence(shape, n_classes, nn.ReLU(), width=24)

    def batch_norm(shape, n_classes):
        return sequence(shape, n_classes, nn.BatchNorm1d(8), nn.ReLU())

    def group_norm(shape, n_classes):
        return sequence(shape, n_classes, nn.GroupNorm(1, 8), nn.ReLU())

    def dropout(shape, n_classes):
        return sequence(shape, n_classes, nn.ReLU(), nn.Dropout(0.3))

    class Inside(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.3, training=self.training)

    def hidden_dropout(shape, n_classes):
        return sequence(shape, n_classes, Inside())

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("shift", torch.arange(8.0))

        def forward(self, x):
            return x + self.shift

    def with_buffer(shape, n_classes):
        return sequence(shape, n_classes, Constant(), nn.Tanh())

    class Scaled(Constant):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(8))

        def forward(self, x):
            return x * self.scale + self.shift

    def scaled(shape, n_classes):
        return sequence(shape, n_classes, Scaled())

    class Recurrent(nn.Module):
        def __init__(self, n_classes, records_first):
            super().__init__()
            self.cells = nn.RNN(6, 8, batch_first=records_first)
            self.last = nn.Linear(8, n_classes)

        def forward(self, x):
            return self.last(self.cells(x)[0][:, -1])

    def recurrent(shape, n_classes):
        return Recurrent(n_classes, records_first=True)

    def records_taken_for_time(shape, n_classes):
        return Recurrent(n_classes, records_first=False)

    class TimeFirst(nn.Module):
        def __init__(self, n_classes):
            super().__init__()
            self.layer = nn.Linear(6, n_classes)

        def forward(self, x):
            return self.layer(x.transpose(0, 1)).tanh().mean(dim=0)

    def time_first(shape, n_classes):
        return TimeFirst(n_classes)

    def attention(shape, n_classes):
        encoder = nn.TransformerEncoderLayer(6, 2, 16, batch_first=True)
        return nn.Sequential(encoder, nn.Flatten(), nn.Linear(36, n_classes))

    def lazy(shape, n_classes):
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(n_classes))

    def tied(shape, n_classes):
        layer = nn.Linear(8, 8)
        return sequence(shape, n_classes, layer, nn.Tanh(), layer)

    PRETRAINED = nn.Sequential(nn.Flatten(), nn.Linear(36, 5))

    def the_same_again(shape, n_classes):
        return PRETRAINED

    def frozen_start(shape, n_classes):
        module = plain(shape, n_classes)
        module[1].requires_grad_(False)
        return module

    class CentredWhileTraining(nn.Module):
        def forward(self, x):
            return x - x.mean(dim=0) if self.training else x

    def mixing(shape, n_classes):
        return sequence(shape, n_classes, CentredWhileTraining(), nn.ReLU())

    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.spare = nn.Linear(2, 2)

        def forward(self, x):
            return x

    def unused(shape, n_classes):
        return sequence(shape, n_classes, Spare())

    def no_running_statistics(shape, n_classes):
        return sequence(shape, n_classes, nn.BatchNorm1d(8, track_running_stats=False))

    class AlwaysDropout(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.3)

    def always_dropout(shape, n_classes):
        return sequence(shape, n_classes, AlwaysDropout())

    def too_wide(shape, n_classes):
        return sequence(shape, n_classes + 1)

    def no_module(shape, n_classes):
        return "a module"

    def wrong_shape(shape, n_classes):
        return nn.Linear(7, n_classes)

    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    def pair(shape, n_classes):
        return Pair()

    def broken(shape, n_classes):
        raise KeyError("no such\\nlayer")

    def by_adam(module, x, y, seed):
        optimizer = torch.optim.Adam(module.parameters(), 0.01)
        for _ in range(20):
            for batch in torch.randperm(len(y)).split(25):
                optimizer.zero_grad()
                F.cross_entropy(module(x[batch]), y[batch]).backward()
                optimizer.step()

    def returns_another(module, x, y, seed):
        return module

    def fails(module, x, y, seed):
        return 1 / 0

    def to_nan(module, x, y, seed):
        for parameter in module.parameters():
            parameter.data.fill_(float("nan"))
"""


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    (folder / "users_modules.py").write_text(textwrap.dedent(MODULES))
    return lambda name: UserFunction(f"users_modules:{name}", folder)


@pytest.fixture(scope="module")
def recipe(user):
    def make(build, train=None, **settings):
        settings = {"epochs": 2, "batch_size": 20, **settings}
        return TorchModule(user(build), None if train is None else user(train), **settings)

    return make


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 6, 6))
    y = rng.integers(0, 5, 300)
    x = (centres[y] + 0.5 * rng.normal(size=(300, 6, 6))).astype(np.float32)
    return TrainingData(x, y, 5, (-9.0, 9.0))


@pytest.fixture(scope="module")
def rows():
    return [np.sort(np.random.default_rng(seed).permutation(300)[:100]) for seed in range(3)]


def digest(model, data):
    return hashlib.sha256(model.logits(data.x).tobytes()).hexdigest()


TRAINED_BY_US = [
    "recurrent",
    "attention",
    "plain",
    "batch_norm",
    "group_norm",
    "dropout",
    "hidden_dropout",
    "with_buffer",
    "lazy",
    "tied",
    "frozen_start",
]


@pytest.mark.parametrize("build", TRAINED_BY_US)
def test_modules_train_repeat_and_are_read_back(build, recipe, data, rows, tmp_path, monkeypatch):
    made = recipe(build, epochs=5)
    state = torch.get_rng_state()
    monkeypatch.setattr(_module_pool, "cores", lambda: 2)  # side by side, or after each other where they share
    together = list(made.fit_pool(data, rows, [0, 1, 2]))
    assert torch.equal(torch.get_rng_state(), state)
    for seed, model in enumerate(together):
        assert digest(made.fit(data, rows[seed], seed), data) == digest(model, data)
        assert (model.logits(data.x[rows[seed]]).argmax(axis=1) == data.y[rows[seed]]).mean() > 0.6
    assert digest(made.fit(data, rows[0], 1), data) != digest(together[0], data)
    together[0].save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert digest(made.load(tmp_path, data.shape, 5), data) == digest(together[0], data)


def test_our_loop_trains_a_users_perceptron_as_our_own(recipe, data, rows):
    """The same layers, drawn in the same order: the stacked perceptron and the user's agree up to rounding."""
    ours = TorchMLP(hidden=(24,), epochs=3, batch_size=20).fit(data, rows[0], seed=4).logits(data.x)
    users = recipe("wide", epochs=3).fit(data, rows[0], seed=4).logits(data.x)
    np.testing.assert_allclose(users, ours, atol=1e-4)


def test_the_users_own_training_repeats_although_it_draws_from_the_global_generator(recipe, data, rows):
    for build in ("plain", "batch_norm", "dropout"):
        made = recipe(build, "by_adam")
        torch.manual_seed(1)
        first = made.fit(data, rows[0], seed=7)
        torch.manual_seed(2)
        (again, other) = made.fit_pool(data, [rows[0], rows[0]], [7, 8])
        assert digest(first, data) == digest(again, data) != digest(other, data)
        assert (first.logits(data.x[rows[0]]).argmax(axis=1) == data.y[rows[0]]).mean() > 0.8


def test_a_trained_batch_norm_answers_from_its_running_statistics(recipe, data, rows):
    model = recipe("batch_norm", epochs=5).fit(data, rows[0], seed=0)
    statistics = model.module[2].running_mean
    assert statistics.abs().max() > 0.01
    alone = np.concatenate([model.logits(data.x[[i]]) for i in range(5)])
    np.testing.assert_allclose(alone, model.logits(data.x)[:5], atol=1e-5)
    first = model.class_gradient(data.x[:4], data.y[:4])
    np.testing.assert_array_equal(model.class_gradient(data.x[:4], data.y[:4]), first)
    assert torch.equal(model.module[2].running_mean, statistics)


def test_dropout_acts_in_training_and_not_in_answers(recipe, data, rows):
    with_it, without = (recipe(build).fit(data, rows[0], seed=0) for build in ("dropout", "plain"))
    np.testing.assert_array_equal(with_it.logits(data.x), with_it.logits(data.x))
    assert np.abs(with_it.logits(data.x) - without.logits(data.x)).max() > 1e-2


def test_models_of_a_function_that_returns_one_module_share_nothing(recipe, data, rows):
    first, second = recipe("the_same_again").fit_pool(data, rows[:2], [0, 1])
    assert digest(first, data) != digest(second, data)
    assert digest(recipe("the_same_again").fit(data, rows[0], 0), data) == digest(first, data)


def test_frozen_weights_stay(recipe, data, rows):
    made = recipe("frozen_start")
    start = made.untrained(data.shape, 5, seed=3)
    trained = made.fit(data, rows[0], seed=3).module
    assert torch.equal(trained[1].weight, start[1].weight)
    assert not torch.equal(trained[3].weight, start[3].weight)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        ("plain", True),
        ("group_norm", True),
        ("batch_norm", False),
        ("dropout", False),
        ("hidden_dropout", False),
        ("with_buffer", False),
        ("frozen_start", False),
    ],
)
def test_only_modules_of_learned_weights_alone_are_stacked(build, expected, recipe, user, data):
    module = recipe(build).untrained(data.shape, 5, seed=0)
    assert _torch_module._stackable(module, user(build), data) == expected


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            "too_wide",
            r"users_modules:too_wide: the module gives \(3, 6\) of torch.float32 for 3 records, must .* \(3, 5\)",
        ),
        ("pair", "the module gives tuple"),
        ("no_module", "no_module: returned a str, must return a torch.nn.Module"),
        ("wrong_shape", r"fails on records of shape \(6, 6\): RuntimeError"),
        ("broken", r"broken: KeyError: 'no such\\nlayer' \(users_modules.py, line \d+\)"),
        ("absent", "has no function 'absent'"),
        ("records_taken_for_time", "answers a record differently beside others, .* batch_first=True"),
        ("no_running_statistics", "answers a record differently beside others"),
        ("always_dropout", "draws random numbers in evaluation mode"),
    ],
)
def test_what_is_no_module_of_logits_is_refused_in_one_line(build, message, recipe, data, rows):
    with pytest.raises(UsageError, match=message) as refused:
        recipe(build).fit(data, rows[0], 0)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("returns_another", "returned a Sequential, must train the module in place and return None"),
        ("fails", r"users_modules:fails: ZeroDivisionError: division by zero \(users_modules.py, line \d+\)"),
        ("to_nan", "users_modules:plain: the trained module gives NaN or infinite logits"),
    ],
)
def test_training_of_the_users_that_goes_wrong_is_one_line(train, message, recipe, data, rows):
    with pytest.raises(UsageError, match=message) as refused:
        recipe("plain", train).fit(data, rows[0], 0)
    assert "\n" not in str(refused.value)


def test_our_loop_that_diverges_is_refused(recipe, data, rows):
    with pytest.raises(UsageError, match=r"NaN or infinite logits.*learning_rate"):
        recipe("plain", learning_rate=1e30, epochs=5).fit(data, rows[0], 0)


# Defences


PRIVATE = ["plain", "group_norm", "dropout", "hidden_dropout", "tied", "frozen_start", "with_buffer", "lazy"]


def private(made, data, rows, **settings):
    settings = {"target_epsilon": None, "noise_multiplier": 1.0, "target_delta": 1e-3, "epochs": 3, **settings}
    return next(DPSGD(**settings).train(made, data, [rows], [0]))


@pytest.mark.parametrize("build", PRIVATE)
def test_dp_sgd_trains_modules_of_the_users_repeatably(build, recipe, data, rows):
    trained = private(recipe(build), data, rows[0])
    assert 0 < dp_sgd_claim(trained.mechanism).epsilon < 100
    assert trained.mechanism.sampling.steps == 15
    assert digest(private(recipe(build), data, rows[0]).model, data) == digest(trained.model, data)


def test_batch_norm_is_refused_with_the_architecture_that_both_candidates_need(recipe, data, rows):
    with pytest.raises(UsageError, match=r"'2' is BatchNorm1d.*GroupNorm\(1, 8\), in the undefended candidate too"):
        private(recipe("batch_norm"), data, rows[0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ("mixing", "mixes the records of a batch, so no record"),
        ("time_first", r"Opacus does not find the gradient of each record in 'layer\.weight'.*batch_first=True"),
        ("recurrent", r"DP-SGD cannot train this module, Opacus gives .* opacus\.layers"),
        ("attention", "DP-SGD cannot train this module, Opacus gives TypeError: MultiheadAttention"),
        ("unused", r"needs every weight in the logits, '2\.spare\.weight' is in none"),
        ("scaled", "DP-SGD cannot train this module, Opacus gives NotImplementedError: .*buffers"),
    ],
)
def test_modules_whose_records_have_no_gradient_of_their_own_are_refused(build, message, recipe, data, rows):
    with pytest.raises(UsageError, match=message):
        private(recipe(build), data, rows[0])


def test_gradients_along_time_are_found_even_where_there_are_as_many_steps_as_records(recipe, data):
    module = recipe("time_first").untrained(data.shape, 5, seed=0)
    with pytest.raises(UsageError, match="Opacus does not find the gradient of each record"):
        refuse_unfit(module, torch.from_numpy(data.x[:6]), torch.from_numpy(data.y[:6]))


def test_a_training_function_of_the_users_follows_no_defence(recipe, data, rows):
    made = recipe("plain", "by_adam")
    reason = DPSGD().supports(made, 100)
    assert "training function of the user's" in reason
    assert "torch" in reason
    with pytest.raises(NotApplicable, match="training function"):
        private(made, data, rows[0])
    with pytest.raises(UsageError, match=r"train=users_modules:by_adam: .* cannot follow a defence's rules"):
        made.fit_by(lambda module, x, y: None, data, rows[0], 0)


def test_a_rule_of_a_defence_is_repeatable_with_dropout(recipe, data, rows):
    def loop(module, x, y):
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        for _ in range(5):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(x), y).backward()
            optimizer.step()

    made = recipe("dropout")
    first, again = (made.fit_by(loop, data, rows[0], 3) for _ in range(2))
    assert digest(first, data) == digest(again, data)


def test_the_catalogue_builds_it(user, tmp_path):
    built = catalog.build("models", "torch_module", {"build": "net:build", "epochs": 3}, "here", tmp_path)
    assert built == TorchModule(UserFunction("net:build", tmp_path), epochs=3)
    assert built.framework == "torch"


def test_threads_that_train_with_dropout_take_turns(recipe, data, rows, monkeypatch):
    """Interleaved draws from the one generator would change the models."""
    monkeypatch.setattr(_module_pool, "cores", lambda: 3)
    made = recipe("dropout", epochs=4)
    runs = [[digest(model, data) for model in made.fit_pool(data, rows, [0, 1, 2])] for _ in range(2)]
    assert runs[0] == runs[1] == [digest(made.fit(data, own, seed), data) for seed, own in enumerate(rows)]
    assert _torch.TorchModel is type(made.fit(data, rows[0], 0))
