"""A released model that draws noise, asked again and again."""

import dataclasses

import numpy as np
import pytest
import yaml
from privassay.harness import pipeline, plan
from privassay.harness.errors import InfrastructureError, UsageError
from privassay.harness.events import ignore
from privassay.harness.kept_answers import BATCH
from privassay.harness.named_target import Likeness, NamedTarget
from privassay.harness.protocols import Released
from privassay.harness.released import released_pool
from privassay.harness.store import Store
from privassay.harness.types import Candidates, Dataset, Identity, Split, ThreatModel
from privassay.harness.view import TargetView
from privassay.tests.support import released, small

N = 3 * BATCH + 8
X = np.random.default_rng(0).random((N, 2), dtype=np.float32)
DATA = Dataset("noise", X, np.arange(N) % 3, 3, (0.0, 1.0), False, "none")
SPLIT = Split(np.arange(N), np.arange(0), np.arange(N)[None] % 2 == 0, released=True)


class Noisy:
    """Draws every answer anew, and keeps what it said about each record; silent after `reach` questions."""

    answers = "probabilities"

    def __init__(self, seed, reach=10**9):
        self.rng, self.reach, self.said = np.random.default_rng(seed), reach, []

    def predict(self, x):
        if sum(map(len, self.said)) + len(x) > self.reach:
            raise InfrastructureError("http://host/invocations: no answer")
        self.said.append(self.rng.dirichlet([1.0, 2.0, 3.0], len(x)))
        return self.said[-1]


def pool(model, folder, repeats, identity="endpoint"):
    opened = Released(model, "http://host/invocations", "")
    spec = dataclasses.replace(small.spec(), model="api", defense_name="released")
    where, likeness = "a.yaml: targets.api", Likeness(steady=False)
    named = NamedTarget("api", where, Identity(identity, {}, "0"), opened, spec, False, likeness, repeats=repeats)
    return released_pool(named, (DATA, SPLIT), Store(folder), 0, ignore)


def test_the_mean_is_that_of_what_was_said(tmp_path):
    model = Noisy(1)
    found = pool(model, tmp_path, repeats=3)
    rounds = np.concatenate(model.said).reshape(3, N, 3)
    for repeats in (1, 2, 3):
        np.testing.assert_allclose(found.released(0, repeats), rounds[:repeats].mean(axis=0), rtol=1e-5)
    assert (found.origin().queries, found.origin().kept_answers) == (3 * N, 0)
    again = pool(Noisy(2), tmp_path, repeats=3)
    np.testing.assert_array_equal(again.released(0, 3), found.released(0, 3))
    assert again.keys == found.keys
    assert (again.origin().queries, again.origin().kept_answers) == (0, 3 * N)


def test_what_was_asked_once_is_the_first_round_of_who_asks_more(tmp_path):
    first, more = Noisy(1), Noisy(2)
    once = pool(first, tmp_path, repeats=1)
    thrice = pool(more, tmp_path, repeats=3)
    assert sum(map(len, more.said)) == 2 * N
    np.testing.assert_array_equal(thrice.released(0, 1), once.released(0))
    assert thrice.keys != once.keys
    assert "it answers the same question differently: an attack with `repeats` would" in once.origin().notes[-1]
    assert all("differently" not in note for note in thrice.origin().notes)


def test_a_model_that_falls_silent_in_the_second_round_goes_on_there(tmp_path):
    with pytest.raises(InfrastructureError, match="no answer"):
        pool(Noisy(1, reach=N + BATCH + 5), tmp_path, repeats=2)
    found = pool(Noisy(2), tmp_path, repeats=2)
    assert (found.origin().queries, found.origin().kept_answers) == (N - BATCH, N + BATCH)


def test_other_records_are_asked_about_as_often(tmp_path):
    model = Noisy(1)
    found = pool(model, tmp_path, repeats=4)
    model.said.clear()
    granted = ThreatModel("probabilities", False, False, 0, 1)
    view = TargetView(found.deployed(0, Candidates(np.arange(N), X, DATA.y), 4), granted, ((2,), None, 3), 10)
    x = np.concatenate([X[[7]], -X[:2]])
    answers = view.predict(x)
    np.testing.assert_allclose(answers[0], found.released(0, 4)[7])
    np.testing.assert_allclose(answers[1:], np.mean(model.said, axis=0), rtol=1e-5)
    assert [len(part) for part in model.said] == [2] * 4
    assert found.origin().queries == 4 * N + 8


def test_who_sees_labels_only_counts_votes(tmp_path):
    found = pool(Noisy(1), tmp_path, repeats=7)
    deployed = found.deployed(0, Candidates(np.arange(N), X, DATA.y), 7)
    view = TargetView(deployed, ThreatModel("labels", False, False, 0, 1), ((2,), None, 3), N)
    votes = np.stack([answers.argmax(axis=1) for answers in found.rounds(0, 7)])
    counts = np.stack([(votes == label).sum(axis=0) for label in range(3)], axis=1)
    voted = view.predict_labels(X)
    np.testing.assert_array_equal(voted, counts.argmax(axis=1))
    assert (voted != found.released(0, 7).argmax(axis=1)).any()  # the mean would have said otherwise


def test_a_model_that_never_changes_its_mind_says_so(tmp_path):
    class Steady(Noisy):
        def predict(self, x):
            return np.tile([0.2, 0.3, 0.5], (len(x), 1))

    assert pool(Steady(0), tmp_path, repeats=2).origin().notes[-1] == (
        "it gave the same answers all 2 times it was asked: `repeats` changes nothing"
    )


CODE = """
import joblib
import numpy as np
from pathlib import Path

def opened():
    forest, rng = joblib.load(Path(__file__).with_name("forest.joblib")), np.random.default_rng(0)

    def predict(x):
        noisy = np.maximum(forest.predict_proba(x) + rng.normal(scale=0.5, size=(len(x), 10)), 1e-6)
        return noisy / noisy.sum(axis=1, keepdims=True)

    return predict
"""


def test_noise_before_the_answers_of_a_users_model_averages_away(tmp_path):
    import joblib

    joblib.dump(released.write_table(tmp_path), tmp_path / "forest.joblib")
    (tmp_path / "noisy_forest.py").write_text(CODE)
    path = tmp_path / "released.yaml"
    content = {
        "name": "noisy",
        "metrics": {"fprs": [0.1], "resamples": 100},
        "evaluation_classifier": {"component": "sklearn_random_forest", "n_estimators": 10},
        "data": {"component": "table", "path": "records.csv", "target": "label", "member": "member"},
        "targets": {"forest": {"component": "python", "predict": "noisy_forest:opened"}},
        "attacks": {"loss": {}, "patient": {"component": "loss", "repeats": 25}},
    }
    path.write_text(yaml.safe_dump(content))
    evidence = pipeline.run(plan.make(path), tmp_path, ignore)
    once, patient = evidence.candidates[0].attacks
    assert patient.metrics["auc"].low > once.metrics["auc"].high
    assert (once.threat_model.query_budget, patient.threat_model.query_budget) == (1, 25)
    assert evidence.candidates[0].origin.queries == 25 * 600


def test_a_table_holds_one_answer(tmp_path):
    released.write_predictions(tmp_path)
    path = tmp_path / "released.yaml"
    target = {"component": "predictions", "path": "predictions.csv"}
    content = {"name": "table", "targets": {"forest": target}, "attacks": {"loss": {"repeats": 2}}}
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError) as raised:
        plan.make(path)
    assert str(raised.value) == f"{path}: attacks.loss.repeats: a table holds one answer for each record"
