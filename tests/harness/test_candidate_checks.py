"""What only a candidate's own code can tell to be wrong is told before anything is trained."""

import random
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from privassay.defenses.none import NoDefense
from privassay.experiments.digits import Digits
from privassay.harness import catalog
from privassay.harness.candidate_checks import check_candidates
from privassay.harness.cli import main
from privassay.harness.errors import ExitCode, NotApplicable, UsageError
from privassay.harness.pool import CandidateSpec
from privassay.harness.protocols import CheckedDefense, CheckedRecipe
from privassay.harness.types import ColumnsToFit, Dataset, Identity, TrainingData

USER_CODE = Path(__file__).resolve().parents[1] / "support" / "user_code"
CODE = '''
import random

import numpy as np

def net(shape, n, *layers):
    import math

    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 8), *layers, nn.Linear(8, n))

def one_output(shape, n): return net(shape, 1)
def no_module(shape, n): return 3
def other_shape(shape, n): return net((5,), n)
def batch_norm(shape, n):
    from torch import nn

    return net(shape, n, nn.BatchNorm1d(8))

def drawing(shape, n):
    from torch import nn

    random.random(), np.random.random()
    return net(shape, n, nn.ReLU(), nn.Dropout(0.5))

def manhattan():
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(3, metric="manhattan", algorithm="kd_tree")

def own_step():
    from sklearn.naive_bayes import GaussianNB
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    return make_pipeline(FunctionTransformer(lambda x: x), GaussianNB())

def silent():
    from sklearn.svm import LinearSVC

    return LinearSVC()

def wants_many():
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(90)

def wants_more_folds():
    from sklearn.model_selection import GridSearchCV
    from sklearn.naive_bayes import GaussianNB

    return GridSearchCV(GaussianNB(), {"var_smoothing": [0.1]}, cv=17, error_score="raise")

def keras(shape, n, *layers, compiled=True):
    import tensorflow as tf

    L = tf.keras.layers
    network = tf.keras.Sequential([L.Input(shape), L.Flatten(), L.Dense(8, "relu"), *layers, L.Dense(n)])
    if compiled:
        network.compile("sgd", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return network

def keras_one_output(shape, n): return keras(shape, 1)
def keras_not_compiled(shape, n): return keras(shape, n, compiled=False)
def keras_dropout(shape, n):
    import tensorflow as tf

    return keras(shape, n, tf.keras.layers.Dropout(0.5))

def keras_batch_norm(shape, n):
    import tensorflow as tf

    return keras(shape, n, tf.keras.layers.BatchNormalization(name="normed"))

def keras_schedule(shape, n):
    import tensorflow as tf

    network = keras(shape, n, compiled=False)
    rate = tf.keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    network.compile(tf.keras.optimizers.SGD(rate), tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return network

def learns(x, y, n_classes, seed):
    open("learnt", "w").close()
    return lambda asked: np.full((len(asked), n_classes), 1 / n_classes)
'''  # fmt: skip
GOOD = {"good": {"component": "python", "train": "code_to_check:learns"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("checked")
    (where / "code_to_check.py").write_text(textwrap.dedent(CODE))
    rng = np.random.default_rng(0)
    np.savetxt(
        where / "flat.csv",
        np.column_stack([rng.random((200, 3)).round(3), np.arange(200) % 2]),
        delimiter=",",
        header="a,b,c,label",
        comments="",
        fmt="%.3f",
    )
    return where


@pytest.fixture
def refused(folder, monkeypatch, capsys):
    """Runs an experiment whose first candidate is good; the last line of stderr. Nothing may have been trained."""
    monkeypatch.chdir(folder)

    def run(model, defense=None, data=None):
        experiment = {
            "name": "a",
            "data": data or {"component": "digits"},
            "pool": {"models": 2, "records": 160},
            "models": {**GOOD, "bad": model},
            "defenses": {"none": {}, **({} if defense is None else {"private": defense})},
            "candidates": ["good/none", "bad/none" if defense is None else "bad/private"],
            "attacks": {"loss": {}},
            "metrics": {"fprs": [0.1], "resamples": 100},
        }
        (folder / "a.yaml").write_text(yaml.safe_dump(experiment))
        assert main(["run", "a.yaml", "--out", "out", "--tracking-uri", "sqlite:///m.db"]) == ExitCode.USAGE
        assert not (folder / "learnt").exists()
        assert not (folder / "out").exists()
        lines = capsys.readouterr().err.rstrip("\n").splitlines()
        assert len(lines) == 1
        return lines[0]

    return run


def torch_module(build):
    return {"component": "torch_module", "build": f"code_to_check:{build}"}


def keras_module(build):
    return {"component": "keras_module", "build": f"code_to_check:{build}"}


def estimator(build):
    return {"component": "sklearn_estimator", "build": f"code_to_check:{build}"}


FLAT = {"component": "table", "path": "flat.csv", "target": "label", "ranges": {c: [0.0, 1.0] for c in "abc"}}


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        (torch_module("one_output"), None, "code_to_check:one_output: the module gives (3, 1) of torch.float32 for 3"),
        (torch_module("no_module"), None, "code_to_check:no_module: returned a int, must return a torch.nn.Module"),
        (torch_module("other_shape"), None, "code_to_check:other_shape: the module fails on records of shape (8, 8)"),
        ({"component": "torch_cnn"}, FLAT, "records of shape (3,): must be pictures (h, w) or (c, h, w)"),
        ({"component": "torch_cnn", "channels": [4] * 4}, None, "records of shape (8, 8): must be pictures"),
        (estimator("manhattan"), None, "types that are not trusted: sklearn.metrics._dist_metrics.ManhattanDistance64"),
        (
            estimator("own_step"),
            None,
            "Pipeline: cannot be saved, for it holds types that are not trusted: code_to_che",
        ),
        (estimator("silent"), None, "code_to_check:silent: LinearSVC has no predict_proba"),
        (
            {"component": "python", "train": "code_to_check:learns", "records": "frame"},
            None,
            "code_to_check:learns: records: frame: the records are no rows of a CSV or Parquet table",
        ),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused_before_training(refused, model, data, words):
    line = refused(model, data=data)
    assert line.startswith("privassay: a.yaml: candidate bad/none: ")
    assert words in line


@pytest.mark.keras
@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        (keras_module("keras_one_output"), None, "the model's output on 4 records is (4, 1), it must be (4, 10)"),
        (keras_module("keras_not_compiled"), None, "the model is not compiled with an optimiser and a loss"),
        ({"component": "keras_cnn"}, FLAT, "records of shape (3,): must be pictures (h, w) or (c, h, w)"),
    ],
)
def test_so_is_one_of_keras(refused, model, data, words):
    pytest.importorskip("tensorflow", reason="needs the [keras] extra")
    line = refused(model, data=data)
    assert line.startswith("privassay: a.yaml: candidate bad/none: ")
    assert words in line


