"""Answers that are kept: those of a training function's models, which are gone, and those of a released model."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from privassay.harness import catalog
from privassay.harness.columns import CategoryColumn, RecordColumns
from privassay.harness.errors import InfrastructureError
from privassay.harness.evaluation import run_membership
from privassay.harness.events import ignore
from privassay.harness.kept_answers import BATCH, finish
from privassay.harness.named_target import NamedTarget, likeness_of
from privassay.harness.protocols import Released
from privassay.harness.released import released_pool
from privassay.harness.store import Store
from privassay.harness.training import train_pool
from privassay.harness.types import Dataset, Identity, Split
from privassay.tests.support import small
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier

FOLDER = Path(__file__).parents[1] / "support" / "user_code"


def test_attacks_that_ask_about_auxiliary_records_run_on_what_was_kept(tmp_path):
    where = dataclasses.replace(small.setting(tmp_path, models=4), store=Store(tmp_path))
    recipe = catalog.build("models", "python", {"train": "user_models:train"}, "test", FOLDER)
    identity = catalog.identity(recipe, "python")
    spec = dataclasses.replace(small.spec(), recipe=recipe, recipe_identity=identity)
    pool = train_pool(spec, (where.dataset, where.split), where.store, 0, where.observe)
    for name in ("attack_p", "quantile_regression", "rmia"):
        scores = run_membership(small.attack(name), pool, where).scores
        assert np.isfinite(scores).all()
        assert scores.std() > 0
    assert identity.parameters["train"]["function"] == "user_models:train"
    assert len(identity.parameters["train"]["sha256"]) == 64


class Counting:
    """Answers the same to everything, and counts what it was asked."""

    answers = "probabilities"
    asked = 0

    def predict(self, x):
        self.asked += len(x)
        return np.full((len(x), 2), 0.5)


def test_other_cells_behind_the_same_features_are_asked_about_again(tmp_path):
    """A code is but a name: a model that is asked with cells was asked about other records."""
    x = (np.arange(8) % 2).astype(np.float32)[:, None]
    split = Split(np.arange(8), np.arange(0), np.arange(8)[None] % 2 == 0, released=True)
    model = Counting()
    for names, asked in ((("clerk", "smith"), 8), (("clerk", "smith"), 8), (("clerk", "nurse"), 16)):
        file = pd.DataFrame({"job": np.array(names)[np.arange(8) % 2]})
        columns = RecordColumns((CategoryColumn("job", names, coded=True),), x, file)
        data = Dataset("jobs", x, np.arange(8) % 2, 2, (0.0, 1.0), False, "none", columns=columns)
        named = NamedTarget("m", "here", Identity("file", {}, "0"), Released(model, "m", "1"), small.spec(), False)
        released_pool(named, (data, split), Store(tmp_path), 0, ignore)
        assert model.asked == asked


class Requests:
    """Answers with what each record holds, remembers how many records each request held, and falls silent."""

    answers = "probabilities"

    def __init__(self, last=10**9):
        self.sizes, self.last = [], last

    def predict(self, x):
        if len(self.sizes) == self.last:
            raise InfrastructureError("no answer")
        self.sizes.append(len(x))
        return np.hstack([x, 1 - x]).astype(np.float64)


def test_a_question_holds_as_many_blocks_as_go_and_each_is_kept_by_itself(tmp_path):
    n = 5 * BATCH + 3
    x = np.random.default_rng(0).random((n, 1), dtype=np.float32)
    data = Dataset("api", x, np.arange(n) % 2, 2, (0.0, 1.0), False, "none")
    split = Split(np.arange(n), np.arange(0), np.arange(n)[None] % 2 == 0, released=True)

    def asked(model, batch_size):
        opened = Released(model, "http://host", "", batch_size=batch_size)
        named = NamedTarget("m", "here", Identity("endpoint", {}, "0"), opened, small.spec(), False)
        pool = released_pool(named, (data, split), Store(tmp_path), 0, ignore)
        np.testing.assert_allclose(pool.released(0)[:, 0], x[:, 0], rtol=1e-5)
        return model.sizes

    with pytest.raises(InfrastructureError):
        asked(stopped := Requests(last=1), batch_size=2 * BATCH + 5)
    assert stopped.sizes == [2 * BATCH]
    assert asked(Requests(), batch_size=3 * BATCH) == [BATCH, 2 * BATCH + 3]
    assert asked(Requests(), batch_size=1) == []


class Says:
    """A fitted model, asked for probabilities or labels."""

    def __init__(self, model, answers):
        self.model, self.answers, self.asked = model, answers, 0

    def predict(self, x):
        self.asked += len(x)
        found = self.model.predict_proba(x)
        return np.eye(2)[found.argmax(axis=1)] if self.answers == "labels" else found


@pytest.fixture(scope="module")
def tumours():
    """Records of a data set whose classes are easily told apart, and forests on random halves of it."""
    x, y = load_breast_cancer(return_X_y=True)
    data = Dataset("tumours", x.astype(np.float32), y, 2, (0.0, 1.0), False, "none")
    rng, forests = np.random.default_rng(0), []
    for k in range(12):
        half = rng.permutation(len(x))[: len(x) // 2]
        forests.append(RandomForestClassifier(30, random_state=k, n_jobs=1).fit(data.x[half], y[half]))
    return data, forests


def test_what_counts_as_recognised_tells_a_forest_from_one_that_was_trained_again(tumours):
    data, forests = tumours
    probabilities = [likeness_of(Released(Says(forest, "probabilities"), "m", ""), data) for forest in forests]
    telling = [likeness.digest for likeness in probabilities if likeness.telling]
    assert len(set(telling)) == len(telling) > len(forests) / 2  # the others said 0 or 1 nearly everywhere
    labels = [likeness_of(Released(Says(forest, "labels"), "m", ""), data) for forest in forests]
    assert not any(likeness.telling for likeness in labels)
    assert len({likeness.digest for likeness in labels}) < len(forests) / 2  # they would have been taken for each other


def test_labels_of_a_finished_run_are_asked_for_again_those_of_a_stopped_one_are_not(tmp_path, tumours):
    data, (first, second, *_) = tumours
    n, store = len(data), Store(tmp_path)
    split = Split(np.arange(n), np.arange(0), np.arange(n)[None] % 2 == 0, released=True)

    def run(forest, answers, finished):
        model = Says(forest, answers)
        opened = Released(model, "m", "")
        seen = likeness_of(opened, data)
        named = NamedTarget("m", "here", Identity("endpoint", {}, "0"), opened, small.spec(), False, seen)
        pool = released_pool(named, (data, split), store, 0, ignore)
        expected = forest.predict_proba(data.x)
        expected = np.eye(2)[expected.argmax(axis=1)] if answers == "labels" else expected
        assert np.allclose(pool.released(0), expected, atol=1e-6) == (model.asked > 32)
        if finished:
            finish(named, store)
        return model.asked - 32, pool.origin().notes

    assert run(first, "labels", finished=False)[0] == n
    asked, notes = run(second, "labels", finished=True)  # what cannot be told is said
    assert asked == 0
    assert notes[0].startswith(f"{n} answers are those of a run that was stopped, and whether the model is still the")
    assert ", little tells: remove the store" in notes[0]
    assert run(second, "labels", finished=True)[0] == n
    assert run(first, "probabilities", finished=True)[0] == n
    assert run(second, "probabilities", finished=True)[0] == n
