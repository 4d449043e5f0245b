"""Answers that are kept: those of a training function's models, which are gone, and those of a released model."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from privassay.harness import catalog
from privassay.harness.answers import BATCH, NamedTarget
from privassay.harness.columns import CategoryColumn, RecordColumns
from privassay.harness.errors import InfrastructureError
from privassay.harness.evaluation import run_membership
from privassay.harness.events import ignore
from privassay.harness.protocols import Released
from privassay.harness.released import released_pool
from privassay.harness.store import Store
from privassay.harness.training import train_pool
from privassay.harness.types import Dataset, Identity, Split
from privassay.tests.support import small

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
