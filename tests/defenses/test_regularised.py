"""What all defences that regularise have in common."""

import dataclasses

import numpy as np
import pytest
import torch
from privassay.defenses.distillation import Distillation
from privassay.defenses.dropout import Dropout
from privassay.defenses.early_stopping import EarlyStopping
from privassay.defenses.l2 import L2
from privassay.defenses.label_smoothing import LabelSmoothing
from privassay.defenses.mixup import Mixup
from privassay.defenses.none import NoDefense
from privassay.defenses.relaxloss import RelaxLoss
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.user_code import UserFunction
from privassay.models.keras_mlp import KerasMLP
from privassay.models.sklearn_random_forest import SklearnRandomForest
from privassay.models.torch_module import TorchModule
from privassay.tests.support.regularised import PICTURES, SMALL, digits, one, weights

DEFENSES = [
    Distillation(),
    Distillation(on="members", temperature=2.0),
    Dropout(),
    EarlyStopping(patience=2),
    L2(),
    LabelSmoothing(),
    LabelSmoothing(smoothing=-0.05),
    Mixup(),
    RelaxLoss(),
]
LOOPS = [defense for defense in DEFENSES if not isinstance(defense, L2)]


@pytest.mark.parametrize("defense", DEFENSES, ids=repr)
def test_a_seed_gives_a_model_whatever_is_trained_beside_it(defense):
    data, members, others = digits()
    torch.manual_seed(7)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first, second = (t.model for t in defense.train(SMALL, data, [others[:200], members], [2, 1]))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    torch.manual_seed(8)
    np.testing.assert_array_equal(weights(one(defense, SMALL, data, members, seed=1)), weights(second))
    assert (weights(one(defense, SMALL, data, members, seed=3)) != weights(second)).any()
    assert (weights(first) != weights(second)).any()


@pytest.mark.parametrize("recipe", [SMALL, PICTURES], ids=["mlp", "cnn"])
@pytest.mark.parametrize("defense", DEFENSES, ids=repr)
def test_the_recipe_reads_its_models_and_they_have_learned(defense, recipe, tmp_path):
    data, members, others = digits()
    recipe = dataclasses.replace(recipe, epochs=10)
    model = one(defense, recipe, data, members)
    logits = model.logits(data.x[others])
    assert (logits.argmax(axis=1) == data.y[others]).mean() > 0.7
    model.save(tmp_path)
    again = recipe.load(tmp_path, data.shape, data.n_classes)
    np.testing.assert_array_equal(again.logits(data.x[others]), logits)
    assert not any(part._forward_hooks for part in model.module.modules())


@pytest.mark.parametrize("defense", [LabelSmoothing(smoothing=0.0), RelaxLoss(alpha=1e-30)], ids=repr)
def test_a_setting_that_changes_nothing_is_plain_training(defense):
    data, members, _ = digits()
    plain = weights(one(NoDefense(), PICTURES, data, members))
    np.testing.assert_array_equal(weights(one(defense, PICTURES, data, members)), plain)


@pytest.mark.parametrize("defense", DEFENSES, ids=repr)
def test_it_is_a_heuristic_that_answers_plainly(defense):
    assert defense.guarantee == "heuristic"
    assert set(defense.training_parameters()) == {field.name for field in dataclasses.fields(defense)}
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), 9)
    np.testing.assert_array_equal(defense.release(probabilities, np.random.default_rng(1)), probabilities)


class OwnLoop:
    """A recipe of torch that is trained by somebody's own function."""

    framework = "torch"


@pytest.mark.parametrize("defense", LOOPS, ids=repr)
@pytest.mark.parametrize("recipe", [SklearnRandomForest(), KerasMLP(), OwnLoop()], ids=["sklearn", "keras", "own"])
def test_other_recipes_are_refused_with_the_reason(defense, recipe):
    data, members, _ = digits()
    if recipe.framework in defense.frameworks and not isinstance(recipe, OwnLoop):
        assert defense.supports(recipe, 300) is None
        return
    reason = defense.supports(recipe, 300)
    assert recipe.framework in reason
    assert defense.title in reason
    with pytest.raises(NotApplicable) as refused:
        next(defense.train(recipe, data, [members], [0]))
    assert str(refused.value) == reason


@pytest.mark.parametrize("defense", DEFENSES, ids=repr)
def test_a_training_function_of_the_users_is_not_ours_to_change(defense, tmp_path):
    build = UserFunction("theirs:build", tmp_path)
    assert defense.supports(TorchModule(build), 300) is None
    reason = defense.supports(TorchModule(build, UserFunction("theirs:train", tmp_path)), 300)
    assert "torch" in reason
    assert "function of the user's" in reason


def test_weights_that_are_no_numbers_are_an_error():
    data, members, _ = digits()
    wild = dataclasses.replace(SMALL, learning_rate=1e30)
    with pytest.raises(UsageError, match=r"diverged in epoch 1: .* smaller learning_rate"):
        one(LabelSmoothing(), wild, data, members)
