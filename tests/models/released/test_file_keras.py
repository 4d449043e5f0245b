import io
import json
import os
import warnings
import zipfile

import numpy as np
import pytest
from privassay.harness.errors import UsageError
from privassay.harness.trust import Trust
from privassay.harness.types import Dataset
from privassay.models.released.file import File

tf = pytest.importorskip("tensorflow", reason="needs the [keras] extra")
# Keras 2.15 draws its own seeds by a call that Python deprecates.
pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore:non-integer arguments to randrange")]
layers = tf.keras.layers

X = np.random.default_rng(0).random((6, 4), dtype=np.float32)
DATA = Dataset("toy", X, np.arange(6) % 3, 3, (0.0, 1.0), False, "none")


PLAIN = "tf.keras.Model(net.inputs, net.outputs).save(...)"


def own_loss(labels, answers):
    return tf.reduce_mean(answers)


def dense():
    regulariser = tf.keras.regularizers.L2(0.1)
    tf.keras.utils.set_random_seed(0)
    network = tf.keras.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(5, "relu", kernel_regularizer=regulariser),
            layers.BatchNormalization(),
            layers.Dropout(0.9),
            layers.Dense(3, "softmax"),
        ]
    )
    network.compile("adam", own_loss)  # cannot be read back, nor needs to be
    return network


def branched():
    given = layers.Input((4,))
    return tf.keras.Model(given, layers.Softmax()(layers.Add()([layers.Dense(3)(given), layers.Dense(3)(given)])))


