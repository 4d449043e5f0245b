"""Models that somebody else trained on text columns are asked with the cells of the user's file."""

import dataclasses
import json
import shutil
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from privassay.experiments.table import Table
from privassay.harness import pipeline, plan
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.events import ignore
from privassay.harness.trust import Trust
from privassay.harness.user_code import UserFunction
from privassay.models.released._frames import by_arrays, frames_for
from privassay.models.released._mlflow_folder import by_estimator, columns_of
from privassay.models.released.endpoint import Endpoint
from privassay.models.released.file import File
from privassay.models.released.mlflow import MLflow
from privassay.models.released.python import Python
from privassay.tests.support import people
from privassay.tests.support.released import serving
from sklearn.neighbors import KNeighborsClassifier

BY_NAME = "it was asked with the cells of the file's columns, by name"
EXAMPLES = Path(__file__).resolve().parents[3] / "docs/howto/examples"
PASSED = [(name, "passed") for name in ("shuffled_membership", "planted_leak", "model_free_baseline")]
METRICS = {"fprs": [0.1], "resamples": 100}
TRAIN = """
from privassay.tests.support import people
from sklearn.neighbors import KNeighborsClassifier

def train(frame, y, n_classes, seed):
    assert frame["job"].map(type).eq(str).all() and frame["age"].dtype == "int64"
    assert list(frame.columns) == people.FEATURES
    return people.pipeline(seed).fit(frame, y)

def opened():
    import joblib
    from pathlib import Path
    return joblib.load(Path(__file__).with_name("people.joblib")).predict_proba
"""


@pytest.fixture(scope="module")
def table():
    return people.people()


@pytest.fixture(scope="module")
def model(table):
    return people.fitted(table)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, table, model):
    place = tmp_path_factory.mktemp("people")
    table.to_csv(place / "people.csv", index=False)
    skops.io.dump(model, place / "people.skops")
    joblib.dump(model, place / "people.joblib")
    (place / "people_model.py").write_text(TRAIN)
    return place


@pytest.fixture(scope="module")
def data(folder):
    return loaded(folder)


def loaded(folder, **changes):
    schema = {**people.SCHEMA, **changes, "path": folder / "people.csv"}
    return Table(**{name: value for name, value in schema.items() if name != "component"}).load()


def experiment(folder, target, **sections):
    content = {
        "name": "people",
        "data": people.SCHEMA,
        "targets": {"tree": target},
        "metrics": METRICS,
        "evaluation_classifier": {"component": "sklearn_random_forest", "n_estimators": 10},
        **sections,
    }
    path = folder / "people.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


REFERENCES = {
    "models": {"own": {"component": "python", "train": "people_model:train", "records": "frame"}},
    "defenses": {"none": {}},
    "reference": "own/none",
    "pool": {"models": 4},
}


def test_a_pipeline_on_text_columns_is_audited_with_references_of_the_same_pipeline(folder, table, model):
    attacks = {"loss": {}, "lira": {}, "art_boundary": {"max_records": 20}}
    target = {"component": "file", "path": "people.skops"}
    path = experiment(folder, target, data=people.DECLARED, attacks=attacks, **REFERENCES)
    evidence = pipeline.run(plan.make(path, trust=True), folder / "out", ignore)
    assert [(control.id, control.status) for control in evidence.controls] == PASSED
    (candidate,) = evidence.candidates
    assert candidate.origin.notes[0] == BY_NAME
    assert candidate.origin.references == "4 trained by this run: python behind none"
    outsiders = table[table["member"] == 0]
    right = model.score(outsiders[people.FEATURES], outsiders["rich"])
    assert abs(candidate.utility["heldout_accuracy"].value - right) < 0.05  # of four fifths of them
    found = {attack.id: attack for attack in candidate.attacks}
    assert found["loss"].metrics["auc"].low > 0.6  # it knows its members by heart
    assert found["lira"].metrics["auc"].low > 0.6
    assert found["art_boundary"].status == "not_run"
    assert found["art_boundary"].reason.startswith("column '")  # records that were moved stand for no cells


