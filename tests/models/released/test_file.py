import hashlib
import json
import os
import pickle
import zipfile

import joblib
import numpy as np
import pytest
import skops.io
import torch
from privassay.experiments.digits import Digits
from privassay.harness import catalog
from privassay.harness.errors import UsageError
from privassay.harness.trust import Trust, TrustedFile
from privassay.harness.user_code import UserFunction
from privassay.models.released.file import File
from privassay.tests.support.released import refusal
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

BUILD = """
from torch import nn
def build(shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1], 8), nn.Dropout(0.9), nn.Linear(8, n_classes))
def fails(shape, n_classes):
    raise RuntimeError("no\\nnet")
def number(shape, n_classes):
    return 7
"""


@pytest.fixture(scope="module")
def digits():
    return Digits().load()


@pytest.fixture
def build(tmp_path):
    (tmp_path / "released_net.py").write_text(BUILD)
    return UserFunction("released_net:build", tmp_path)


@pytest.fixture
def module(build, digits):
    torch.manual_seed(0)
    return build.load()(digits.shape, digits.n_classes)


@pytest.fixture(scope="module")
def estimator(digits):
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    return pipeline.fit(digits.x[:300].reshape(300, -1), digits.y[:300])


class Marker:
    """Pickled, it makes a folder when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def marker(tmp_path):
    """The folder that hostile files make; nothing but reading them does."""
    return tmp_path / "code_ran"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_weights_of_torch_need_no_trust(tmp_path, digits, build, module, suffix):
    path = tmp_path / f"net{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(module.state_dict(), path)
    trust = Trust()
    released = File(path, answers="logits", build=build).open(digits, trust)
    with torch.no_grad():
        expected = torch.softmax(module.eval()(torch.from_numpy(digits.x)).double(), 1)
    np.testing.assert_allclose(released.model.predict(digits.x), expected, rtol=1e-5)
    assert trust.used == []
    assert released.source == path.name
    assert released.sha256 == hashlib.sha256(f"{sha256(path)} {build.sha256}".encode()).hexdigest()


def test_an_experiment_file_names_it(tmp_path, digits, module):
    save_file(module.state_dict(), tmp_path / "net.safetensors")
    fields = {"path": "net.safetensors", "answers": "logits", "build": "released_net:build"}
    target = catalog.build("targets", "file", fields, "test", tmp_path)
    assert target.open(digits, Trust()).model.predict(digits.x[:3]).shape == (3, 10)


def test_logits_called_probabilities_are_told_at_open(tmp_path, digits, build, module):
    save_file(module.state_dict(), tmp_path / "net.safetensors")
    words = refusal(File(tmp_path / "net.safetensors", build=build), digits)
    assert "looks like logits; say `answers: logits`" in words


def test_weights_and_architecture_must_fit(tmp_path, digits, build, module):
    path = tmp_path / "net.pt"
    torch.save(module.state_dict(), path)
    assert "weights without an architecture; `build`" in refusal(File(path), digits)
    other = UserFunction("released_net:fails", tmp_path)
    assert "released_net:fails: failed (RuntimeError: no net)" in refusal(File(path, build=other), digits)
    other = UserFunction("released_net:number", tmp_path)
    assert "returned a int, must return a torch module" in refusal(File(path, build=other), digits)
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    assert "its weights are not those of released_net:build" in refusal(File(path, build=build), digits)
    torch.save({"epoch": 3, "state": module.state_dict()}, path)
    assert "holds keys epoch, state, must hold a state dict" in refusal(File(path, build=build), digits)


def test_a_whole_module_is_a_pickle(tmp_path, digits, build, module):
    path = tmp_path / "net.pt"
    torch.save(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)), path)
    assert "net.pt: holds more than tensors" in refusal(File(path, answers="logits"), digits)
    trust = Trust(given=True)
    released = File(path, answers="logits").open(digits, trust)
    assert released.model.predict(digits.x).shape == (len(digits), 10)
    assert trust.used == [TrustedFile("net.pt", sha256(path))]
    assert released.sha256 == sha256(path)


def test_skops_files_of_known_types_need_no_trust(tmp_path, digits, estimator):
    path = tmp_path / "model.skops"
    skops.io.dump(estimator, path)
    trust = Trust()
    answers = File(path).open(digits, trust).model.predict(digits.x)
    np.testing.assert_allclose(answers, estimator.predict_proba(digits.x.reshape(len(digits), -1)), rtol=1e-6)
    assert trust.used == []


@pytest.mark.parametrize("suffix", [".joblib", ".pkl", ".pickle"])
def test_pickles_need_trust_and_are_named_then(tmp_path, digits, estimator, suffix):
    path = tmp_path / f"model{suffix}"
    if suffix == ".joblib":
        joblib.dump(estimator, path)
    else:
        path.write_bytes(pickle.dumps(estimator))
    assert "a pickle runs code when it is read; --trust allows it" in refusal(File(path), digits)
    trust = Trust(given=True)
    answers = File(path).open(digits, trust).model.predict(digits.x)
    np.testing.assert_allclose(answers, estimator.predict_proba(digits.x.reshape(len(digits), -1)), rtol=1e-6)
    assert trust.used == [TrustedFile(path.name, sha256(path))]


def test_an_estimator_of_other_classes_or_records_is_refused(tmp_path, digits):
    flat = digits.x.reshape(len(digits), -1)
    some = digits.y < 4
    path = tmp_path / "model.skops"
    skops.io.dump(LogisticRegression(max_iter=5, tol=1.0).fit(flat[some], digits.y[some]), path)
    assert "never saw these classes of the data: 4, 5, 6, 7, 8, 9; leave their records out" in refusal(
        File(path), digits
    )
    skops.io.dump(LogisticRegression(max_iter=5, tol=1.0).fit(flat, digits.y + 1), path)
    assert "its classes are 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, those of the data are 0..9" in refusal(File(path), digits)
    skops.io.dump(LogisticRegression(max_iter=5, tol=1.0).fit(flat[:, :9], digits.y), path)
    assert "failed on 2 records of shape (8, 8) (ValueError: X has 64 features" in refusal(File(path), digits)
    skops.io.dump(StandardScaler().fit(flat), path)
    assert "StandardScaler has no predict_proba" in refusal(File(path), digits)


def hostile_torch(path, marker):
    torch.save({"weight": Marker(marker)}, path)


def hostile_pickle(path, marker):
    path.write_bytes(pickle.dumps(Marker(marker)))


def hostile_skops(path, marker):
    """A skops file that asks for a call of `os.system`."""
    skops.io.dump(np.sum, path)
    with zipfile.ZipFile(path) as archive:
        schema = json.loads(archive.read("schema.json"))
    schema.update({"__class__": "system", "__module__": "os", "__loader__": "FunctionNode", "content": "os.system"})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.pt", hostile_torch),
        ("a.pth", hostile_torch),
        ("a.pt", hostile_pickle),
        ("a.pkl", hostile_pickle),
        ("a.joblib", hostile_pickle),
    ],
)
def test_pickles_that_run_code_do_not_run_it_without_trust(tmp_path, digits, marker, name, write):
    path = tmp_path / name
    write(path, marker)
    assert "--trust allows it" in refusal(File(path), digits)
    assert not marker.exists()
    refusal(File(path), digits, Trust(given=True))  # it is no model
    assert marker.exists()  # so the file would have run its code


def test_skops_files_that_name_other_types_are_refused_by_name(tmp_path, digits):
    path = tmp_path / "a.skops"
    hostile_skops(path, None)
    assert "holds types that are not listed as safe: os.system; --trust" in refusal(File(path), digits)


def test_files_that_are_something_else_are_refused_in_one_line(tmp_path, digits, build):
    for name in ("a.pt", "a.safetensors", "a.skops", "a.keras", "a.joblib"):
        path = tmp_path / name
        path.write_bytes(b"\x00nothing of the kind")
        component = File(path, build=build if name in ("a.pt", "a.safetensors") else None)
        assert refusal(component, digits, Trust(given=True)).startswith(f"{path}: ")
    assert "no such file" in refusal(File(tmp_path / "absent.pt"), digits)
    with pytest.raises(UsageError, match=r"path='net\.h5': must be a \.keras file: tf\.keras"):
        File(tmp_path / "net.h5")
    with pytest.raises(UsageError, match=r"path='net\.bin': must be a file that ends in \.safetensors, \.pt"):
        File(tmp_path / "net.bin")
    with pytest.raises(UsageError, match="only weights of torch need it"):
        File(tmp_path / "a.skops", build=build)