DP_SGD = {"component": "dp_sgd", "target_delta": 1e-3}


def test_batch_norm_behind_dp_sgd_is_refused_before_training(refused):
    line = refused(torch_module("batch_norm"), DP_SGD)
    assert line.startswith("privassay: a.yaml: candidate bad/private: layer '2' is BatchNorm1d: its statistics mix")


@pytest.mark.keras
@pytest.mark.parametrize(
    ("build", "settings", "words"),
    [
        ("keras_batch_norm", {}, "layer 'normed' is BatchNormalization, which mixes the records of a batch"),
        ("keras_dropout", {}, "it draws random numbers in training (Dropout)"),
        ("keras_schedule", {"learning_rate": 0.2}, "learning_rate=0.2: the optimiser SGD follows a schedule"),
    ],
)
def test_so_are_keras_networks_that_dp_sgd_cannot_train(refused, build, settings, words):
    pytest.importorskip("tensorflow_privacy", reason="needs the [keras] extra")
    line = refused(keras_module(build), {**DP_SGD, **settings})
    assert line.startswith("privassay: a.yaml: candidate bad/private: ")
    assert words in line


@pytest.mark.parametrize("component", ["torch_mlp", pytest.param("keras_mlp", marks=pytest.mark.keras)])
def test_a_network_without_hidden_layers_behind_dropout_is_refused_before_training(refused, component):
    if component == "keras_mlp":
        pytest.importorskip("tensorflow", reason="needs the [keras] extra")
    line = refused({"component": component, "hidden": []}, {"component": "dropout"})
    assert line.startswith("privassay: a.yaml: candidate bad/private: dropout: the network has no activation layer")


# What passes, and what a check leaves behind


def spec_of(recipe, defense=None, model="m"):
    defense = defense or NoDefense()
    nobody = Identity("", {}, "")
    return CandidateSpec(model, "d", recipe, nobody, defense, nobody, "a.yaml: candidate m/d")


def made(folder, component, **parameters):
    return catalog.build("models", component, parameters, "test", folder)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return Digits().load()


ACCEPTED = [
    ("torch_mlp", {}),
    ("torch_cnn", {"channels": [4]}),
    ("torch_module", {"build": "user_models:torch_network"}),
    ("keras_mlp", {}),
    ("keras_cnn", {"channels": [4]}),
    ("keras_module", {"build": "user_models:keras_network"}),
    ("sklearn_estimator", {"build": "user_models:pipeline"}),
    ("python", {"train": "user_models:train"}),
]


@pytest.mark.parametrize(
    ("component", "parameters"),
    [pytest.param(*a, marks=pytest.mark.keras) if "keras" in a[0] else a for a in ACCEPTED],
)
def test_what_can_be_trained_passes(component, parameters, digits):
    if "keras" in component:
        pytest.importorskip("tensorflow_privacy", reason="needs the [keras] extra")
    recipe = made(USER_CODE, component, **parameters)
    defenses = [catalog.build("defenses", "dp_sgd", {"target_delta": 1e-3, "epochs": 2}, "test")]
    supporting = [defense for defense in defenses if defense.supports(recipe, 300) is None]
    assert bool(supporting) == (recipe.framework in ("torch", "keras"))
    check_candidates([spec_of(recipe, d) for d in [NoDefense(), *supporting]], digits, np.arange(300))


