"""What every catalogued source of released models must fulfil: it opens, or refuses in one line."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from privassay.experiments._contract_server import serving
from privassay.experiments._contract_user_code import records
from privassay.harness import catalog
from privassay.harness.dataset_checks import check_dataset
from privassay.harness.errors import PrivassayError
from privassay.harness.protocols import Released, TargetWithData
from privassay.harness.trust import Trust
from privassay.tests.support import released as files

USER_CODE = Path(__file__).resolve().parents[1] / "support" / "user_code"
NAMES = list(catalog.targets("targets"))
NOT_THERE = {
    "endpoint": {"url": "http://127.0.0.1:9/invocations", "retries": 0, "timeout": 1.0},
    "file": {"path": "absent.safetensors"},
    "mlflow": {"model": "models:/nobody@nowhere"},
    "predictions": {"path": "absent.csv"},
    "python": {"predict": "user_models:no_such_function"},
    "served": {"command": ["/nowhere/program", "{port}"], "start_seconds": 5.0},
}
WORKING = {
    "endpoint": {},
    "file": {"path": "regression.skops"},
    "predictions": {"path": "predictions.csv"},
    "python": {"predict": "user_models:predict"},
    "served": {"command": ["{python}", "-m", "privassay.experiments._contract_server", "{port}"]},
}
OWN_TEST = {"mlflow": "models/released/test_mlflow.py"}  # a registry takes seconds; the contract table has one too


@pytest.fixture(scope="module")
def data():
    return catalog.build("datasets", "digits", {}, "test").load()


def made(name, parameters, folder):
    if name == "mlflow":
        parameters = {**parameters, "tracking_uri": f"sqlite:///{folder}/mlflow.db"}
    return catalog.build("targets", name, parameters, "test", USER_CODE if name == "python" else folder)


def test_every_target_is_under_contract():
    assert set(NOT_THERE) == set(catalog.BUILT_IN["targets"])
    assert set(WORKING) | set(OWN_TEST) == set(catalog.BUILT_IN["targets"])
    for test in OWN_TEST.values():
        assert (USER_CODE.parents[1] / test).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_is_a_component(name):
    component = catalog.resolve("targets", name, "test")
    assert dataclasses.is_dataclass(component)
    assert component.__dataclass_params__.frozen
    assert component.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_there_is_refused_in_one_line(name, data, tmp_path):
    source = made(name, NOT_THERE[name], tmp_path)
    with pytest.raises(PrivassayError) as raised:
        source.open(data, Trust())
    assert str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def address():
    with serving() as url:
        yield url


@pytest.mark.parametrize("name", WORKING)
def test_opens_and_answers_with_probabilities(name, data, address, tmp_path):
    if name == "file":
        write_regression(tmp_path)
    files.write_predictions(tmp_path)
    source = made(name, {"url": address} if name == "endpoint" else WORKING[name], tmp_path)
    if name in ("endpoint", "served"):
        data = records()
    if isinstance(source, TargetWithData):
        data = source.load()
        check_dataset(data, "test")
        assert data.released_member is not None
    released = source.open(data, Trust())
    assert isinstance(released, Released)
    assert released.model.answers in ("labels", "probabilities")
    assert released.source
    assert str(tmp_path) not in released.source
    assert bool(released.sha256) == (name not in ("endpoint", "python", "served"))
    answers = released.model.predict(data.x[:50])
    assert answers.shape == (50, data.n_classes)
    assert answers.dtype == np.float64
    assert answers.min() >= 0
    assert answers.sum(axis=1) == pytest.approx(np.ones(50))
    assert np.array_equal(released.model.predict(data.x[:50]), answers)


def write_regression(folder):
    """Trees in a skops file would need trust."""
    import skops.io
    from sklearn.linear_model import LogisticRegression

    x, y, member, _ = files.trained()
    skops.io.dump(LogisticRegression(max_iter=500).fit(x[member], y[member]), folder / "regression.skops")
