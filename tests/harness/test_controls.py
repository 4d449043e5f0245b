"""The instrument's own checks must fire on a broken instrument."""

import dataclasses
import itertools

import numpy as np
import pytest
from privassay.harness import catalog, controls
from privassay.harness.errors import NotApplicable
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
    """Reads the answers from where an attack has no business: the masks the harness believes in, target by target."""

    believed: object
    family = "membership"
    implementation = "test"
    threat_model = THREAT_MODEL

    def score(self, view, candidates, context):
        return Scores(candidates.ids, next(self.believed).astype(float))


@dataclasses.dataclass(frozen=True)
class Blind:
    """Finds nothing."""

    family = "membership"
    implementation = "test"
    threat_model = THREAT_MODEL

    def score(self, view, candidates, context):
        return Scores(candidates.ids, np.random.default_rng(context.seed).normal(size=len(candidates)))


@dataclasses.dataclass(frozen=True)
class Backwards:
    """Takes members for non-members."""

    family = "membership"
    implementation = "test"
    threat_model = small.attack("loss").attack.threat_model

    def score(self, view, candidates, context):
        scores = small.attack("loss").attack.score(view, candidates, context)
        return Scores(scores.ids, -scores.values)


@dataclasses.dataclass(frozen=True)
class Absent:
    """Cannot run."""

    family = "membership"
    implementation = "test"
    threat_model = THREAT_MODEL

    def score(self, view, candidates, context):
        raise NotApplicable("not here")


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


def run(where, attacks, recipe=FOREST, primary=None):
    identity = catalog.identity(recipe, "planted")
    planted = dataclasses.replace(small.spec(), model="planted", recipe=recipe, recipe_identity=identity)
    found = controls.run_controls(small.pool(where), planted, where, attacks, primary)
    return {control.id: control for control in found}


def test_sound_instrument_passes_both(where):
    found = run(where, [small.attack("loss"), small.attack("lira")])
    assert found["shuffled_membership"].status == "passed", found["shuffled_membership"].reason
    assert found["planted_leak"].status == "passed", found["planted_leak"].reason
    assert found["planted_leak"].metrics["loss/auc"].low > controls.PLANTED_LEAST_AUC


def test_peeking_attack_fails_the_shuffled_control(where):
    # Peeks at the masks as shuffled by the control: leaks exactly what an honest attack cannot know.
    order = controls.generator(where.seed, "control", "shuffled").permutation(len(where.split.pool))
    attack = named(Peeking(itertools.cycle(where.split.member[:, order])))
    found = run(where, [attack])["shuffled_membership"]
    assert found.status == "failed"
    assert "Peeking" in found.reason


def test_the_controls_do_not_rest_on_one_pair_however_few_targets_the_run_attacks(where):
    found = run(dataclasses.replace(where, targets=np.arange(1)), [small.attack("loss")])
    for control in found.values():
        auc = control.metrics["loss/auc"]
        assert auc.level == controls.SHUFFLED_LEVEL
        assert "mean over 6 target models; percentile bootstrap, 5000 resamples" in auc.method  # the run asks for 100


def test_blind_instrument_fails_the_planted_control(where):
    found = run(where, [named(Blind())])["planted_leak"]
    assert found.status == "failed"
    assert "not caught by any of: Blind/auc" in found.reason


def test_one_blind_attack_among_seeing_ones_fails_as_the_primary_only(where):
    attacks = [named(Blind()), small.attack("loss")]
    for primary in ("loss", None):
        found = run(where, attacks, primary=primary)["planted_leak"]
        assert (found.status, found.reason) == ("passed", "")
        assert found.metrics["Blind/auc"].low < 0.5 < found.metrics["loss/auc"].low
    found = run(where, attacks, primary="Blind")["planted_leak"]
    assert (found.status, found.reason) == ("failed", "the planted leak was not caught by any of: Blind/auc")
    assert found.expectation.startswith("Blind/auc catches")


def test_a_primary_that_cannot_run_leaves_it_to_the_others(where):
    found = run(where, [named(Absent()), small.attack("loss")], primary="Absent")["planted_leak"]
    assert (found.status, list(found.metrics)) == ("passed", ["loss/auc"])
    assert found.expectation.startswith("some attack catches")


def test_an_attack_that_is_worse_than_guessing_fails_the_planted_control(where):
    found = run(where, [named(Backwards()), small.attack("loss")], primary="loss")
    assert found["shuffled_membership"].status == "passed"
    assert found["planted_leak"].status == "failed"
    assert found["planted_leak"].reason == "the wrong way round on the planted leak: Backwards/auc"


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
