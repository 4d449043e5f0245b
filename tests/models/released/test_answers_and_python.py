import subprocess
import sys

import numpy as np
import pytest
from privassay.harness import catalog
from privassay.harness.errors import UsageError
from privassay.harness.trust import Trust
from privassay.harness.types import Dataset
from privassay.harness.user_code import UserFunction
from privassay.models.released._answers import AskedModel, Reading, look_at
from privassay.models.released.python import Python


def data(n=6, classes=3, shape=(4,)):
    x = np.random.default_rng(0).random((n, *shape), dtype=np.float32)
    return Dataset("toy", x, np.arange(n) % classes, classes, (0.0, 1.0), False, "none")


def user_module(folder, name, text):
    (folder / f"{name}.py").write_text(text)
    return UserFunction(f"{name}:make", folder)


def refusal(raw, form="probabilities", classes=3, records=None):
    with pytest.raises(UsageError) as raised:
        Reading(form, classes, "here")(raw, len(raw) if records is None else records)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_probabilities_are_normalised_within_the_tolerance():
    answers = Reading("probabilities", 3, "here")([[0.3334, 0.3334, 0.3334], [1, 0, 0]], 2)
    assert answers.dtype == np.float64
    np.testing.assert_allclose(answers, [[1 / 3] * 3, [1, 0, 0]], rtol=1e-15)


def test_logits_become_their_softmax_without_overflow():
    answers = Reading("logits", 3, "here")(np.array([[1000.0, 999.0, -1000.0], [0, 0, 0]], dtype=np.float32), 2)
    np.testing.assert_allclose(answers, [[1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0], [1 / 3] * 3], rtol=1e-12)


def test_labels_become_one_hot():
    assert Reading("labels", 3, "here")([[2], [0]], 2).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_a_single_column_is_class_one_of_two():
    np.testing.assert_allclose(Reading("probabilities", 2, "here")([[0.25], [1]], 2), [[0.75, 0.25], [0, 1]])
    np.testing.assert_allclose(Reading("logits", 2, "here")([0.0, np.log(3)], 2), [[0.5, 0.5], [0.25, 0.75]])


@pytest.mark.parametrize(
    ("raw", "form", "words"),
    [
        ([[2.0, -1.0, 0.5]], "probabilities", "here: 2 for record 1 is no probability, which looks like logits"),
        ([[0.5, -0.1, 0.6]], "probabilities", "-0.1 for record 1"),
        ([[0.2, 0.3, 0.5], [0.2, 0.3, 0.4]], "probabilities", "record 2 sum to 0.9, must sum to 1"),
        ([[0.2, 0.3, 0.502]], "probabilities", "sum to 1.002"),
        ([[0.2, 0.8]], "probabilities", "answers for 2 classes, the data have 3"),
        ([0.2], "probabilities", "say `answers: labels`"),
        ([[[0.2, 0.8]]], "probabilities", "shape (1, 2) classes"),
        ([[0.2, np.nan, 0.8]], "probabilities", "record 1 holds NaN or infinity"),
        ([[0.2, None, 0.8]], "logits", "record 1 holds NaN or infinity"),
        ([1, 3], "labels", "label 3 for record 2: must be one of 0..2"),
        ([1, -1], "labels", "label -1"),
        ([1, 0.5], "labels", "label 0.5"),
        ([[0.2, 0.3, 0.5]], "labels", "not one label a record"),
        (["cat"], "labels", "label cat for record 1: must be one of 0..2"),
        ([[1, 2], [1]], "logits", "no table of numbers"),
        ([{"a": 1, "b": 1, "c": 1}], "logits", "its classes are a, b, c, those of the data are 0..2: call the columns"),
        ([[20.0, 30.0, 50.0]], "probabilities", "sums to about 100, which looks like percentages; divide them by 100"),
        ([[33, 33, 33], [0, 0, 100]], "probabilities", "record 1 is at least 0 and sums to about 100"),
        ([[-20.0, 70.0, 50.0]], "probabilities", "say `answers: logits`"),
    ],
)
def test_what_is_no_answer_is_refused_in_one_line(raw, form, words):
    assert words in refusal(raw, form)


ONE_COLUMN = "which looks like labels; say `answers: labels`"
LIKE_PERCENTAGES = "sums to about 100, which looks like percentages; divide them by 100"
LIKE_PROBABILITIES = "which looks like probabilities; say `answers: probabilities`"