@pytest.mark.parametrize("build", ["wants_many", "wants_more_folds"])
def test_an_estimator_that_wants_more_records_than_are_tried_passes(build, folder, digits):
    recipe = made(folder, "sklearn_estimator", build=f"code_to_check:{build}")
    check_candidates([spec_of(recipe)], digits, np.arange(300))
    few = TrainingData(digits.x, digits.y, 10, digits.bounds)
    assert np.isfinite(recipe.fit(few, np.arange(300), 0).logits(digits.x[:5])).all()


def generators():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


@pytest.mark.parametrize(
    ("component", "build", "private"),
    [
        ("torch_module", "drawing", True),
        pytest.param("keras_module", "keras_dropout", False, marks=pytest.mark.keras),
        ("sklearn_estimator", "own_step", False),
    ],
)
def test_a_check_moves_no_global_generator_and_no_later_weight(component, build, private, folder, digits):
    if "keras" in component:
        pytest.importorskip("tensorflow", reason="needs the [keras] extra")
    options = {} if component.startswith("sklearn") else {"epochs": 2}
    recipe = made(folder, component, build=f"code_to_check:{build}", **options)
    data = TrainingData(digits.x, digits.y, 10, digits.bounds)
    first = recipe.fit(data, np.arange(100), 0).logits(digits.x)
    defense = catalog.build("defenses", "dp_sgd", {"target_delta": 1e-3}, "test") if private else None
    before = generators()
    try:
        check_candidates([spec_of(recipe, defense)], digits, np.arange(300))
    except UsageError:
        assert build == "own_step"
    assert generators() == before
    assert np.array_equal(recipe.fit(data, np.arange(100), 0).logits(digits.x), first)


class Watched:
    """A recipe and a defence that write down what they are shown."""

    framework = "watched"
    guarantee = "none"

    def __init__(self, error=None):
        self.seen, self.error = [], error

    def check(self, *shown):
        self.seen.append(shown)
        if self.error is not None:
            raise self.error

    def nothing(self, *_):
        raise AssertionError("only a check")

    fit = load = supports = training_parameters = train = release = nothing


def test_a_recipe_is_asked_once_and_every_candidate_behind_its_defence(digits):
    recipe, other, defense = Watched(), Watched(), Watched()
    assert isinstance(recipe, CheckedRecipe)
    assert isinstance(defense, CheckedDefense)
    specs = [spec_of(recipe), spec_of(recipe, defense), spec_of(other, defense, "n")]
    check_candidates(specs, digits, np.arange(300))
    assert [len(w.seen) for w in (recipe, other)] == [1, 1]
    assert [shown[0] for shown in defense.seen] == [recipe, other]


def test_a_few_of_the_given_records_are_shown(digits):
    recipe, rows = Watched(), np.arange(500, 900)
    check_candidates([spec_of(recipe)], digits, rows)
    ((few,),) = recipe.seen
    labels, counts = np.unique(few.y, return_counts=True)
    assert counts.tolist() == [16] * 4
    others = np.setdiff1d(np.arange(10), labels)
    of_all = np.bincount(digits.y[rows])
    assert of_all[labels].min() >= of_all[others].max()
    places = [np.flatnonzero((digits.x[rows] == x).all(axis=(1, 2))) for x in few.x]
    assert all(len(place) for place in places)
    assert [digits.y[rows][place[0]] for place in places] == few.y.tolist()


def test_records_are_prepared_as_the_model_would_get_them():
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.random(40), np.arange(40) % 3]).astype(np.float32)
    to_fit = ColumnsToFit(standardise=(0,), encode=(1,))
    data = Dataset("d", x, np.arange(40) % 2, 2, (0.0, 2.0), True, "none", to_fit=to_fit)
    recipe = Watched()
    check_candidates([spec_of(recipe)], data, np.flatnonzero(x[:, 1] < 2)[:20])
    ((few,),) = recipe.seen
    assert few.shape == (3,)  # the number, and the two categories that the members have
    assert abs(few.x[:, 0].mean()) < 1e-6


@pytest.mark.parametrize("error", [UsageError("no\nway"), NotApplicable("no\nway")])
def test_a_refusal_names_the_candidate_and_is_a_wrong_input(error, digits):
    with pytest.raises(UsageError, match=r"^a\.yaml: candidate m/d: no\nway$"):
        check_candidates([spec_of(Watched(), Watched(error))], digits, np.arange(300))


def test_nothing_to_train_is_nothing_to_check(digits):
    check_candidates([], digits, np.arange(0))
