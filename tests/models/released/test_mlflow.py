import logging
import socket
import warnings

import numpy as np
import pytest
from privassay.harness.errors import InfrastructureError, UsageError
from privassay.harness.trust import Trust
from privassay.harness.types import Dataset
from privassay.models.released.mlflow import MLflow
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

X = np.random.default_rng(0).random((30, 4), dtype=np.float32)
DATA = Dataset("toy", X, np.arange(30) % 3, 3, (0.0, 1.0), False, "none")
FITTED = LogisticRegression().fit(X, DATA.y)
CLOUDPICKLE = {"serialization_format": "cloudpickle"}


class Registry:
    """A real SQLite registry; every model that a test logs is registered under its own name."""

    def __init__(self, folder):
        import mlflow

        self.mlflow, self.uri = mlflow, f"sqlite:///{folder}/mlflow.db"
        mlflow.set_tracking_uri(self.uri)
        mlflow.create_experiment("own", artifact_location=(folder / "files").as_uri())
        mlflow.set_experiment("own")

    def log(self, flavor, name, model, **options):
        self.mlflow.set_tracking_uri(self.uri)
        with self.mlflow.start_run() as run:
            options = {"pip_requirements": ["scikit-learn"], "registered_model_name": name, **options}
            getattr(self.mlflow, flavor).log_model(model, name="model", **options)
        return run.info.run_id

    def open(self, address, trust=None, **fields):
        """With MLflow's global address elsewhere: it is the user's own, and nothing may be asked of it."""
        self.mlflow.set_tracking_uri("http://127.0.0.1:9")
        return MLflow(address, self.uri, **fields).open(DATA, Trust() if trust is None else trust)

    def refusal(self, address, kind=UsageError, **fields):
        with pytest.raises(kind) as raised:
            self.open(address, **fields)
        assert "\n" not in str(raised.value)
        return str(raised.value)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    import mlflow

    before = mlflow.get_tracking_uri()
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield Registry(tmp_path_factory.mktemp("registry"))
    mlflow.set_tracking_uri(before)