@pytest.mark.parametrize(
    ("raw", "form", "classes", "words"),
    [
        ([0, 1, 1], "probabilities", 2, ONE_COLUMN),
        ([[0.0], [1.0]], "probabilities", 2, ONE_COLUMN),
        ([0, 1], "logits", 2, ONE_COLUMN),
        ([0, 1, 0.999], "probabilities", 2, ""),
        ([[1, 0], [0, 1]], "probabilities", 2, ""),  # a tree's
        ([0, 1], "labels", 2, ""),
        ([0.2, 0.7, 1], "logits", 2, LIKE_PROBABILITIES),
        ([[0.2], [1.5]], "logits", 2, ""),
        ([[0.2, 0.8], [1, 0]], "logits", 2, LIKE_PROBABILITIES),
        ([[0.2, 0.3, 0.5], [1, 0, 0]], "logits", 3, LIKE_PROBABILITIES),
        ([[0.2, 0.3, 0.5], [1, 0.1, 0]], "logits", 3, ""),
        ([[20, 30, 50], [33, 33, 33]], "logits", 3, LIKE_PERCENTAGES),
        ([[20, 30, 50], [33, 33, 30]], "logits", 3, ""),
        ([[20, 30, 50], [-1, 51, 50]], "logits", 3, ""),
    ],
)
def test_answers_that_look_like_another_form(raw, form, classes, words):
    reading = Reading(form, classes, "here")
    assert words in reading.doubt(raw)
    assert bool(words) == bool(reading.doubt(raw))
    reading(raw, len(raw))  # some of them may well be such: record by record they are answers
    if words:
        with pytest.raises(UsageError, match="here: .*" + words[-20:]):
            reading.all_at_once(raw, len(raw))


def binary(folder, body):
    return user_module(folder, f"binary_{folder.name}", f"import numpy as np\ndef make():\n    return {body}\n")


@pytest.mark.parametrize("batch_size", [1, 2, 1024])
@pytest.mark.parametrize(
    ("body", "form", "words"),
    [
        ("lambda x: (x[:, 0] > 0.5).astype(int)", "probabilities", ONE_COLUMN),
        ("lambda x: (x[:, :1] > 0.5).astype(float)", "probabilities", ONE_COLUMN),
        ("lambda x: x[:, 0]", "logits", LIKE_PROBABILITIES),
        ("lambda x: np.stack([x[:, 0], 1 - x[:, 0]], 1)", "logits", LIKE_PROBABILITIES),
    ],
)
def test_another_form_is_refused_at_open_whatever_the_batch(tmp_path, batch_size, body, form, words):
    component = Python(binary(tmp_path, body), form, batch_size=batch_size)
    with pytest.raises(UsageError) as raised:
        component.open(data(60, 2), Trust())
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("batch_size", [1, 2, 1024])
@pytest.mark.parametrize(
    ("body", "form"),
    [
        ("lambda x: np.where(x[:, 0] > 0.1, 1.0, 0.3)", "probabilities"),  # sure of most records
        ("lambda x: np.where(x[:, 0] > 0.1, 0.5, 3.0)", "logits"),  # most lie between 0 and 1
    ],
)
def test_what_the_first_two_leave_open_more_records_decide(tmp_path, batch_size, body, form):
    dataset = data(60, 2)
    component = Python(binary(tmp_path, body), form, batch_size=batch_size)
    answers = component.open(dataset, Trust()).model.predict(dataset.x)
    assert (dataset.x[:2, 0] > 0.1).all()
    sure = dataset.x[:, 0] > 0.1
    values = {"probabilities": (1.0, 0.3), "logits": (1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(-3)))}[form]
    np.testing.assert_allclose(answers[:, 1], np.where(sure, *values), rtol=1e-12)


@pytest.mark.parametrize(("most", "expected"), [(None, [2, 32]), (20, [2, 18]), (3, [2]), (1, [1])])
def test_a_doubt_costs_no_more_queries_than_are_allowed(most, expected):
    asked = []

    def ask(x):
        asked.append(len(x))
        return np.ones(len(x))

    with pytest.raises(UsageError, match="answers: labels"):
        look_at(AskedModel(ask, Reading("probabilities", 2, "here"), 100), data(60, 2), most)
    assert asked == expected


