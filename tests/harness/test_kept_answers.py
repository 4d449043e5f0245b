"""A user's training function: its models are gone after training, their answers are not."""

import dataclasses
from pathlib import Path

import numpy as np
from privassay.harness import catalog
from privassay.harness.evaluation import run_membership
from privassay.harness.store import Store
from privassay.harness.training import train_pool
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
