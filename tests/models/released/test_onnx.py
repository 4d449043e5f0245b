"""ONNX graphs: one input for the features, or one for each column of the file."""

import dataclasses
import sys

import numpy as np
import pandas as pd
import pytest
from privassay.experiments.digits import Digits
from privassay.experiments.table import Table
from privassay.harness.errors import NotApplicable
from privassay.harness.trust import Trust
from privassay.models.released._frames import notes_of
from privassay.models.released._mlflow_folder import read_here
from privassay.models.released._onnx_files import _cells
from privassay.models.released.file import File
from privassay.tests.support import people
from privassay.tests.support.released import refusal
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier


@pytest.fixture(scope="module")
def digits():
    return Digits().load()


@pytest.fixture(scope="module")
def estimator(digits):
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    return pipeline.fit(digits.x[:300].reshape(300, -1), digits.y[:300])


def test_onnx_needs_onnx_runtime(tmp_path, digits, monkeypatch):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as where it is not installed
    assert "a.onnx: needs ONNX Runtime" in refusal(File(path), digits)


@pytest.mark.parametrize("zipmap", [False, True], ids=["table", "mappings"])
def test_onnx_graphs_answer_as_the_estimator_did(tmp_path, digits, estimator, zipmap):
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    to_onnx = pytest.importorskip("skl2onnx").to_onnx
    path = tmp_path / "a.onnx"
    flat = digits.x.reshape(len(digits), -1)
    path.write_bytes(to_onnx(estimator, flat[:1], options={"zipmap": zipmap}).SerializeToString())
    released = File(path).open(type(digits)("flat", flat, digits.y, 10, digits.bounds, True, "none"), Trust())
    np.testing.assert_allclose(released.model.predict(flat), estimator.predict_proba(flat), atol=1e-5)
    assert "failed on 2 records of shape (8, 8)" in refusal(File(path), digits)
    # The order of the data's classes is another one than the graph's, which names them only as mappings.
    turned = dataclasses.replace(digits, x=flat, y=9 - digits.y, class_names=tuple(f"{9 - k}" for k in range(10)))
    found = File(path).open(turned, Trust()).model.predict(flat)
    expected = estimator.predict_proba(flat)
    np.testing.assert_allclose(found, expected[:, ::-1] if zipmap else expected, atol=1e-5)
    path.write_bytes(b"no graph")
    assert "a.onnx: cannot be read (" in refusal(File(path), digits)


def onnx_pipeline(model, kinds):
    """The pipeline with one input a column, as a converter writes it."""
    skl2onnx = pytest.importorskip("skl2onnx")
    types = pytest.importorskip("skl2onnx.common.data_types")
    inputs = [(name, getattr(types, f"{kind}TensorType")([None, 1])) for name, kind in kinds.items()]
    return skl2onnx.to_onnx(model, initial_types=inputs, options={"zipmap": False}).SerializeToString()


KINDS = {"age": "Int64", "hours": "Double", "job": "String", "region": "Int64", "sex": "String"}


@pytest.fixture(scope="module")
def people_data(tmp_path_factory):
    path = tmp_path_factory.mktemp("people") / "people.csv"
    table = people.people()
    table.to_csv(path, index=False)
    schema = {**people.SCHEMA, "path": path}
    return table, Table(**{name: value for name, value in schema.items() if name != "component"}).load()


def test_onnx_graphs_with_an_input_a_column_get_the_cells(tmp_path, people_data):
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    table, data = people_data
    model = people.fitted(table)
    path = tmp_path / "people.onnx"
    path.write_bytes(onnx_pipeline(model, KINDS))
    released = File(path).open(data, Trust())
    expected = model.predict_proba(table[people.FEATURES])
    # Of single numbers a converter keeps 32 bits, so a tree may turn at another edge.
    assert (np.abs(released.model.predict(data.x) - expected) < 1e-6).all(axis=1).mean() > 0.99
    assert released.notes == ("it was asked with the cells of the file's columns, by name",)
    path.write_bytes(onnx_pipeline(model, {**KINDS, "hours": "Float"}))
    assert (np.abs(File(path).open(data, Trust()).model.predict(data.x) - expected) < 1e-6).all(axis=1).mean() > 0.95


