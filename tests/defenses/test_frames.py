"""Defences before a training function that takes frames of cells: refused in advance, or trained without a word."""

import dataclasses

import numpy as np
import pytest
from privassay.defenses.k_anonymity import KAnonymity
from privassay.harness import catalog
from privassay.harness.types import TrainingData

CODE = """
import numpy as np

def train(x, y, n_classes, seed):
    shares = {job: (y[(x["job"] == job).to_numpy()] == 1).mean() for job in x["job"].unique()}

    def predict(records):
        second = np.array([shares.get(job, 0.5) for job in records["job"]])
        return np.stack([1 - second, second], axis=1)

    return predict
"""
PARAMETERS = {
    "bolt_on": {"target_delta": 1e-3},
    "convex_output_perturbation": {"target_delta": 1e-3},
    "dp_sgd": {"target_delta": 1e-3},
    "pate": {"target_delta": 1e-3, "teachers": 2, "queries": 100},
}
REFUSED = {
    "bolt_on": "needs a convex model",
    "distillation": "distillation is not available for python recipes",
    "k_anonymity": "k=5: this python recipe takes the cells of the user's file, and k-anonymity makes up records that",
    "mixup": "mixup is not available for python recipes",
}
TRAINED = {"none", "class_labels", "gaussian_noise", "pate"}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    (folder / "code_for_frames.py").write_text(CODE)
    parameters = {"train": "code_for_frames:train", "records": "frame"}
    return catalog.build("models", "python", parameters, "test", folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A table of jobs, as indicators that a mean of records breaks, and ages; 100 records are public."""
    path, rng = tmp_path_factory.mktemp("table") / "people.csv", np.random.default_rng(0)
    job = rng.integers(0, 3, 400)
    y = (rng.random(400) < job / 3).astype(int)
    cells = zip(np.array(["baker", "clerk", "nurse"])[job], rng.integers(0, 120, 400), y, strict=True)
    path.write_text("\n".join(["job,age,y", *(f"{job},{age},{label}" for job, age, label in cells)]))
    parameters = {"path": str(path), "target": "y", "categorical": ["job"]}
    table = catalog.build("datasets", "table", parameters, "test").load()
    public = np.arange(300, 400)
    return TrainingData(table.x, table.y, 2, table.bounds, public=public, columns=table.columns)


@pytest.mark.parametrize("name", catalog.BUILT_IN["defenses"])
def test_each_defence_refuses_a_function_that_takes_cells_or_trains_it(name, recipe, data):
    defense = catalog.build("defenses", name, PARAMETERS.get(name, {}), "test")
    reason = defense.supports(recipe, 200)
    if reason is not None:
        assert name not in TRAINED
        assert REFUSED.get(name, "python") in reason
        return
    assert name not in REFUSED
    (trained,) = defense.train(recipe, data, [np.arange(200)], [0])
    assert trained.model.logits(data.x).shape == (400, 2)


def test_k_anonymity_of_one_changes_no_record(recipe, data):
    assert KAnonymity(1).supports(recipe, 200) is None
    (trained,) = KAnonymity(1).train(recipe, data, [np.arange(200)], [0])
    assert np.isfinite(trained.model.logits(data.x)).all()


def test_a_function_that_takes_arrays_is_k_anonymised(recipe):
    assert KAnonymity(5).supports(dataclasses.replace(recipe, records="array"), 200) is None
