"""Two classes: through every recipe, every attack, and a run with its report."""

import dataclasses

import numpy as np
import pytest
import yaml
from privassay.experiments.digits import Digits
from privassay.harness import catalog, pipeline, plan
from privassay.harness.cache import cache_folder
from privassay.harness.evaluation import ArtifactWriter, evaluate
from privassay.harness.events import ignore
from privassay.harness.inversion_metrics import train_judge
from privassay.harness.protocols import task_of
from privassay.harness.types import TrainingData
from privassay.models.sklearn_random_forest import SklearnRandomForest
from privassay.tests.contract.test_models_and_defenses import RECIPES, keras_marked, recipe
from privassay.tests.support import small

ATTACKS = {"art_miface": {"max_iter": 5}, "art_boundary": {"max_records": 20, "queries": 60}}


def even_or_odd():
    digits = Digits().load()
    return dataclasses.replace(digits, name="even or odd", y=digits.y % 2, n_classes=2)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    where = small.setting(tmp_path_factory.mktemp("binary"))
    return dataclasses.replace(where, dataset=even_or_odd())


@pytest.mark.parametrize("name", keras_marked(RECIPES))
def test_every_recipe_answers_in_two_classes(name, tmp_path):
    made = recipe(name)
    if task_of(made) == "regression":
        pytest.skip("a regressor has no classes")
    whole = even_or_odd()
    data = TrainingData(whole.x[:400], whole.y[:400], 2, whole.bounds)
    model = made.fit(data, np.arange(150), 0)
    logits = model.logits(data.x)
    assert logits.shape == (400, 2)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert (logits[:150].argmax(axis=1) == data.y[:150]).mean() > 0.7
    model.save(tmp_path)
    if name != "python":  # a model of the user's code is not kept
        assert np.array_equal(made.load(tmp_path, data.shape, 2).logits(data.x), logits)


@pytest.mark.parametrize("name", sorted(catalog.BUILT_IN["attacks"]))
def test_every_attack_runs_on_two_classes(name, setting, tmp_path):
    named = small.attack(name, **ATTACKS.get(name, {}))

    def judge():
        return train_judge(SklearnRandomForest(n_estimators=10), setting.dataset, 0, 0.95)

    result = evaluate(named, small.pool(setting), setting, judge, ArtifactWriter(tmp_path))
    assert (result.status, result.reason) == ("ok", "")
    assert result.metrics


def run(folder, data):
    content = {
        "name": "binary",
        "seed": 0,
        "data": data,
        "pool": {"models": 6, "records": 300},
        "models": {"mlp": {"component": "torch_mlp", "hidden": [64], "epochs": 60, "batch_size": 16}},
        "defenses": {"none": {}, "class_labels": {}},
        "attacks": {"loss": {}, "lira": {}, "confidence": {}},
        "primary": "lira",
        "metrics": {"fprs": [0.1], "resamples": 100},
    }
    (folder / "binary.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    found = pipeline.run(plan.make(folder / "binary.yaml"), folder / "out", ignore)
    return found, (folder / "out" / "report.html").read_text()


def check(found, report, classes):
    assert {control.status for control in found.controls} == {"passed"}
    plain, labels = found.candidates
    assert set(plain.utility) == {"train_accuracy", "heldout_accuracy"}
    assert plain.utility["train_accuracy"].value > 0.9
    assert labels.utility["heldout_accuracy"].value == plain.utility["heldout_accuracy"].value
    assert {group.value for group in plain.groups if group.column == "class"} == classes
    assert all(attack.status == "ok" for attack in plain.attacks)
    assert found.provenance.data.classes == 2
    assert "binary" in report


def test_a_run_on_even_or_odd_digits_from_a_table(tmp_path):
    digits = Digits().load()
    names = np.array(["even", "odd"])
    np.savez(tmp_path / "digits.npz", x=digits.x, parity=names[digits.y % 2])
    table = {"path": "digits.npz", "target": "parity", "positive": "odd", "ranges": {"x": [0.0, 1.0]}}
    check(*run(tmp_path, {"component": "table", **table}), {"even", "odd"})


@pytest.mark.slow
def test_a_run_on_german_credit(tmp_path):
    if not list(cache_folder().glob("german_credit/*")):
        pytest.skip(f"german_credit is not in {cache_folder()}: tests download nothing")
    found, report = run(tmp_path, {"component": "german_credit"})
    check(found, report, {"0", "1"})
    lira = next(attack for attack in found.candidates[0].attacks if attack.id == "lira")
    assert lira.metrics["auc"].low > 0.6, "300 loans are remembered"
