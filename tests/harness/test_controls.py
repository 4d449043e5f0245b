"""The instrument's own checks must fire on a broken instrument."""

import dataclasses

import numpy as np
import pytest
from privassay.harness import catalog, controls
from privassay.harness.evaluation import NamedAttack
from privassay.harness.events import StepFinished, StepStarted
from privassay.harness.store import Store
from privassay.harness.types import Identity, Scores, ThreatModel
from privassay.models.sklearn_random_forest import SklearnRandomForest
from privassay.models.torch_mlp import TorchMLP
from privassay.tests.support import small

FOREST = SklearnRandomForest(n_estimators=20)
THREAT_MODEL = ThreatModel("labels", False, False, 0, 1)


@dataclasses.dataclass(frozen=True)
class Peeking:
    """Reads the answer from where an attack has no business: the masks the harness believes in."""

    believed: object
    family = "membership"
    implementation = "test"
    threat_model = THREAT_MODEL

    def score(self, view, candidates, context):
        return Scores(candidates.ids, self.believed[0].astype(float))


@dataclasses.dataclass(frozen=True)
class Blind:
    """Finds nothing."""

    family = "membership"
    implementation = "test"
    threat_model = THREAT_MODEL

    def score(self, view, candidates, context):
        return Scores(candidates.ids, np.random.default_rng(context.seed).normal(size=len(candidates)))


@dataclasses.dataclass(frozen=True)
class Broken:
    """Raises."""

    family = "membership"
    implementation = "test"
    threat_model = THREAT_MODEL

    def score(self, view, candidates, context):
        raise RuntimeError("boom")


def named(attack):
    return NamedAttack(type(attack).__name__, attack, Identity("test", {}, ""))


@pytest.fixture
def where(small_setting, tmp_path):
    return dataclasses.replace(small_setting, store=Store(tmp_path))


def run(where, attacks, recipe=FOREST):
    identity = catalog.identity(recipe, "planted")
    planted = dataclasses.replace(small.spec(), model="planted", recipe=recipe, recipe_identity=identity)
    found = controls.run_controls(small.pool(where), planted, where, attacks)
    return {control.id: control for control in found}


def test_sound_instrument_passes_both(where):
    found = run(where, [small.attack("loss"), small.attack("lira")])
    assert found["shuffled_membership"].status == "passed", found["shuffled_membership"].reason
    assert found["planted_leak"].status == "passed", found["planted_leak"].reason
    assert found["planted_leak"].metrics["loss/auc"].low > controls.PLANTED_LEAST_AUC


def test_peeking_attack_fails_the_shuffled_control(where):
    # Peeks at the mask of target 0 as shuffled by the control: leaks exactly what an honest attack cannot know.
    order = controls.generator(where.seed, "control", "shuffled").permutation(len(where.split.pool))
    only_target_0 = dataclasses.replace(where, targets=np.arange(1))
    attack = named(Peeking(where.split.member[:, order]))
    found = run(only_target_0, [attack])["shuffled_membership"]
    assert found.status == "failed"
    assert "Peeking" in found.reason


def test_blind_instrument_fails_the_planted_control(where):
    found = run(where, [named(Blind())])["planted_leak"]
    assert found.status == "failed"
    assert "not caught by any of: Blind/auc" in found.reason


def test_one_blind_attack_among_seeing_ones_is_no_failure(where):
    found = run(where, [named(Blind()), small.attack("loss")])["planted_leak"]
    assert found.status == "passed"
    assert found.metrics["Blind/auc"].low < 0.5 < found.metrics["loss/auc"].low


def test_models_that_memorise_nothing_are_not_caught(where):
    assert run(where, [small.attack("loss")], TorchMLP(hidden=(2,), epochs=1))["planted_leak"].status == "failed"


def test_broken_attack_is_an_error_not_a_crash(where):
    found = run(where, [named(Broken())])
    assert {control.status for control in found.values()} == {"error"}
    assert "RuntimeError: boom" in found["planted_leak"].reason


def test_no_attack_at_all_is_an_error(where):
    found = run(where, [])["shuffled_membership"]
    assert (found.status, found.reason) == ("error", "no attack could run")


def test_every_step_that_starts_is_finished(where):
    seen = []
    run(dataclasses.replace(where, observe=seen.append), [small.attack("loss"), named(Blind())])
    started = [event.step for event in seen if isinstance(event, StepStarted)]
    finished = [event.step for event in seen if isinstance(event, StepFinished)]
    assert len(started) == 5  # the planted pool, and two attacks in each control
    assert started == finished
