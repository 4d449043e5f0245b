"""The pool: what changes a model's key, what does not, growth and resume."""

import dataclasses
import json

import numpy as np
import pytest
from privassay.defenses.dp_sgd import DPSGD
from privassay.harness import catalog
from privassay.harness.accounting import dp_sgd_claim
from privassay.harness.events import StepAdvanced, StepFinished, StepStarted, ignore
from privassay.harness.provenance import package_versions, training_packages
from privassay.harness.splits import paired_halves
from privassay.harness.store import META, Store
from privassay.harness.training import train_pool
from privassay.models.torch_mlp import TorchMLP
from privassay.tests.support import small

QUICK = TorchMLP(hidden=(8,), epochs=1)


@pytest.fixture
def where(tmp_path):
    return small.setting(tmp_path, models=4)


def spec(recipe=QUICK, defense=None):
    made = small.spec("none")
    made = dataclasses.replace(made, recipe=recipe, recipe_identity=catalog.identity(recipe, "torch_mlp"))
    if defense is None:
        return made
    identity = catalog.identity(defense, "dp_sgd")
    return dataclasses.replace(made, defense_name="dp_sgd", defense=defense, defense_identity=identity)


def train(where, made=None, **changes):
    where = dataclasses.replace(where, **changes)
    seen = []
    pool = train_pool(made or spec(), (where.dataset, where.split), where.store, where.seed, seen.append)
    return pool, next(event.done for event in seen if isinstance(event, StepStarted))


def test_second_time_everything_is_found(where):
    first, found = train(where)
    assert found == 0
    second, found = train(where)
    assert found == 4
    assert first.logits(3).tobytes() == second.logits(3).tobytes()


def test_pool_grows_without_retraining(where):
    small_pool, _ = train(where)
    large = paired_halves(where.dataset, models=8, pool=200, seed=where.seed)
    grown, found = train(where, split=large)
    assert found == 4
    assert grown.keys[:4] == small_pool.keys


def test_growing_equals_training_at_once(where, tmp_path):
    large = paired_halves(where.dataset, models=6, pool=200, seed=where.seed)
    train(where)
    grown, _ = train(where, split=large)
    at_once, _ = train(where, split=large, store=Store(tmp_path / "other"))
    assert all(grown.logits(k).tobytes() == at_once.logits(k).tobytes() for k in range(6))


def test_output_defence_shares_models(where):
    plain, _ = train(where, small.spec("none"))
    perturbed, found = train(where, small.spec("output_perturbation"))
    assert found == 4
    assert plain.keys == perturbed.keys
    assert not np.array_equal(plain.released(0), perturbed.released(0))


def edited(made):
    """The same recipe after somebody changed its source."""
    identity = dataclasses.replace(made.recipe_identity, code_sha256="other")
    return dataclasses.replace(made, recipe_identity=identity)


def changed_labels(dataset):
    y = dataset.y.copy()
    y[0] = (y[0] + 1) % 10
    return dataclasses.replace(dataset, y=y)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: {"seed": 1},
        lambda w: {"dataset": changed_labels(w.dataset)},
        lambda w: {"dataset": dataclasses.replace(w.dataset, bounds=(-1.0, 1.0))},
        lambda w: {"split": paired_halves(w.dataset, 4, 200, seed=5)},
        lambda w: {"made": spec(dataclasses.replace(QUICK, epochs=2))},
        lambda w: {"made": spec(dataclasses.replace(QUICK, dtype="bfloat16"))},
        lambda w: {"made": edited(spec())},
        lambda w: {"made": spec(defense=DPSGD(epochs=1, target_delta=1e-3))},
    ],
    ids=["seed", "data", "bounds", "split", "recipe", "arithmetic", "code", "defence"],
)
def test_whatever_changes_the_model_changes_the_key(where, change):
    first, _ = train(where)
    second, found = train(where, **change(where))
    assert found == 0
    assert not set(first.keys) & set(second.keys)


