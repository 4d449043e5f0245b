"""Training code of the user's: any library, any package names, answers that are checked."""

import dataclasses
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
from privassay.defenses.dp_sgd import DPSGD
from privassay.defenses.none import NoDefense
from privassay.harness.columns import CategoryColumn, NumberColumn, RecordColumns
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.events import ignore
from privassay.harness.pool import CandidateSpec
from privassay.harness.store import Store
from privassay.harness.training import train_pool
from privassay.harness.types import ColumnsToFit, Dataset, Identity, Split, TrainingData
from privassay.harness.user_code import UserFunction
from privassay.models.python_training import PythonTraining, checked_probabilities

CODE = """
    import numpy as np

    class Centroids:
        def __init__(self, x, y, n_classes):
            flat = x.reshape(len(x), -1)
            self.centres = np.stack([flat[y == label].mean(axis=0) for label in range(n_classes)])

        def predict_proba(self, x):
            distance = ((x.reshape(len(x), 1, -1) - self.centres) ** 2).sum(axis=2)
            weights = np.exp(distance.min(axis=1, keepdims=True) - distance)
            return weights / weights.sum(axis=1, keepdims=True)

    def estimator(x, y, n_classes, seed):
        return Centroids(x, y, n_classes)

    def function(x, y, n_classes, seed):
        model = Centroids(x, y, n_classes)
        return lambda records: model.predict_proba(records).astype(np.float32).tolist()

    def seeded(x, y, n_classes, seed):
        constant = np.random.default_rng(seed).dirichlet(np.ones(n_classes))
        return lambda records: np.tile(constant, (len(records), 1))

    def certain(x, y, n_classes, seed):
        return lambda records: np.eye(n_classes)[np.zeros(len(records), dtype=int)]

    def spoils(x, y, n_classes, seed):
        x[:], y[:] = 0, 0
        def predict(records):
            records[:] = 7
            return np.full((len(records), n_classes), 1 / n_classes)
        return predict

    def nothing(x, y, n_classes, seed):
        return None

    def fails(x, y, n_classes, seed):
        raise ValueError("two\\nlines")

    def fails_later(x, y, n_classes, seed):
        return lambda records: records @ np.zeros((1, 1))

    def logits(x, y, n_classes, seed):
        return lambda records: np.tile(np.array([-3.0, 1.0, 4.0]), (len(records), 1))

    def wrong_arguments(x, y):
        return None

    def shapes(x, y, n_classes, seed):
        assert x.shape[1] == 3  # age, and two jobs that the members have
        return lambda records: np.full((len(records), n_classes), 1 / n_classes)

    def by_job(frame, y, n_classes, seed):
        assert list(frame.columns) == ["job", "age"] and frame["age"].dtype == "int64"
        frame["rich"] = y == 1
        share = frame.groupby("job")["rich"].mean()
        return lambda people: np.stack([1 - (p := people["job"].map(share).fillna(0.5).to_numpy(float)), p], axis=1)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    (folder / "users_training.py").write_text(textwrap.dedent(CODE))
    return lambda name: PythonTraining(UserFunction(f"users_training:{name}", folder))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    x = (rng.normal(size=(3, 4, 4))[y] + rng.normal(size=(90, 4, 4))).astype(np.float32)
    return TrainingData(x, y, 3, (-9.0, 9.0))


ROWS = np.arange(45)
NONE = Identity("none", {}, "0")


@pytest.mark.parametrize("name", ["estimator", "function"])
def test_answers_are_the_logarithms_of_the_users_probabilities(name, recipe, data):
    logits = recipe(name).fit(data, ROWS, 0).logits(data.x)
    assert logits.dtype == np.float32
    flat = data.x.reshape(90, -1).astype(np.float64)
    centres = np.stack([flat[ROWS][data.y[ROWS] == label].mean(axis=0) for label in range(3)])
    scores = -((flat[:, None] - centres) ** 2).sum(axis=2)
    expected = scores - np.log(np.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
    expected -= scores.max(axis=1, keepdims=True)
    np.testing.assert_allclose(logits, np.maximum(expected, np.log(1e-7)), atol=1e-3)
    assert (logits[ROWS].argmax(axis=1) == data.y[ROWS]).mean() > 0.8


def test_probabilities_are_clipped(recipe, data):
    logits = recipe("certain").fit(data, ROWS, 0).logits(data.x[:2])
    np.testing.assert_allclose(logits, np.log([[1, 1e-7, 1e-7]] * 2), rtol=1e-6)


def test_the_seed_reaches_the_user(recipe, data):
    first, again, other = (recipe("seeded").fit(data, ROWS, seed).logits(data.x) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_user_gets_copies(recipe, data):
    before = data.x.copy(), data.y.copy()
    frozen = data.x.copy()
    frozen.flags.writeable = False
    recipe("spoils").fit(data, ROWS, 0).logits(data.x)
    recipe("spoils").fit(data, ROWS, 0).logits(frozen)
    np.testing.assert_array_equal(data.x, before[0])
    np.testing.assert_array_equal(data.y, before[1])


def test_nothing_is_pickled_and_the_model_says_that_it_is_gone(recipe, data, tmp_path):
    made = recipe("estimator")
    made.fit(data, ROWS, 0).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["NOTE.txt"]
    kept = made.load(tmp_path, data.shape, 3)
    for ask in (lambda: kept.logits(data.x), lambda: kept.class_gradient(data.x, data.y)):
        with pytest.raises(NotApplicable, match="models of a user's training function are not kept; their answers are"):
            ask()
    with pytest.raises(UsageError, match=r"NOTE\.txt: not there"):
        made.load(tmp_path / "absent", data.shape, 3)


def test_there_are_no_gradients(recipe, data):
    with pytest.raises(NotApplicable, match="no input gradients"):
        recipe("estimator").fit(data, ROWS, 0).class_gradient(data.x, data.y)


def test_dp_sgd_says_that_it_cannot_train_it(recipe):
    assert DPSGD().supports(recipe("estimator"), 45) == "DP-SGD is not available for python recipes"


def people():
    """Codes of jobs and whole ages."""
    codes = np.arange(40) % 4
    x = np.stack([codes, np.arange(40) / 120], axis=1).astype(np.float32)
    job, age = CategoryColumn("job", ("baker", "clerk", "nurse", "smith"), coded=True), (0, 120)
    file = pd.DataFrame({"job": np.array(job.values)[codes], "age": np.arange(40)})
    columns = RecordColumns((job, NumberColumn("age", age)), x, file)
    y = (np.random.default_rng(0).random(40) < codes / 3).astype(np.int64)
    return TrainingData(x, y, 2, (0.0, 1.0), columns=columns)


def test_a_training_function_gets_a_frame_of_cells(recipe):
    data, rows = people(), np.arange(24)
    made = dataclasses.replace(recipe("by_job"), records="frame")
    model = made.fit(data, rows, 0)
    codes = data.x[:, 0].astype(int)
    expected = np.array([data.y[rows][codes[rows] == code].mean() for code in range(4)])[codes]
    np.testing.assert_allclose(np.exp(model.logits(data.x))[:, 1], np.maximum(expected, 1e-7), rtol=1e-5)
    moved = data.x[:1] + np.float32(0.3)
    with pytest.raises(NotApplicable, match=r"column 'job': 0\.3 is the code of no category"):
        model.logits(moved)
    with pytest.raises(UsageError, match=r"users_training:by_job: records: frame: column 'job'"):
        made.fit(dataclasses.replace(data, x=data.x + np.float32(0.3)), rows, 0)
    with pytest.raises(UsageError, match="users_training:by_job: records: frame: the records are no rows"):
        made.fit(dataclasses.replace(data, columns=None), rows, 0)
    with pytest.raises(UsageError, match="records='table': must be one of array, frame"):
        dataclasses.replace(made, records="table")


@pytest.mark.parametrize("records", ["array", "frame"])
def test_nothing_is_prepared_for_a_function_that_takes_frames(recipe, records, tmp_path):
    """In a pool with columns to fit: codes for `array` become indicators, for `frame` they stay what they are."""
    training = people()
    dataset = Dataset(
        "people", training.x, training.y, 2, (0.0, 1.0), False, "none", to_fit=ColumnsToFit(encode=(0,)),
        columns=training.columns,
    )  # fmt: skip
    own = dataclasses.replace(recipe("by_job" if records == "frame" else "shapes"), records=records)
    spec = CandidateSpec("own", "none", own, Identity("python", {"r": records}, "0"), NoDefense(), NONE)
    split = Split(np.arange(40), np.arange(0), np.arange(40) % 2 == np.array([[0], [1]]))
    pool = train_pool(spec, (dataset, split), Store(tmp_path), 0, ignore)
    assert pool.logits(0).shape == (40, 2)
    if records == "array":
        np.testing.assert_allclose(np.exp(pool.logits(0)), np.full((40, 2), 0.5), rtol=1e-5)
    else:
        own_rows = split.rows(1)
        alone = own.fit(training, own_rows, 0).logits(training.x)
        np.testing.assert_array_equal(pool.logits(1), alone)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "users_training:nothing: returned a NoneType, must return a function"),
        ("fails", r"users_training:fails: ValueError: two lines \(users_training.py, line \d+\)"),
        ("fails_later", r"users_training:fails_later: its model fails: ValueError: .*\(users_training.py, line \d+\)"),
        ("logits", "gives -3, must give probabilities.*logits need a softmax"),
        ("wrong_arguments", "users_training:wrong_arguments: TypeError: .*takes 2 positional"),
        ("absent", "has no function 'absent'"),
    ],
)
def test_what_goes_wrong_in_the_users_code_is_one_line(name, message, recipe, data):
    with pytest.raises(UsageError, match=message) as refused:
        recipe(name).fit(data, ROWS, 0).logits(data.x)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([[0.5, 0.4985]], r"a row that sums to 0\.9985"),
        ([[0.9, 0.9]], r"a row that sums to 1\.8, .*logits need a softmax"),
        ([[1.001, -0.001]], r"gives -0\.001"),
        ([[np.nan, 1.0]], "NaN or infinity"),
        ([[np.inf, 0.0]], "NaN or infinity"),
        ([0.5], r"gives \(1,\) for 1 records, must give probabilities \(1, 2\)"),
        ([[0.2, 0.3, 0.5]], r"\(1, 3\) for 1 records"),
        ([["a", "b"]], "gives a list, must give probabilities"),
        (None, "gives"),
    ],
)
def test_no_probabilities_are_refused(answers, message):
    with pytest.raises(UsageError, match=message):
        checked_probabilities(answers, "f", 1, 2)


@pytest.mark.parametrize("answers", [[[0.5, 0.4995]], [[1.0, 0.0]], [[0.5, 0.5005]]])
def test_sums_within_a_thousandth_are_probabilities(answers):
    np.testing.assert_array_equal(checked_probabilities(answers, "f", 1, 2), answers)


def test_no_records_are_no_error():
    assert checked_probabilities(np.zeros((0, 2)), "f", 0, 2).shape == (0, 2)


@pytest.mark.parametrize("package", ["models", "attacks", "defenses", "harness"])
def test_the_users_package_may_be_called_as_ours(package, tmp_path):
    (tmp_path / package / "inner").mkdir(parents=True)
    (tmp_path / package / "__init__.py").write_text("from .inner.net import train\n")
    (tmp_path / package / "inner" / "__init__.py").write_text("")
    (tmp_path / package / "inner" / "net.py").write_text(
        f"import numpy as np\nimport {package}\n"
        "def train(x, y, n_classes, seed):\n"
        f"    assert {package}.__file__.startswith({str(tmp_path)!r})\n"
        "    return lambda records: np.full((len(records), n_classes), 1 / n_classes)\n"
    )
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        import numpy as np
        from privassay.harness import catalog
        from privassay.harness.types import TrainingData
        for kind in catalog.KINDS:
            for name in catalog.BUILT_IN[kind]:
                if name in ("lira", "none", "python", "digits"):
                    catalog.resolve(kind, name, "here")
        folder = Path({str(tmp_path)!r})
        made = catalog.build("models", "python", {{"train": "{package}:train"}}, "here", folder)
        data = TrainingData(np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1]), 2, (0.0, 1.0))
        print(made.fit(data, np.arange(4), 0).logits(data.x)[0])
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[-0.6931472 -0.6931472]"