@pytest.mark.parametrize(
    ("cells", "kind", "shown"),
    [
        (["a", "b"], "tensor(int64)", "'a'"),
        ([1.0, 2.5], "tensor(int64)", "2.5"),
        ([1.0, float("nan")], "tensor(int64)", "nan"),
        ([1, 2**40], "tensor(int32)", "1099511627776"),
        ([1, 2], "tensor(bool)", "2"),
        (["a", float("nan")], "tensor(string)", "nan"),
        ([1, 2], "tensor(string)", "1"),
        (["1"], "tensor(float)", "'1'"),
    ],
)
def test_no_cell_is_translated_for_an_onnx_input(cells, kind, shown):
    with pytest.raises(NotApplicable) as raised:
        _cells(pd.Series(cells, name="c"), kind)
    assert str(raised.value) == f"input 'c' is a {kind}, which {shown} is not"


def test_gaps_are_numbers_for_an_onnx_input_of_floats():
    cells = _cells(pd.Series([1, None], name="c"), "tensor(double)")
    np.testing.assert_array_equal(cells, [[1.0], [np.nan]])


def test_onnx_inputs_without_a_column_are_refused(tmp_path, people_data):
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    table, data = people_data
    path = tmp_path / "people.onnx"
    renamed = table.rename(columns={"job": "occupation"})
    features = ["age", "hours", "occupation", "region", "sex"]
    encoded = ColumnTransformer([("texts", OneHotEncoder(), ["occupation", "sex"])], remainder="passthrough")
    model = make_pipeline(encoded, DecisionTreeClassifier(random_state=0)).fit(renamed[features], table["rich"])
    path.write_bytes(onnx_pipeline(model, {**KINDS, "occupation": "String"} | {"job": "String"}))
    assert "takes columns that are no features of the data: occupation" in refusal(File(path), data)


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # MLflow's own, when it is imported
def test_a_graph_that_mlflow_saved(tmp_path, people_data):
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    onnx = pytest.importorskip("onnx")
    import mlflow.onnx

    table, data = people_data
    graph = onnx.load_from_string(onnx_pipeline(people.fitted(table), KINDS))
    mlflow.onnx.save_model(graph, tmp_path / "model")
    ask = read_here(tmp_path / "model", "probabilities", data, Trust())
    np.testing.assert_allclose(ask(data.x).sum(axis=1), 1, atol=1e-5)
    assert notes_of(ask) == ("it was asked with the cells of the file's columns, by name",)


def test_records_that_were_moved_are_asked_about_where_they_are_whole(tmp_path, people_data):
    """`age` is scaled to a range: whole numbers come back as such, and one between them is no answerable record."""
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    table, data = people_data
    path = tmp_path / "people.onnx"
    path.write_bytes(onnx_pipeline(people.fitted(table), KINDS))
    model = File(path).open(data, Trust()).model
    numbers = [column.name for column in data.columns.columns]
    age, hours = numbers.index("age"), numbers.index("hours")
    moved = data.x[:50].copy()
    moved[:, hours] += 0.25
    np.testing.assert_allclose(model.predict(moved).sum(axis=1), 1, atol=1e-5)
    moved[0, age] += 0.001
    with pytest.raises(NotApplicable, match="input 'age' is a tensor\\(int64\\), which"):
        model.predict(moved)


def test_a_cell_that_no_input_takes_is_found_at_once(tmp_path, people_data):
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    table, data = people_data
    path = tmp_path / "people.onnx"
    path.write_bytes(onnx_pipeline(people.fitted(table), {**KINDS, "hours": "Int64"}))
    assert "people.onnx: input 'hours' is a tensor(int64), which" in refusal(File(path), data)


def test_one_input_that_is_a_column_by_its_name_gets_its_cells(tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    table = people.people()[["age", "rich", "member"]].drop_duplicates("age")
    table.to_csv(tmp_path / "ages.csv", index=False)
    data = Table(path=tmp_path / "ages.csv", target="rich", member="member", ranges={"age": (0, 120)}).load()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table[["age"]].to_numpy(), table["rich"])
    path = tmp_path / "age.onnx"
    path.write_bytes(onnx_pipeline(model, {"age": "Int64"}))
    released = File(path).open(data, Trust())
    expected = model.predict_proba(table[["age"]].to_numpy())
    np.testing.assert_allclose(released.model.predict(data.x), expected, atol=1e-5)
    assert released.notes == ("it was asked with the cells of the file's columns, by name",)
