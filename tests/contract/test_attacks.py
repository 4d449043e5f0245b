"""What every catalogued attack must fulfil, whoever wrote it."""

import dataclasses

import numpy as np
import pytest
from privassay.harness import catalog
from privassay.harness.controls import SHUFFLED_LEVEL
from privassay.harness.evaluation import ArtifactWriter, evaluate, run_inversion, run_membership
from privassay.harness.inversion_metrics import train_judge
from privassay.harness.metrics import membership_metrics
from privassay.harness.protocols import InversionAttack, MembershipAttack
from privassay.harness.stats import Resampling
from privassay.harness.store import Store
from privassay.harness.types import ACCESS_LEVELS, ThreatModel
from privassay.models.sklearn_random_forest import SklearnRandomForest
from privassay.tests.support import small

NAMES = list(catalog.targets("attacks"))
QUICK = {  # forests of ART's attack model take most of the time; its own tests have them
    "art_black_box": {"attack_model_type": "dt"},
    "art_black_box_knows_members": {"attack_model_type": "dt"},
    "art_boundary": {"max_records": 20, "queries": 60},
    "art_miface": {"max_iter": 5},
}


def named(name):
    return small.attack(name, **QUICK.get(name, {}))


def run(name, pool, setting):
    attack = named(name)
    if attack.attack.family == "membership":
        return run_membership(attack, pool, setting).scores
    return run_inversion(attack, pool, setting)


def judged(setting):
    return train_judge(SklearnRandomForest(n_estimators=10), setting.dataset, 0, 0.95)


def fresh(setting, folder):
    """The same setting with a store that holds nothing of earlier attacks."""
    return dataclasses.replace(setting, store=Store(folder))


@pytest.mark.parametrize("name", NAMES)
def test_declares_what_it_is(name):
    attack = named(name).attack
    assert dataclasses.is_dataclass(attack)
    assert attack.__dataclass_params__.frozen
    assert isinstance(attack.threat_model, ThreatModel)
    assert attack.threat_model.access in ACCESS_LEVELS
    assert attack.threat_model.query_budget >= 1
    assert attack.implementation
    protocol = {"membership": MembershipAttack, "inversion": InversionAttack}[attack.family]
    assert isinstance(attack, protocol)
    assert type(attack).__doc__


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("defense", ["none", "output_perturbation"])
def test_runs_within_its_threat_model_and_is_measured(name, defense, small_setting, tmp_path):
    # The view refuses what the threat model does not grant, so status ok means that the attack kept to it.
    pool = small.pool(small_setting, defense)
    files = ArtifactWriter(tmp_path)
    result = evaluate(named(name), pool, small_setting, lambda: judged(small_setting), files)
    files.publish()
    assert (result.status, result.reason) == ("ok", "")
    assert result.metrics
    for artifact in files.written:
        assert (tmp_path / artifact.path).is_file()
        assert artifact.restricted == artifact.path.startswith("restricted/")


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bytes(name, small_setting, tmp_path):
    where = dataclasses.replace(small_setting, targets=np.arange(2))
    first, second = (run(name, small.pool(where), fresh(where, tmp_path / part)) for part in ("a", "b"))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("name", [n for n in NAMES if named(n).attack.family == "membership"])
def test_chance_when_membership_says_nothing(name, small_setting, tmp_path):
    # Attacker and metrics believe in masks that nobody trained on: an attack that peeks would be right about them.
    order = np.random.default_rng(7).permutation(len(small_setting.split.pool))
    believed = dataclasses.replace(small_setting.split, member=small_setting.split.member[:, order])
    where = dataclasses.replace(fresh(small_setting, tmp_path), split=believed)
    pool = small.pool(small_setting)
    resampling = Resampling(level=SHUFFLED_LEVEL)  # so many attacks at 95 %: one would fail by chance
    auc = membership_metrics(run_membership(named(name), pool, where), (), resampling)["auc"]
    assert auc.low <= 0.5 <= auc.high
    assert auc.high < 0.8  # whoever peeks has 1.0


@pytest.mark.parametrize("name", [n for n in NAMES if named(n).attack.threat_model.reference_models])
def test_refuses_without_enough_references(name, small_setting, tmp_path):
    few = dataclasses.replace(small_setting.split, member=small_setting.split.member[:2])
    where = dataclasses.replace(fresh(small_setting, tmp_path), split=few, targets=np.arange(2))
    pool = small.pool(small_setting)
    result = evaluate(named(name), pool, where, lambda: judged(where), ArtifactWriter(tmp_path))
    assert result.status == "not_run"
    assert "reference models" in result.reason
    assert result.metrics == {}