def test_texts_alone_need_no_trust(folder):
    assert skops.io.get_untrusted_types(file=folder / "people.skops") == ["sklearn.tree._tree.Tree"]


def test_a_file_is_asked_with_the_cells(folder, data, table, model):
    released = File(folder / "people.joblib").open(data, Trust(given=True))
    np.testing.assert_array_equal(released.model.predict(data.x), model.predict_proba(table[people.FEATURES]))
    assert released.notes == (BY_NAME,)
    odd = data.x[:1].copy()
    odd[0, 2] = 2.7
    with pytest.raises(NotApplicable, match=r"column 'job': 2\.7 is the code of no category"):
        released.model.predict(odd)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features": ["age", "hours", "job", "sex"], "categorical": ["job"]}, "no features of the data: region"),
        ({"ranges": {"age": [30, 31], "hours": [0, 1]}}, r"column 'age': .* are one feature, cut to the declared"),
    ],
)
def test_what_the_file_cannot_give_is_one_line(folder, changes, words):
    with pytest.raises(UsageError, match=words) as refused:
        File(folder / "people.joblib").open(loaded(folder, **changes), Trust(given=True))
    assert "\n" not in str(refused.value)


def test_a_function_of_the_user_gets_a_frame(folder, data, table, model):
    released = Python(UserFunction("people_model:opened", folder), records="frame").open(data, Trust())
    np.testing.assert_array_equal(released.model.predict(data.x), model.predict_proba(table[people.FEATURES]))
    without = dataclasses.replace(data, columns=None)
    with pytest.raises(UsageError, match="people_model:opened: records: frame: the records are no rows"):
        Python(UserFunction("people_model:opened", folder), records="frame").open(without, Trust())
    with pytest.raises(UsageError, match="records='list'"):
        Python(UserFunction("people_model:opened", folder), records="list")


def test_target_by_a_function_and_references_by_the_pipeline_of_the_how_to(folder):
    """On columns that each model of another recipe would prepare by its own members."""
    shutil.copy(EXAMPLES / "my_text_pipeline.py", folder)
    target = {"component": "python", "predict": "people_model:opened", "records": "frame"}
    own = {"own": {"component": "python", "train": "my_text_pipeline:train", "records": "frame"}}
    path = experiment(folder, target, attacks={"lira": {}}, **{**REFERENCES, "models": own})
    evidence = pipeline.run(plan.make(path), folder, ignore)
    assert [(control.id, control.status) for control in evidence.controls] == PASSED
    assert evidence.candidates[0].attacks[0].metrics["auc"].low > 0.55