@pytest.fixture(autouse=True)
def _mlflow_gives_up_at_once_and_its_warnings_are_its_own(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_a_skops_model_is_found_by_alias_version_and_run_without_trust(registry):
    run = registry.log("sklearn", "safe", FITTED, serialization_format="skops")
    registry.mlflow.MlflowClient(registry.uri).set_registered_model_alias("safe", "champion", 1)
    model_id = registry.mlflow.get_run(run).outputs.model_outputs[0].model_id
    trust = Trust()
    found = [
        registry.open(address, trust, training_records=20)
        for address in ("models:/safe@champion", "models:/safe/1", f"runs:/{run}/model", f"models:/{model_id}")
    ]
    for released in found:
        np.testing.assert_allclose(released.model.predict(X), FITTED.predict_proba(X), rtol=1e-6)
        assert released.model.answers == "probabilities"
        assert released.notes == ()
    assert trust.used == []
    assert len({released.sha256 for released in found}) == 1
    assert (found[0].source, found[0].training_records) == ("models:/safe@champion", 20)


def test_a_pickle_is_refused_before_it_is_read_and_named_when_trusted(registry, tmp_path):
    class Hostile(LogisticRegression):
        def __reduce__(self):
            import os

            return os.mkdir, (str(tmp_path / "code_ran"),)

    registry.log("sklearn", "hostile", Hostile(), **CLOUDPICKLE)
    words = registry.refusal("models:/hostile/1")
    assert "model.pkl: MLflow's loaders run code that such a file can hold; --trust allows it" in words
    assert not (tmp_path / "code_ran").exists()

    registry.log("sklearn", "pickled", FITTED, **CLOUDPICKLE)
    trust = Trust(given=True)
    released = registry.open("models:/pickled/1", trust)
    np.testing.assert_allclose(released.model.predict(X), FITTED.predict_proba(X), rtol=1e-6)
    assert [file.path for file in trust.used] == [
        f"models:/pickled/1: {name}"
        for name in ("model.pkl", "conda.yaml", "python_env.yaml", "requirements.txt", "MLmodel")
    ]


def test_a_description_cannot_make_a_pickle_look_harmless(registry, tmp_path):
    """MLflow takes the name and the format of the file from the description that lies beside it."""
    from privassay.models.released._mlflow_folder import require_all

    (tmp_path / "requirements.txt").write_bytes(b"a pickle by another name")
    (tmp_path / "MLmodel").write_text("flavors: {sklearn: {pickled_model: requirements.txt}}")
    with pytest.raises(UsageError, match=r"models:/a/1: requirements.txt: MLflow's loaders run code"):
        require_all(tmp_path, "models:/a/1", Trust())
    trust = Trust(given=True)
    require_all(tmp_path, "models:/a/1", trust)
    assert [file.path for file in trust.used] == ["models:/a/1: requirements.txt", "models:/a/1: MLmodel"]
    for name in (f"{tmp_path}/outside.pkl", "../outside.pkl"):
        (tmp_path / "MLmodel").write_text(f"flavors: {{sklearn: {{code: [{{a: {name}}}]}}}}")
        with pytest.raises(UsageError, match=r"^models:/a/1: names a file outside its folder: .*outside\.pkl$"):
            require_all(tmp_path, "models:/a/1", trust)


def test_a_model_without_probabilities_gives_labels_and_says_so(registry):
    estimator = LinearSVC().fit(X, DATA.y)
    registry.log("sklearn", "labels", estimator, serialization_format="skops")
    released = registry.open("models:/labels/1")
    assert released.model.answers == "labels"
    assert released.notes == ("models:/labels/1 gives labels only",)
    np.testing.assert_array_equal(released.model.predict(X), np.eye(3)[estimator.predict(X)])
    registry.log("sklearn", "both", FITTED, serialization_format="skops")
    released = registry.open("models:/both/1", answers="labels")
    np.testing.assert_array_equal(released.model.predict(X), np.eye(3)[FITTED.predict(X)])
    assert released.notes == ()


def test_any_pyfunc_with_named_columns(registry):
    import pandas as pd
    from mlflow.models import infer_signature

    names = ["a", "b", "c", "d"]

    class Wrapper(registry.mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            assert list(model_input.columns) == names
            return pd.DataFrame(FITTED.predict_proba(model_input[names].to_numpy()))

    frame = pd.DataFrame(X.astype(np.float64), columns=names)
    signature = infer_signature(frame, pd.DataFrame(FITTED.predict_proba(X)))
    registry.log("pyfunc", "wrapped", None, python_model=Wrapper(), signature=signature)
    assert "--trust allows it" in registry.refusal("models:/wrapped/1")
    released = registry.open("models:/wrapped/1", Trust(given=True))
    np.testing.assert_allclose(released.model.predict(X), FITTED.predict_proba(X), rtol=1e-6)
    wide = Dataset("wide", np.hstack([X, X]), DATA.y, 3, (0.0, 1.0), False, "none")
    with pytest.raises(UsageError, match="takes 4 columns, the records have 8"):
        MLflow("models:/wrapped/1", registry.uri).open(wide, Trust(given=True))


@pytest.mark.slow
def test_a_torch_module_gives_logits(registry):
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.9))
    registry.log("pytorch", "torch", module, serialization_format="pickle", pip_requirements=["torch"])
    assert "--trust allows it" in registry.refusal("models:/torch/1")
    assert "say `answers: logits`" in registry.refusal("models:/torch/1", trust=Trust(given=True))
    released = registry.open("models:/torch/1", Trust(given=True), answers="logits")
    with torch.no_grad():
        expected = torch.softmax(module.eval()(torch.from_numpy(X)).double(), 1)
    np.testing.assert_allclose(released.model.predict(X), expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.keras
def test_a_saved_model_of_tensorflow_needs_trust(registry):
    tf = pytest.importorskip("tensorflow", reason="needs the [keras] extra")
    network = tf.keras.Sequential([tf.keras.layers.Input((4,)), tf.keras.layers.Dense(3, "softmax")])
    registry.log("tensorflow", "saved_model", network, pip_requirements=["tensorflow"])
    assert "--trust allows it" in registry.refusal("models:/saved_model/1")  # TensorFlow's own format is a program
    released = registry.open("models:/saved_model/1", Trust(given=True))
    np.testing.assert_allclose(released.model.predict(X), network(X).numpy(), rtol=1e-5)


@pytest.mark.keras
def test_a_keras_file_in_a_model_needs_no_trust(tmp_path):
    """As MLflow lays it out with newer Keras; with Keras 2.15 it cannot write it."""
    from privassay.models.released._mlflow_folder import read_here

    tf = pytest.importorskip("tensorflow", reason="needs the [keras] extra")
    network = tf.keras.Sequential([tf.keras.layers.Input((4,)), tf.keras.layers.Dense(3, "softmax")])
    (tmp_path / "data").mkdir()
    network.save(tmp_path / "data" / "model.keras")
    (tmp_path / "MLmodel").write_text("flavors: {tensorflow: {data: data, model_type: keras, save_format: keras}}")
    ask = read_here(tmp_path, "probabilities", DATA, Trust())
    np.testing.assert_allclose(ask(X), network(X).numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    "flavors",
    [
        {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}},
        {"sklearn": {"pickled_model": "model.pkl"}},
        {"sklearn": {"pickled_model": "extra/decoy.skops"}},  # without a format it is a pickle to MLflow
        {"sklearn": {"pickled_model": "../outside.skops", "serialization_format": "skops"}},
        {
            "sklearn": {"pickled_model": "extra/decoy.skops", "serialization_format": "skops"},
            "python_function": {"loader_module": "mlflow.sklearn", "model_path": "model.pkl"},
        },
        {
            "sklearn": {"pickled_model": "extra/decoy.skops", "serialization_format": "skops"},
            "python_function": {"loader_module": "mlflow.pytorch"},
        },
        {"tensorflow": {"data": "data", "model_type": "keras", "save_format": "tf"}},
        {"tensorflow": {"data": "extra", "model_type": "keras", "save_format": "h5"}},
        {"keras": {"data": "data"}},
        {"keras": {"data": "extra", "save_exported_model": True}},
        {"onnx": {"data": "model.pb"}},
        {"sklearn": None, "onnx": None},
    ],
)
def test_a_file_that_the_description_does_not_name_is_no_decoy(tmp_path, flavors):
    """The model of the folder is what MLflow would load, not a harmless file that lies beside it."""
    import skops.io
    import yaml
    from privassay.models.released._mlflow_folder import read_here

    folder = tmp_path / "model"
    (folder / "extra").mkdir(parents=True)
    for path in (folder / "extra" / "decoy.skops", tmp_path / "outside.skops"):
        skops.io.dump(FITTED, path)
    for name in ("decoy.onnx", "model.keras", "model.onnx"):
        (folder / "extra" / name).touch()
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors}))
    assert read_here(folder, "probabilities", DATA, Trust()) is None