def test_another_version_of_a_package_trains_anew(where, monkeypatch):
    train(where)
    monkeypatch.setattr("privassay.harness.training.training_packages", lambda framework: {"torch": "0"})
    assert train(where)[1] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"target_epsilon": 4.0},
        {"target_epsilon": None, "noise_multiplier": 1.0},
        {"max_grad_norm": 0.5},
        {"target_delta": 1e-4},
    ],
)
def test_every_defence_parameter_is_in_the_key(where, change):
    defense = DPSGD(epochs=1, target_delta=1e-3)
    first, _ = train(where, spec(defense=defense))
    second, found = train(where, spec(defense=dataclasses.replace(defense, **change)))
    assert found == 0
    assert not set(first.keys) & set(second.keys)


def test_private_candidates_share_no_noise(where):
    # One step on all records from the same first weights: what two candidates share would show in their difference.
    recipe = dataclasses.replace(QUICK, hidden=(), batch_size=100, momentum=0.0)
    first, second = (
        spec(
            recipe,
            DPSGD(None, noise_multiplier=sigma, max_grad_norm=1.0, epochs=1, target_delta=1e-3, learning_rate=1.0),
        )
        for sigma in (20.0, 40.0)
    )
    pools = [train(where, made)[0] for made in (first, second)]
    weights = [np.concatenate([p.numpy().ravel() for p in pool.model(0).module.parameters()]) for pool in pools]
    assert abs(np.corrcoef(weights)[0, 1]) < 5 / np.sqrt(len(weights[0]))


def test_packages_of_other_frameworks_are_in_no_key():
    assert {"torch", "numpy"} <= set(training_packages("torch"))
    assert not {"mlflow", "tensorflow", "scikit-learn"} & set(training_packages("torch"))
    assert set(training_packages("a third party's")) == set(package_versions())


def test_mechanism_survives_the_store(where):
    pool, _ = train(where, spec(defense=DPSGD(epochs=2, batch_size=20, target_delta=1e-3)))
    again, _ = train(where, spec(defense=DPSGD(epochs=2, batch_size=20, target_delta=1e-3)))
    assert again.mechanism(0) == pool.mechanism(0)
    assert pool.mechanism(0).sampling.steps == 10
    assert dp_sgd_claim(pool.mechanism(0)).epsilon == pytest.approx(8.0, abs=0.05)
    assert train(where)[0].mechanism(0) is None


def test_models_come_back_as_they_were(where):
    pool, _ = train(where)
    again = train_pool(spec(), (where.dataset, where.split), where.store, where.seed, ignore)
    x = where.dataset.x[:50]
    assert np.array_equal(again.model(2).logits(x), pool.model(2).logits(x))
    assert np.allclose(again.model(2).logits(where.dataset.x), again.logits(2), atol=1e-5)


@pytest.mark.parametrize("block", [1, 3])
def test_blocks_change_neither_keys_nor_models(where, tmp_path, monkeypatch, block):
    whole, _ = train(where)
    monkeypatch.setattr("privassay.harness.training.BLOCK", block)
    parts, found = train(where, store=Store(tmp_path / "other"))
    assert found == 0
    assert parts.keys == whole.keys
    assert all(parts.logits(k).tobytes() == whole.logits(k).tobytes() for k in range(4))


def test_only_what_is_missing_is_trained_and_counted(where, monkeypatch):
    monkeypatch.setattr("privassay.harness.training.BLOCK", 3)
    pool, _ = train(where)
    for k in (0, 3):
        where.store.remove("train", pool.keys[k], last_used=float("inf"))
    kept = [pool._models[k].folder.stat().st_ino for k in (1, 2)]
    seen = []
    train_pool(spec(), (where.dataset, where.split), where.store, where.seed, seen.append)
    step = "train mlp/none"
    assert seen == [StepStarted(step, 4, 2), StepAdvanced(step), StepAdvanced(step), StepFinished(step, "")]
    assert [pool._models[k].folder.stat().st_ino for k in (1, 2)] == kept


def test_entries_say_which_model_they_are(where):
    pool, _ = train(where)
    about = [json.loads((folder / META).read_text())["about"] for folder in (model.folder for model in pool._models)]
    assert about == [f"mlp/none model {k}" for k in range(4)]