def test_a_pyfunc_with_a_string_column(folder, data, table, model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's remarks on itself
        import mlflow.pyfunc
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        class Wrapper(mlflow.pyfunc.PythonModel):
            def predict(self, context, model_input, params=None):
                assert [str(kind) for kind in model_input.dtypes[2:]] == ["float32", "float64", "int32"]
                return model.predict_proba(model_input)

    kinds = {"sex": "string", "job": "string", "hours": "float", "age": "double", "region": "integer"}
    signature = ModelSignature(Schema([ColSpec(kind, name) for name, kind in kinds.items()]))
    before, uri = mlflow.get_tracking_uri(), f"sqlite:///{folder}/mlflow.db"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.set_tracking_uri(uri)
        try:
            options = {"signature": signature, "pip_requirements": ["scikit-learn"]}
            mlflow.create_experiment("own", artifact_location=(folder / "files").as_uri())
            mlflow.set_experiment("own")
            mlflow.pyfunc.log_model(name="model", python_model=Wrapper(), registered_model_name="tree", **options)
        finally:
            mlflow.set_tracking_uri(before)
        released = MLflow("models:/tree/1", uri).open(data, Trust(given=True))
        answers = released.model.predict(data.x)
    expected = model.predict_proba(table[people.FEATURES].astype({"hours": "float32"}))
    np.testing.assert_allclose(answers, expected, rtol=1e-12)
    assert released.notes == (BY_NAME,)


@pytest.fixture
def server(model):
    """Answers what the model says about the rows of a data frame."""

    def answer(asked):
        split = json.loads(asked)["dataframe_split"]
        frame = pd.DataFrame(split["data"], columns=[name.removeprefix("their ") for name in split["columns"]])
        return json.dumps({"predictions": model.predict_proba(frame[people.FEATURES]).tolist()})

    with serving(answer) as running:
        yield running


@pytest.mark.parametrize("columns", [(), ("sex", "age", "region", "hours", "job")])
def test_an_endpoint_is_sent_texts(server, data, table, model, columns):
    released = Endpoint(server.url, format="dataframe_split", columns=columns).open(data, Trust())
    np.testing.assert_allclose(released.model.predict(data.x), model.predict_proba(table[people.FEATURES]), rtol=1e-12)
    names = list(columns or people.FEATURES)
    assert json.loads(server.seen[0])["dataframe_split"] == {
        "columns": names,
        "data": table[names].head(2).values.tolist(),
    }
    assert released.notes[1:] == (BY_NAME,)


def test_an_endpoint_with_names_of_its_own_is_sent_the_cells_in_their_order(server, data, table, model):
    columns = tuple(f"their {name}" for name in people.FEATURES)
    released = Endpoint(server.url, format="dataframe_split", columns=columns).open(data, Trust())
    np.testing.assert_allclose(
        released.model.predict(data.x[:9]), model.predict_proba(table[people.FEATURES].head(9)), rtol=1e-12
    )
    assert "in their order, as it calls them otherwise" in released.notes[1]


WIDTH = 7
"""Features: age, hours, codes of job and region, three indicators of sex."""


def test_which_columns_a_model_wants(data):
    assert data.x.shape[1] == WIDTH
    by_name = frames_for(["sex", "age"], data, "here")
    assert (by_name.names, by_name.taken) == (("sex", "age"), ("sex", "age"))
    by_place = frames_for(range(5), data, "here")
    assert (by_place.names, by_place.taken) == (tuple(range(5)), tuple(people.FEATURES))
    features = frames_for([f"x{i}" for i in range(3, 3 + WIDTH)], data, "here")
    np.testing.assert_array_equal(features(data.x).to_numpy(), data.x)
    assert (features.taken, features.notes) == (
        (),
        ("it was asked with the features that the file's columns became, in their order",),
    )


OTHER = "here: takes columns that are no features of the data: "


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["sex", "salary"], f"{OTHER}salary (those that `sensitive` or an id names are features only where"),
        (["age", "hours", "job", "region", "gender"], f"{OTHER}gender ("),
        (["Hours", "Age", "Job", "Region", "Sex"], f"{OTHER}Hours, Age, Job, Region, Sex ("),
        (["x0", "x2", "x1", "x3", "x4"], f"{OTHER}x0, x2, x1, x3, x4 ("),
        (["x1", "y2", "x3", "x4", "x5"], f"{OTHER}x1, y2, x3, x4, x5 ("),
        (["x0", "x1"], "here: takes 2 columns, the records have 5"),
    ],
)
def test_columns_that_the_data_lack_are_named_and_their_order_is_no_guess(data, names, words):
    with pytest.raises(UsageError) as refused:
        frames_for(names, data, "here")
    assert str(refused.value).startswith(words)


def test_a_signature_counts_for_an_estimator_that_was_fitted_on_arrays(folder, table):
    """It knows no names; ranges must not turn the numbers that it is asked about into others."""
    names = ["hours", "age"]
    model = KNeighborsClassifier(3).fit(table[names].to_numpy(), table["rich"])
    data = loaded(folder, features=["age", "hours"], categorical=[], values={}, ranges={"age": [0, 120]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's remarks on itself
        import mlflow.sklearn
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        signature = ModelSignature(Schema([ColSpec("double", name) for name in names]))
        path, written_by = folder / "signed", {"pip_requirements": ["scikit-learn"], "serialization_format": "pickle"}
        mlflow.sklearn.save_model(model, path, signature=signature, **written_by)
    assert columns_of(path, "here") == ("hours", "age")
    ask = by_estimator(joblib.load(path / "model.pkl"), "probabilities", data, "here")
    answers = by_arrays(ask, names, data, "here")(data.x)
    np.testing.assert_array_equal(answers.table, model.predict_proba(table[names].to_numpy()))
