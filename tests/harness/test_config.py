"""Experiment files: what is accepted, and the one line that each mistake gets."""

import pytest
from privassay.harness import config, plan
from privassay.harness.errors import UsageError
from privassay.tests.support.experiments import write


def test_defaults_and_candidates(tmp_path):
    loaded = config.load(write(tmp_path))
    assert loaded.candidate_pairs() == [("mlp", "none"), ("mlp", "output_perturbation")]
    assert loaded.metrics.level == 0.95
    assert config.load(write(tmp_path, candidates=["mlp/none"])).candidate_pairs() == [("mlp", "none")]


def test_overrides_are_yaml_values(tmp_path):
    loaded = config.load(write(tmp_path), ["pool.models=8", "metrics.fprs=[0.05]", "models.mlp.hidden=[4, 4]"])
    assert loaded.pool.models == 8
    assert loaded.metrics.fprs == (0.05,)
    assert loaded.models["mlp"]["hidden"] == [4, 4]


@pytest.mark.parametrize("override", ["pool.models", "=3", "name.x=1", "pool..models=1"])
def test_bad_override(tmp_path, override):
    with pytest.raises(UsageError, match="--set"):
        config.load(write(tmp_path), [override])


BAD = {
    "misspelt key": ({"metrics": {"resample": 100}}, "metrics: unknown key 'resample', did you mean 'resamples'"),
    "misspelt section": ({"atacks": {}}, "unknown key 'atacks', did you mean 'attacks'"),
    "missing section": ({"models": None}, "models: missing (or name targets"),
    "no attack": ({"attacks": None}, "attacks: none; name some, or set suite: auto"),
    "wrong type": ({"pool__models": "many"}, "pool.models='many': must be a whole number"),
    "percent for fraction": ({"metrics__fprs": [1.0]}, "fractions between 0 and 1"),
    "unknown attack": ({"attacks__lirra": {}}, "unknown attack 'lirra', did you mean 'lira'?"),
    "unknown defence": ({"defenses__dpsgd": {}}, "unknown defense 'dpsgd', did you mean 'dp_sgd'?"),
    "unknown model": ({"models__mlp__component": "torch_mpl"}, "unknown model 'torch_mpl', did you mean 'torch_mlp'?"),
    "unknown data": ({"data": {"component": "digit"}}, "unknown dataset 'digit', did you mean 'digits'?"),
    "misspelt parameter": (
        {"models__mlp__epohcs": 3},
        "models.mlp: unknown key 'epohcs', did you mean 'epochs'",
    ),
    "parameter of wrong type": ({"models__mlp__epochs": "ten"}, "models.mlp: epochs='ten': must be a whole number"),
    "parameter out of range": ({"models__mlp__epochs": 0}, "models.mlp: epochs=0: must be > 0"),
    "unknown candidate": ({"candidates": ["mlp/dp"]}, "candidates: 'mlp/dp' is not MODEL/DEFENSE"),
    "release is no candidate": ({"release": "mlp/dp_sgd"}, "release: 'mlp/dp_sgd' is not a candidate"),
    "odd pool": ({"pool__models": 7}, "pool.models=7: must be an even number"),
    "too few records": ({"pool__records": 1796}, "fewer than the 1806 that the split needs"),
    "more targets than models": ({"pool__targets": 99}, "pool.targets=99: must be at most pool.models=6"),
    "missing policy": ({"policy": "nowhere.yaml"}, "nowhere.yaml: cannot be read"),
    "name with slash": ({"attacks__a/b": {"component": "loss"}}, "attacks.a/b"),
    "name too long": ({"name": "x" * 100}, "name="),
    "seed too large": ({"seed": 10**30}, "seed="),
    "candidate twice": ({"candidates": ["mlp/none", "mlp/none"]}, "candidates: each may be named once"),
    "no candidate": ({"candidates": []}, "candidates=[]"),
    "too few resamples": (
        {"metrics": {"level": 0.99, "resamples": 399}},
        "metrics: resamples=399: must be at least 400 for level=0.99",
    ),
    "FPR twice": ({"metrics__fprs": [0.1, 0.1]}, "distinct fractions"),
    "too few references": (
        {"pool__models": 4},
        "attacks.lira: needs 4 reference models, pool.models=4 leaves 2; must be at least 6",
    ),
    "too few references to tune a": (
        {"pool__models": 4, "attacks": {"mine": {"component": "rmia", "online": False}}},
        "attacks.mine: needs 4 reference models, pool.models=4 leaves 2; must be at least 6",
    ),
    "delta too large": (
        {"defenses": {"dp_sgd": {"target_delta": 0.01}}},
        "candidate mlp/dp_sgd: target_delta=0.01: must be below 1 / 100",
    ),
    "audit of nobody": ({"audit": {"candidates": ["mlp/dp"]}}, "audit.candidates: 'mlp/dp' is not a candidate"),
    "audit by a misspelt kind": ({"audit": {"kind": "mislabeled"}}, "audit.kind='mislabeled': must be 'mislabelled'"),
    "too many canaries for the pool": (
        {"audit": {"canaries": 101}},
        "audit.canaries=101: must be at most 100 for kind=mislabelled: they take the place of half of pool.records=200",
    ),
    "too many duplicates for the pool": (
        {"audit": {"canaries": 51, "kind": "mislabelled_duplicates"}},
        "audit.canaries=51: must be at most 50 for kind=mislabelled_duplicates",
    ),
    "too many canaries for delta": (
        {"audit": {"canaries": 100, "delta": 1e-3}},
        "audit: canaries=100: must be at most 10, 0.01 / delta for delta=0.001",
    ),
    "odd number of guesses": (
        {"audit": {"canaries": 100, "guesses": 21}},
        "audit: guesses=21: must be even and at most canaries=100",
    ),
    "more guesses than canaries": ({"audit": {"canaries": 20, "guesses": 22}}, "audit: guesses=22: must be even and"),
    "no training run": ({"audit": {"models": 0}}, "audit.models=0: must be"),
    "more canaries than delta allows, over all runs": (
        {"audit": {"canaries": 100, "models": 11}},
        "audit: canaries=1100: must be at most 1000, 0.01 / delta for delta=1e-05",
    ),
    "own features for images": (
        {"audit": {"canaries": 100, "kind": "own_feature"}},
        "audit: kind='own_feature': records of shape (8, 8) are not flat rows",
    ),
    "delta too large with canaries": (
        {
            "defenses": {"dp_sgd": {"target_delta": 0.008}},
            "audit": {"canaries": 100, "delta": 1e-5},
        },
        "audit of mlp/dp_sgd: target_delta=0.008: must be below 1 / 200",
    ),
    "more canaries than the claim's delta allows": (
        {"defenses": {"dp_sgd": {"target_delta": 1e-3}}, "audit": {"canaries": 80}},
        "audit of mlp/dp_sgd: canaries=80: must be at most 10, 0.01 / delta for delta=0.001",
    ),
    "defence that does not fit": (
        {"models": {"forest": {"component": "sklearn_random_forest"}}, "defenses": {"dp_sgd": {}}},
        "candidate forest/dp_sgd: DP-SGD is not available for sklearn recipes",
    ),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD.keys())
