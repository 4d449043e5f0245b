"""What the defences that regularise have in common for Keras recipes."""

import dataclasses
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from privassay.defenses.distillation import Distillation
from privassay.defenses.dropout import Dropout
from privassay.defenses.early_stopping import EarlyStopping
from privassay.defenses.label_smoothing import LabelSmoothing
from privassay.defenses.mixup import Mixup
from privassay.defenses.none import NoDefense
from privassay.defenses.relaxloss import RelaxLoss
from privassay.harness.errors import NotApplicable, UsageError
from privassay.models.keras_cnn import KerasCNN
from privassay.tests.support.regularised import digits, one
from privassay.tests.support.regularised_keras import SMALL, theirs

pytestmark = pytest.mark.keras

DEFENSES = [
    Distillation(on="members", temperature=2.0),
    Dropout(0.2),
    EarlyStopping(patience=2),
    LabelSmoothing(),
    Mixup(),
    RelaxLoss(),
]


@pytest.fixture(autouse=True)
def tensorflow():
    return pytest.importorskip("tensorflow", reason="needs the [keras] extra")


@pytest.mark.parametrize(
    "defense",
    [
        pytest.param(d, marks=[pytest.mark.slow] * (type(d) in (Distillation, LabelSmoothing, RelaxLoss)))
        for d in DEFENSES
    ],
    ids=repr,
)
def test_a_seed_gives_a_model_that_learned_and_is_read_back(defense, tmp_path):
    """Of a network with BatchNormalization, Dropout and a penalty."""
    data, members, others = digits()
    recipe = theirs("functional", epochs=4, batch_size=16)
    assert defense.supports(recipe, len(members)) is None
    first, again = (one(defense, recipe, data, members) for _ in range(2))
    logits = first.logits(data.x[others])
    assert (logits.argmax(axis=1) == data.y[others]).mean() > 0.7
    assert all(np.array_equal(*pair) for pair in zip(*(m.network.get_weights() for m in (first, again)), strict=True))
    first.save(tmp_path)
    loaded = recipe.load(tmp_path, data.shape, data.n_classes)
    np.testing.assert_array_equal(loaded.logits(data.x[others]), logits)


KINDS = {
    "cnn": KerasCNN(channels=(8,), epochs=15, batch_size=16, learning_rate=0.02),
    "sequential": theirs("sequential"),
    "subclassed": theirs("subclassed", learning_rate=0.03, epochs=15),
    "float64": theirs("float64"),
}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("defense", DEFENSES, ids=repr)
def test_every_kind_of_network_learns_whatever_is_trained_beside_it(defense, recipe):
    data, members, others = digits()
    other, first = (t.model.logits(data.x[others]) for t in defense.train(recipe, data, [members, members], [2, 1]))
    np.testing.assert_array_equal(one(defense, recipe, data, members, seed=1).logits(data.x[others]), first)
    assert (other != first).any()
    assert (first.argmax(axis=1) == data.y[others]).mean() > 0.6


@pytest.mark.parametrize("defense", [Dropout(1e-12), RelaxLoss(alpha=1e-30)], ids=repr)
def test_a_setting_that_changes_nothing_is_plain_training(defense):
    data, members, others = digits()
    recipe = dataclasses.replace(SMALL, weight_decay=0.01, epochs=3)
    plain = one(NoDefense(), recipe, data, members).logits(data.x[others])
    np.testing.assert_allclose(one(defense, recipe, data, members).logits(data.x[others]), plain, atol=1e-4)


def test_batches_mixed_with_nothing_are_plain_training():
    from privassay.defenses._regularised_keras import descent, mixed

    data, members, others = digits()
    recipe = dataclasses.replace(SMALL, weight_decay=0.01, epochs=3)

    def columns(_):
        partners = [np.random.default_rng(0).permutation(size) for size in [32] * 9 + [12]]
        return np.concatenate(partners), np.ones(len(members), np.float32)

    found = recipe.fit_by(descent(mixed, recipe, 1, columns), data, members, 1).logits(data.x[others])
    np.testing.assert_allclose(found, recipe.fit(data, members, 1).logits(data.x[others]), atol=1e-4)


@pytest.mark.parametrize("defense", [EarlyStopping(), Mixup()], ids=repr)
def test_weights_that_are_no_numbers_are_an_error(defense):
    data, members, _ = digits()
    wild = dataclasses.replace(SMALL, learning_rate=1e30)
    with pytest.raises(UsageError, match=r"diverged in epoch 1: .* smaller learning_rate"):
        one(defense, wild, data, members)


def test_a_recipe_whose_loop_is_its_own_is_refused():
    class OwnLoop:
        framework = "keras"

    data, members, _ = digits()
    for defense in DEFENSES:
        reason = defense.supports(OwnLoop(), 300)
        assert reason == f"{defense.title} is not available for this keras recipe, whose loop is its own"
        with pytest.raises(NotApplicable, match="whose loop is its own"):
            next(defense.train(OwnLoop(), data, [members], [0]))


IN_A_FRESH_PROCESS = textwrap.dedent(
    """
    import sys
    import numpy as np
    from privassay.harness.errors import UsageError
    from privassay.harness.types import TrainingData
    from privassay.models.keras_mlp import KerasMLP
    from privassay.defenses.distillation import Distillation
    from privassay.defenses.dropout import Dropout

    data = TrainingData(np.zeros((4, 3), np.float32), np.array([0, 1, 0, 1]), 2, (0.0, 1.0), np.arange(2))
    def train(defense):
        return next(defense.train(KerasMLP(hidden=(2,), epochs=1), data, [np.arange(4)], [0]))
    """
)
WITHOUT_TENSORFLOW = IN_A_FRESH_PROCESS + textwrap.dedent(
    """
    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "tensorflow":
                raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    sys.meta_path.insert(0, Absent())
    for defense in (Dropout(), Dropout(), Distillation()):
        try:
            train(defense)
        except UsageError as error:
            print(error)
    """
)
WITH_IT = IN_A_FRESH_PROCESS + textwrap.dedent(
    """
    train(Dropout())
    import tensorflow as tf
    print(tf.config.threading.get_intra_op_parallelism_threads())
    """
)


def said(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_without_tensorflow_one_line_names_the_extra():
    line = "Keras models need TensorFlow (No module named 'tensorflow'): install it with pip install 'privassay[keras]'"
    assert said(WITHOUT_TENSORFLOW) == [line] * 3


@pytest.mark.slow
def test_the_recipe_can_still_set_its_threads():
    assert said(WITH_IT) == ["1"]