def refusal(path, trust=None):
    with pytest.raises(UsageError) as raised:
        File(path).open(DATA, Trust() if trust is None else trust)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def rewritten(source, path, change):
    """The same archive with another description."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            new.writestr(name, content)


@pytest.mark.parametrize("make", [dense, branched])
def test_networks_of_keras_layers_need_no_trust(tmp_path, make):
    network = make()
    network.save(tmp_path / "net.keras")
    trust = Trust()
    answers = File(tmp_path / "net.keras").open(DATA, trust).model.predict(X)
    np.testing.assert_allclose(answers, network(X, training=False).numpy(), rtol=1e-5)
    assert trust.used == []


def dp_sequential():
    module = pytest.importorskip("tensorflow_privacy.privacy.keras_models.dp_keras_model")
    stack = [layers.Input((4,)), layers.Dense(5, "relu"), layers.Dense(3, "softmax")]
    return module.DPSequential(l2_norm_clip=1.0, noise_multiplier=1.0, layers=stack)


def dp_branched():
    module = pytest.importorskip("tensorflow_privacy.privacy.keras_models.dp_keras_model")
    plain = branched()
    return module.DPModel(l2_norm_clip=1.0, noise_multiplier=1.0, inputs=plain.inputs, outputs=plain.outputs)


@pytest.mark.parametrize("make", [dp_sequential, dp_branched])
def test_a_dp_model_of_tensorflow_privacy_is_refused_with_what_to_save(tmp_path, make):
    net = make()
    net.compile("sgd", "sparse_categorical_crossentropy")
    net.save(tmp_path / "dp.keras")
    trust = Trust(given=True)
    words = [refusal(tmp_path / "dp.keras"), refusal(tmp_path / "dp.keras", trust)]
    assert words[0] == words[1]
    assert words[0].endswith("save its plain network instead, whose answers are the same: " + PLAIN)
    assert trust.used == []
    exec(PLAIN.replace("...", "tmp_path / 'plain.keras'"))  # what the line says
    answers = File(tmp_path / "plain.keras").open(DATA, Trust()).model.predict(X)
    np.testing.assert_allclose(answers, net(X, training=False).numpy(), rtol=1e-5)


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_a_lambda_layer_needs_trust_and_does_not_run_without(tmp_path):
    marker, path = tmp_path / "code_ran", tmp_path / "net.keras"
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    call = (
        f"__import__('os').path.isdir({str(allowed)!r}) and __import__('os').makedirs({str(marker)!r}, exist_ok=True)"
    )
    hostile = eval(f"lambda x: (x, {call})[0]")  # on one line, as the file will hold it
    given = layers.Input((4,))
    allowed.rmdir()  # so that building it here does nothing
    network = tf.keras.Model(given, layers.Dense(3, "softmax")(layers.Lambda(hostile)(given)))
    network.save(path)
    allowed.mkdir()
    assert "names code that is not of Keras's layers: keras.layers.Lambda; --trust" in refusal(path)
    assert not marker.exists()
    trust = Trust(given=True)
    assert File(path).open(DATA, trust).model.predict(X).shape == (6, 3)
    assert marker.exists()
    assert [file.path for file in trust.used] == ["net.keras"]


def activation(module, kind, config, registered_name):
    def change(description):
        named = {"module": module, "class_name": kind, "config": config, "registered_name": registered_name}
        description["config"]["layers"][1]["config"]["activation"] = named

    return change


def whole(module):
    return lambda description: description.update({"module": module, "class_name": "Thing"})


@pytest.mark.parametrize(
    "change",
    [
        activation("os", "function", "mkdir", "mkdir"),
        whole("released_hostile"),
        activation("keras.layers", "Absent", {}, "deserialize"),
        activation("keras.models", "load_model", {}, None),
        activation("keras.layers", "StringLookup", {"vocabulary": "secret.txt"}, None),
        activation("keras.layers", "TFSMLayer", {"filepath": "program"}, None),
        activation("keras.utils", "get_file", {}, None),
        activation(None, "Lambda", {}, None),
        activation("builtins", "__lambda__", {"value": "eA=="}, None),
    ],
)
def test_descriptions_that_name_other_code_are_refused_before_keras_sees_them(tmp_path, change, monkeypatch):
    """Keras's own safe mode imports any module that is named; this one would make a folder."""
    marker = tmp_path / "code_ran"
    (tmp_path / "released_hostile.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    dense().save(tmp_path / "good.keras")
    rewritten(tmp_path / "good.keras", tmp_path / "bad.keras", change)
    assert "bad.keras: names code that is not of Keras's layers: " in refusal(tmp_path / "bad.keras")
    assert not marker.exists()


def test_keras_itself_would_have_imported_it(tmp_path, monkeypatch):
    """The reason for the check: should this fail, Keras has closed the door itself."""
    marker = tmp_path / "code_ran"
    (tmp_path / "released_imported.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    dense().save(tmp_path / "good.keras")
    rewritten(tmp_path / "good.keras", tmp_path / "bad.keras", whole("released_imported"))
    with pytest.raises(TypeError, match="Could not locate class"):
        tf.keras.models.load_model(tmp_path / "bad.keras", compile=False, safe_mode=True)
    assert marker.exists()


class MakesFolder:
    """An array that holds it is a pickle, which makes a folder when it is read."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.makedirs, (self.folder,)


def with_members(source, path, drop=(), **added):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in set(old.namelist()) - set(drop):
            new.writestr(name, old.read(name))
        for name, content in added.items():
            new.writestr(name.replace("__", "/").replace("_", "."), content)


def pickled_weights(marker):
    held = io.BytesIO()
    np.savez(held, __root__=np.array([MakesFolder(marker)], dtype=object))
    return held.getvalue()


def test_pickled_weights_do_not_run_without_trust(tmp_path):
    """Keras 2.15 takes `model.weights.npz`, objects and all, where `model.weights.h5` is absent."""
    marker, path = tmp_path / "code_ran", tmp_path / "bad.keras"
    dense().save(tmp_path / "good.keras")
    held = pickled_weights(marker)
    with_members(tmp_path / "good.keras", path, drop=["model.weights.h5"], model_weights_npz=held)
    assert "holds what Keras does not write for plain layers: model.weights.npz; --trust" in refusal(path)
    assert not marker.exists()
    trust = Trust(given=True)
    refusal(path, trust)  # Keras fails at last, after it ran the pickle: the door is there
    assert marker.exists()
    assert [file.path for file in trust.used] == ["bad.keras"]


@pytest.mark.parametrize("name", ["model_weights_npz", "assets__vocabulary_txt", "a__config_json", "metadata_json"])
def test_members_that_keras_does_not_write_need_trust(tmp_path, name):
    dense().save(tmp_path / "good.keras")
    path = tmp_path / "bad.keras"
    with_members(tmp_path / "good.keras", path)
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that is there twice
        archive.writestr(name.replace("__", "/").replace("_", "."), b"{}")
    written = name.replace("__", "/").replace("_", ".")
    assert f"holds what Keras does not write for plain layers: {written}; --trust" in refusal(path)


def test_a_file_without_weights_is_no_keras_file(tmp_path):
    dense().save(tmp_path / "good.keras")
    with_members(tmp_path / "good.keras", tmp_path / "bad.keras", drop=["model.weights.h5"])
    assert "bad.keras: is no Keras file (lacks model.weights.h5)" in refusal(tmp_path / "bad.keras", Trust(given=True))


@pytest.mark.parametrize("kind", ["external file", "external link", "virtual"])
def test_weights_that_lie_in_other_files_need_trust(tmp_path, kind):
    h5py = pytest.importorskip("h5py")
    dense().save(tmp_path / "good.keras")
    with zipfile.ZipFile(tmp_path / "good.keras") as archive:
        held = io.BytesIO(archive.read("model.weights.h5"))
    (tmp_path / "secret").write_bytes(bytes(12))
    with h5py.File(held, "a") as file:
        biases = []
        file.visititems(lambda name, found: biases.append(name) if getattr(found, "shape", None) == (3,) else None)
        name = biases[0]
        del file[name]
        if kind == "external file":
            file.create_dataset(name, (3,), "f4", external=[(str(tmp_path / "secret"), 0, 12)])
        elif kind == "external link":
            file[name] = h5py.ExternalLink(str(tmp_path / "secret"), "/x")
        else:
            layout = h5py.VirtualLayout((3,), "f4")
            layout[:] = h5py.VirtualSource(str(tmp_path / "secret"), "x", (3,))
            file.create_virtual_dataset(name, layout)
    path = tmp_path / "bad.keras"
    with_members(tmp_path / "good.keras", path, drop=["model.weights.h5"], model_weights_h5=held.getvalue())
    assert f"its weights refer to other files or places: {name}; --trust" in refusal(path)


def test_an_hdf5_file_under_another_name_is_not_read(tmp_path):
    """Keras would read it in its old format, which has no safe mode."""
    with pytest.warns(UserWarning, match="HDF5"):
        dense().save(tmp_path / "net.h5")
    os.rename(tmp_path / "net.h5", tmp_path / "net.keras")
    assert "net.keras: is no Keras file (BadZipFile" in refusal(tmp_path / "net.keras", Trust(given=True))


def test_other_shapes_and_classes_are_told_at_open(tmp_path):
    path = tmp_path / "net.keras"
    dense().save(path)
    other = Dataset("other", X[:, :3], DATA.y, 3, (0.0, 1.0), False, "none")
    with pytest.raises(UsageError, match=r"net\.keras: failed on 2 records of shape \(3,\)"):
        File(path).open(other, Trust())
    more = Dataset("more", X, DATA.y, 4, (0.0, 1.0), False, "none")
    with pytest.raises(UsageError, match=r"answers for 3 classes, the data have 4"):
        File(path).open(more, Trust())