def test_each_mistake_is_one_line(tmp_path, changes, message):
    path = write(tmp_path, **changes)
    with pytest.raises(UsageError) as error:
        plan.make(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert (
        "tiny.yaml" in str(error.value)
        or "pool." in str(error.value)
        or "digits" in str(error.value)
        or ("nowhere" in str(error.value))
    )


@pytest.mark.parametrize(("level", "resamples"), [(0.95, 100), (0.96, 100), (0.99, 400), (0.999, 4000)])
def test_as_many_resamples_as_the_level_needs_are_enough(tmp_path, level, resamples):
    found = config.load(write(tmp_path, metrics={"level": level, "resamples": resamples})).metrics
    assert (found.level, found.resamples) == (level, resamples)


def test_the_audit_section(tmp_path):
    assert config.load(write(tmp_path)).audit is None
    found = config.load(write(tmp_path, audit={})).audit
    assert (found.canaries, found.kind, found.made, found.models, found.delta) == (300, "mislabelled", 60, 1, 1e-5)
    assert found.covers("mlp/none")
    named = config.load(write(tmp_path, audit={"candidates": ["mlp/none"], "canaries": 4})).audit
    assert (named.covers("mlp/none"), named.covers("mlp/output_perturbation"), named.made) == (True, False, 2)
    assert plan.make(write(tmp_path, audit={"canaries": 100})).run_id != plan.make(write(tmp_path)).run_id


def test_a_section_without_a_value_is_empty(tmp_path):
    assert config.load(write(tmp_path, defenses={"none": None})).defenses == {"none": {}}


def test_run_id_is_for_results_only(tmp_path):
    first = plan.make(write(tmp_path)).run_id
    assert plan.make(write(tmp_path)).run_id == first
    assert plan.make(write(tmp_path), ["description=other words"]).run_id == first
    assert plan.make(write(tmp_path), ["models.mlp.epochs=21"]).run_id != first
    assert plan.make(write(tmp_path), ["seed=1"]).run_id != first