def test_without_a_doubt_two_records_are_asked_about():
    model = AskedModel(lambda x: np.full(len(x), 0.5), Reading("probabilities", 2, "here"), 100)
    assert look_at(model, data(60, 2)) == 2


def test_other_numbers_of_records_are_refused():
    assert "asked about 5 records, answers for 1" in refusal([[0.2, 0.3, 0.5]], records=5)
    assert "answers for one number" in refusal(3.0, records=1)


LINEAR = """
import numpy as np
def make():
    w = np.random.default_rng(1).normal(size=(4, 3))
    def predict(x):
        assert x.dtype == np.float32 and len(x) <= 2
        logits = x @ w
        x[:] = 0  # it may do with its copy what it likes
        p = np.exp(logits)
        return p / p.sum(axis=1, keepdims=True)
    return predict
"""


def test_a_function_is_asked_in_batches_of_copies(tmp_path):
    dataset = data()
    before = dataset.x.copy()
    component = Python(user_module(tmp_path, "released_linear", LINEAR), batch_size=2, training_records=3)
    released = component.open(dataset, Trust())
    answers = released.model.predict(dataset.x)
    p = np.exp(before @ np.random.default_rng(1).normal(size=(4, 3)))
    np.testing.assert_allclose(answers, p / p.sum(axis=1, keepdims=True), rtol=1e-6)
    np.testing.assert_array_equal(dataset.x, before)
    assert released.model.predict(dataset.x[:0]).shape == (0, 3)
    assert (released.model.answers, released.training_records) == ("probabilities", 3)
    assert released.source == "released_linear:make"
    # What it loads may change while the module does not: the answers have no digest.
    assert released.sha256 == ""
    module = catalog.identity(component, "python").parameters["predict"]["sha256"]
    assert released.notes == (f"module digest {module}; what the module reads, such as weights, is not in it",)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise OSError('no\\nmodel')", "make: failed (OSError: no model)"),
        ("return 3", "make: returned a int, must return a callable"),
        ("return lambda x: x.nonsense", "failed on 2 records of shape (4,) (AttributeError:"),
        ("return lambda x: x[:, :2]", "answers for 2 classes, the data have 3"),
        ("return lambda x: x.reshape(-1, 64)", "failed on 2 records of shape (4,) (ValueError: cannot reshape"),
        ("import torch; return lambda x: torch.ones(2, 3, requires_grad=True)", "no table of numbers (RuntimeError"),
        ("return lambda x: x[:, :3] - 2", "say `answers: logits`"),
    ],
)
def test_errors_of_the_users_code_are_one_line_with_its_name(tmp_path, body, words):
    name = f"of_{tmp_path.name}"
    with pytest.raises(UsageError) as raised:
        Python(user_module(tmp_path, name, f"def make():\n    {body}\n")).open(data(), Trust())
    assert words in str(raised.value)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("wrong", [{"answers": "scores"}, {"batch_size": 0}, {"training_records": 0}])
def test_parameters_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(UsageError, match=f"{next(iter(wrong))}="):
        Python(UserFunction("a:b", tmp_path), **wrong)


def test_a_user_may_have_packages_called_models_and_attacks(tmp_path):
    """In a process of its own that starts in the user's folder: names must not fall on ours, whoever comes first."""
    for package in ("models", "attacks", "harness"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f"own = '{package}'\n")
    (tmp_path / "models" / "net.py").write_text(
        "import attacks, harness, numpy as np\n"
        "def make():\n"
        "    assert (attacks.own, harness.own) == ('attacks', 'harness')\n"
        "    return lambda x: np.full((len(x), 3), 1 / 3)\n"
    )
    program = (
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from privassay.harness import catalog\n"
        "from privassay.harness.trust import Trust\n"
        "from privassay.harness.types import Dataset\n"
        "import privassay.models.released.python\n"
        "x = np.ones((4, 2), dtype=np.float32)\n"
        "data = Dataset('toy', x, np.arange(4) % 3, 3, (0.0, 1.0), False, 'none')\n"
        "named = {'predict': 'models.net:make'}\n"
        f"target = catalog.build('targets', 'python', named, 'test', Path({str(tmp_path)!r}))\n"
        "print(target.open(data, Trust()).model.predict(x).sum())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(4)