def test_the_file_that_the_description_names_is_read_among_others(tmp_path):
    import skops.io
    import yaml
    from privassay.models.released._mlflow_folder import read_here

    for name, labels in (("named.skops", DATA.y), ("other.skops", (DATA.y + 1) % 3)):
        skops.io.dump(LogisticRegression().fit(X, labels), tmp_path / name)
    flavor = {"pickled_model": "named.skops", "serialization_format": "skops"}
    served = {"loader_module": "mlflow.sklearn", "model_path": "named.skops"}
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": {"sklearn": flavor, "python_function": served}}))
    ask = read_here(tmp_path, "probabilities", DATA, Trust())
    np.testing.assert_allclose(ask(X).table, FITTED.predict_proba(X), rtol=1e-6)


def test_what_is_not_there_is_told_in_one_line(registry):
    assert "models:/absent/1: cannot be fetched (MlflowException" in registry.refusal("models:/absent/1")
    assert "models:/absent@alias: cannot be fetched" in registry.refusal("models:/absent@alias")
    registry.mlflow.set_tracking_uri(registry.uri)
    with registry.mlflow.start_run() as run:
        registry.mlflow.log_text("no model", "thing/note.txt")
    assert "is no MLflow model" in registry.refusal(f"runs:/{run.info.run_id}/thing")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    component = MLflow("models:/a/1", nobody)
    with pytest.raises(InfrastructureError, match=r"models:/a/1: cannot be fetched \("):
        component.open(DATA, Trust())


@pytest.mark.parametrize("model", ["safe", "models:/", "runs:/abc", "s3://bucket/model", "models:/a/b/c"])
def test_addresses_of_another_form_are_refused(model):
    with pytest.raises(UsageError, match="must be models:/NAME@ALIAS"):
        MLflow(model)


def test_other_classes_and_shapes_are_told_at_open(registry):
    registry.log("sklearn", "other", FITTED, serialization_format="skops")
    more = Dataset("more", X, DATA.y % 2, 2, (0.0, 1.0), False, "none")
    with pytest.raises(UsageError, match=r"its classes are 0, 1, 2, those of the data are 0\.\.1"):
        MLflow("models:/other/1", registry.uri).open(more, Trust())
    narrow = Dataset("narrow", X[:, :3], DATA.y, 3, (0.0, 1.0), False, "none")
    with pytest.raises(UsageError, match=r"models:/other/1: failed on records of shape \(3,\) \(ValueError"):
        MLflow("models:/other/1", registry.uri).open(narrow, Trust())
